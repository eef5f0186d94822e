"""What surrounds the body of a request on the wire, and what of it is accepted. Knows no socket."""

import httptools

from service.errors import HeadersTooLarge, MalformedRequest

LIMIT_BYTES = 32_768
_VERSIONS = ("1.0", "1.1")
_HOP = (b"connection", b"upgrade", b"http2-settings")

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, and values."""


class Framing:
    """Bounds the bytes on one connection that are neither head nor body: chunk lines, trailers, blank lines, and a head
    that does not end.

    There may be `LIMIT_BYTES` of them in one piece, and in all no more than that and what was taken. It is counted
    after each read of the socket, so one read (at most 256 kB) may come on top; none of it is kept.
    """

    def __init__(self) -> None:
        self._left = LIMIT_BYTES

    def read(self, size: int) -> None:
        """`size` bytes came."""
        self._left -= size

    def taken(self, size: int) -> None:
        """About `size` of them are a whole head, or of a body. They allow for as many that are neither."""
        self._left += 2 * size

    def check(self) -> None:
        """After each read.

        Raises:
            HeadersTooLarge: there is more around the body than may be.
        """
        if self._left < 0:
            raise HeadersTooLarge(f"headers, chunk lines or trailers have more than {LIMIT_BYTES} bytes")
        self._left = min(self._left, LIMIT_BYTES)


def size_of(target: bytes, headers: Headers) -> int:
    """Bytes of a head on the wire, about."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers) + 16


def check_head(method: bytes, version: str, target: bytes, headers: Headers) -> None:
    """Refuse what the parser lets through and HTTP/1.1 does not, or what could be understood in two ways.

    A version or a coding that is not known is the caller's error here (400): RFC 9110 has 505 and RFC 9112 has 501 for
    them, and a 5xx would raise our alerts.

    Raises:
        HeadersTooLarge: the head is over the limit.
        MalformedRequest: another version than 1.0 and 1.1; not one Host (RFC 9112, 3.2); another coding than `chunked`,
            or any in HTTP/1.0 (RFC 9112, 6.1); a target of a form that is not for this method (RFC 9112, 3.2).
    """
    if size_of(target, headers) > LIMIT_BYTES:
        raise HeadersTooLarge(f"the request line and its headers have more than {LIMIT_BYTES} bytes")
    if version not in _VERSIONS:
        raise MalformedRequest(f"HTTP/{version} is not spoken here; use HTTP/1.1")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise MalformedRequest(f"a request has one Host header, this one has {hosts}")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or version == "1.0"):
        raise MalformedRequest("the only Transfer-Encoding is `chunked`, in HTTP/1.1")
    if method == b"CONNECT" or (target == b"*" and method != b"OPTIONS"):
        raise MalformedRequest("this is no proxy, and `*` is for OPTIONS")


def origin_form(target: bytes) -> bytes:
    """The target with a path: `http://host?query` and `*` are about the server as a whole, which is `/` here.

    Raises:
        HttpParserInvalidURLError: it is no URL.
    """
    url = httptools.parse_url(target)
    if url.path not in (None, b"*"):
        return target
    return b"/" if url.query is None else b"/?" + url.query


def without_offer(method: bytes, version: str, target: bytes, headers: Headers) -> bytes:
    """The same head without its offer to speak another protocol, which a server may ignore (RFC 9110, 7.8)."""
    options = [
        option.strip() for name, value in headers if name == b"connection" for option in value.lower().split(b",")
    ]
    kept = [(name, value) for name, value in headers if name not in _HOP]
    kept += [(b"connection", option) for option in options if option not in _HOP]
    lines = b"".join(b"%b: %b\r\n" % header for header in kept)
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), lines)
