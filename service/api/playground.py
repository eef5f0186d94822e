"""The page at `/`: plain files that come with this package, read once, and sent with what lets a browser keep them."""

import hashlib
from collections.abc import Callable, Coroutine, Iterator
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

PAGE = "index.html"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
"""Content-Security-Policy: nothing inline, nothing from elsewhere; pictures that were dropped are `blob:`."""
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # Kept, and asked for again with its ETag: a new release is seen at once.
}


def playground(*, shown: bool) -> APIRouter:
    """The routes of the page, one for each of its files; where it is not shown, `/` leads to the documentation."""
    router = APIRouter(include_in_schema=False)
    if shown:
        for path, content, headers in _files():
            router.add_api_route(path, _sending(content, headers))
    else:
        router.add_api_route("/", _documentation)
    return router


async def _documentation() -> RedirectResponse:
    return RedirectResponse("docs")  # Relative: a proxy may serve it below another path.


def _files() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Path, content and headers of each."""
    for file in (files("service") / "playground").iterdir():
        content = file.read_bytes()
        headers = {
            **_HEADERS,
            "Content-Type": _TYPES[file.name.rpartition(".")[2]],
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        }
        yield "/" if file.name == PAGE else f"/playground/{file.name}", content, headers


def _sending(content: bytes, headers: dict[str, str]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def send(request: Request) -> Response:
        """The file, or that the browser has it already (RFC 9110, 13.1.2)."""
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if known & {headers["ETag"], "*"}:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return send
