"""Routes that FastAPI documents and nobody routes: a request for one goes from our middleware to its endpoint."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Direct(APIRoute):
    """A route whose endpoint takes the request as it is, and raises errors of ours alone."""

    def get_route_handler(self) -> Endpoint:
        """The endpoint itself."""
        endpoint: Endpoint = self.endpoint
        return endpoint


class DirectMiddleware:
    """Answers requests for direct routes, and leaves all others, those with another method too, to the application.

    Eight layers of FastAPI and Starlette between here and an endpoint took a seventh of the event loop's time: routers
    in routers, stacks of things to close, handlers of errors that `RequestMiddleware` answers alike.
    """

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._routes = [route for router in routers for route in router.routes if isinstance(route, Direct)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    endpoint: Endpoint = route.endpoint
                    response = await endpoint(Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
