"""Small changes to every request: HEAD wherever there is GET (RFC 9110, 9.3.2), and the path that a proxy strips."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD as GET, with the same status and headers and without the body.

    Here and not as a route beside each: frameworks differ in which of their own routes have one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, without_body)
        finally:
            scope["route"] = asked.get("route")  # Whoever counts requests looks there.


class RootPathMiddleware:
    """Says under which path a proxy has the application (ASGI, `root_path`).

    The proxy may strip it or not: what comes out starts with it once.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            path = scope["path"]
            whole = path if path.startswith(f"{self._root_path}/") else self._root_path + path
            scope = {**scope, "root_path": self._root_path, "path": whole}
        await self._app(scope, receive, send)
