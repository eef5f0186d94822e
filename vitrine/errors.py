"""Why there is no answer.

VitrineError
├── Unreachable     nobody answered: refused, cut, or too late
├── InvalidAnswer   somebody answered, but no gateway of Vitrine's
└── Problem         the gateway answered with an error, which has a stable `code`
"""

PICTURE_CODES = frozenset(
    {
        "body_empty",
        "body_too_large",
        "image_corrupt",
        "image_too_complex",
        "image_too_large",
        "media_type_unsupported",
    }
)
"""Codes that tell of the picture: the same file gets the same answer again (docs/reference.md#errors)."""


class VitrineError(Exception):
    """The root; the message is for a person."""


class Unreachable(VitrineError):
    """No answer came: the connection was refused or cut, or the time was over."""


class InvalidAnswer(VitrineError):
    """What answered is no gateway of Vitrine's, or one of another version."""


class Problem(VitrineError):
    """The gateway's problem document (RFC 9457)."""

    def __init__(self, status: int, code: str, title: str, detail: str, request_id: str | None = None) -> None:
        super().__init__(f"{title}: {detail} ({code})")
        self.status, self.code, self.title, self.detail = status, code, title, detail
        self.request_id = request_id
        """By which the gateway's log has the request."""

    @property
    def by_picture(self) -> bool:
        """Whether it is the picture that is at fault, and not the service or how it was asked."""
        return self.code in PICTURE_CODES
