"""The one error of this package."""

from collections.abc import Sequence


class Unable(Exception):
    """The server cannot be started or kept running; the message is one line that says what to do about it."""

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)
        """The last lines that the failing process wrote."""
