"""Everything that can go wrong with a request, as one tree. Knows no HTTP: `service.api.errors` gives each its status.

VitrineError
├── RequestError            the caller can mend it
│   ├── MalformedRequest    request_malformed
│   ├── HeadersTooLarge     headers_too_large
│   ├── EmptyBody           body_empty
│   ├── InvalidBody         body_invalid
│   ├── BodyTooLarge        body_too_large
│   ├── TooManyPictures     too_many_pictures
│   ├── ReadTimeout         read_timeout
│   ├── ClientLeft          client_left
│   ├── Unauthorized        unauthorized
│   ├── QuotaExceeded       quota_exceeded
│   ├── InvalidParameter    parameter_invalid
│   ├── ModelNotNamed       model_required
│   ├── UnknownModel        model_not_found
│   ├── ExplanationUnavailable  explanation_unavailable
│   ├── UnsupportedMedia    media_type_unsupported
│   ├── CorruptImage        image_corrupt
│   ├── ImageTooLarge       image_too_large
│   └── ImageTooComplex     image_too_complex
└── ServingError            ours, or Triton's
    ├── Overloaded          overloaded
    ├── Draining            draining
    ├── TritonUnavailable   triton_unavailable
    ├── ModelNotReady       model_not_ready
    ├── ModelRefused        model_refused
    ├── DeadlineExceeded    deadline_exceeded
    ├── TritonFailed        triton_failed
    └── InvalidOutput       model_output_invalid

A message is written for the caller and names the fix. The text of a foreign exception never becomes one: it goes to
the log, as the error's `__cause__`.
"""

from enum import Enum
from typing import ClassVar


class Fault(str, Enum):
    """Whose fault it is that a request got no answer. Requests are counted by it, and alerts judge `OURS` only."""

    NONE = "none"
    CALLER = "caller"
    SHED = "shed"
    """Nobody's: it was turned away on purpose, to answer the others in time."""
    OURS = "ours"
    """The gateway's, Triton's, or that of an entry."""


class VitrineError(Exception):
    """The root. `code` is stable: programs may compare it; the message may change."""

    code: ClassVar[str]
    title: ClassVar[str]
    fault: ClassVar[Fault]

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the same request may succeed, where that is known."""


class RequestError(VitrineError):
    """The caller can mend it."""

    fault = Fault.CALLER


class MalformedRequest(RequestError):
    """The body cannot be taken apart."""

    code = "request_malformed"
    title = "The request cannot be read"


class HeadersTooLarge(RequestError):
    """The request line and its headers are over the limit."""

    code = "headers_too_large"
    title = "The request's headers are too large"


class EmptyBody(RequestError):
    """There is no picture."""

    code = "body_empty"
    title = "The body is empty"


class InvalidBody(RequestError):
    """The body is JSON, but does not hold what it should."""

    code = "body_invalid"
    title = "The body does not hold pictures as it should"


class BodyTooLarge(RequestError):
    """More bytes than the limit, declared or counted."""

    code = "body_too_large"
    title = "The body is too large"


class TooManyPictures(RequestError):
    """More pictures in one request than the limit."""

    code = "too_many_pictures"
    title = "The request has too many pictures"


class ReadTimeout(RequestError):
    """The body did not arrive in time."""

    code = "read_timeout"
    title = "The body did not arrive in time"


class ClientLeft(RequestError):
    """The client closed the connection: nobody reads the answer."""

    code = "client_left"
    title = "The client left"


class Unauthorized(RequestError):
    """No API key, or not one of ours."""

    code = "unauthorized"
    title = "An API key is needed"


class QuotaExceeded(RequestError):
    """More requests than the API key may make."""

    code = "quota_exceeded"
    title = "The API key's rate is exceeded"


class InvalidParameter(RequestError):
    """A parameter, in the query or a header, is out of range."""

    code = "parameter_invalid"
    title = "A parameter is invalid"


class ModelNotNamed(RequestError):
    """Several models are served and none is the default."""

    code = "model_required"
    title = "A model must be named"


class UnknownModel(RequestError):
    """No entry of that name is served."""

    code = "model_not_found"
    title = "The model is not served"


class ExplanationUnavailable(RequestError):
    """The model's answers cannot be explained by the method that was asked for."""

    code = "explanation_unavailable"
    title = "The model cannot be explained so"


class UnsupportedMedia(RequestError):
    """The content is not a picture of an accepted format."""

    code = "media_type_unsupported"
    title = "The content is not an accepted picture format"


class CorruptImage(RequestError):
    """A picture of an accepted format that does not decode."""

    code = "image_corrupt"
    title = "The picture does not decode"


class ImageTooLarge(RequestError):
    """More pixels than the limit, or more memory than decoding may ever take."""

    code = "image_too_large"
    title = "The picture has too many pixels"


class ImageTooComplex(RequestError):
    """A file that takes far more time to decode than its pixels do."""

    code = "image_too_complex"
    title = "The picture's file is too complex"


class ServingError(VitrineError):
    """Ours, or Triton's: the same request may succeed later."""

    fault = Fault.OURS


class Overloaded(ServingError):
    """No room for another request, here or in Triton's queue."""

    code = "overloaded"
    title = "The service is at its capacity"
    fault = Fault.SHED


class Draining(ServingError):
    """This process is about to end; another one is to be asked."""

    code = "draining"
    title = "The gateway is ending"
    fault = Fault.SHED


class TritonUnavailable(ServingError):
    """Triton does not answer."""

    code = "triton_unavailable"
    title = "The inference server is not reachable"


class ModelNotReady(ServingError):
    """Triton knows the model but cannot run it now."""

    code = "model_not_ready"
    title = "The model is not ready"


class ModelRefused(ServingError):
    """The model cannot be served until somebody mends it; the message says why."""

    code = "model_refused"
    title = "The model is refused"


class DeadlineExceeded(ServingError):
    """The answer did not come in time. Where the caller asked for less time than ours, the fault is the caller's."""

    code = "deadline_exceeded"
    title = "The deadline passed"


class TritonFailed(ServingError):
    """Triton answered with an error that is neither the caller's nor a lack of readiness."""

    code = "triton_failed"
    title = "The inference server failed"


class InvalidOutput(ServingError):
    """The model's answer is not a row of probabilities."""

    code = "model_output_invalid"
    title = "The model's output is invalid"
