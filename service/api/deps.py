"""What a route may ask for: the one place that reads `app.state` and the request's context."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette._utils import get_route_path
from starlette.types import Scope

from service.admission import Admission
from service.api.incoming import OPEN_INFERENCE
from service.catalog import Catalog
from service.catalog_collector import CatalogCollector
from service.deadline import Deadline
from service.errors import Fault
from service.explanation import Explainer
from service.inference import Inference
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.stages import Stages

API = "/v1"
"""What is before every path of our own API."""
_CONTEXT = "vitrine.context"


@dataclass
class RequestContext:
    """What is known of a request from its first byte to its last; made by the middleware."""

    request_id: str
    stages: Stages
    open_inference: bool = False
    """Whether it is asked by the Open Inference Protocol, which has an error of its own shape."""
    caller: str | None = None
    """The name of the API key, where keys are asked for."""
    deadline: Deadline | None = None
    """When it must be answered, once that is read."""
    code: str | None = None
    """The error's code, once there is one."""
    fault: Fault = Fault.NONE
    """Whose it is, once there is an error."""
    cause: str = ""
    """The foreign exception behind it, for the log; its words alone, as it may hold the body."""


def path_of(scope: Scope) -> str:
    """The path that the router looks for: without `VITRINE_ROOT_PATH`.

    By the router's own function: a path that it reads otherwise than whoever asks for a key would need none.
    """
    return get_route_path(scope)


def is_open_inference(scope: Scope) -> bool:
    """Whether a request is the Open Inference Protocol's."""
    return f"{path_of(scope)}/".startswith(f"{OPEN_INFERENCE}/")


def is_api(scope: Scope) -> bool:
    """Whether a key is asked for, where there are keys: not of those who only ask for health."""
    return path_of(scope).startswith((f"{API}/", f"{OPEN_INFERENCE}/models/"))


def bind_context(scope: Scope, context: RequestContext) -> None:
    """Attach the context to an ASGI scope."""
    scope[_CONTEXT] = context


def context_of(scope: Scope) -> RequestContext:
    """The context of an ASGI scope."""
    context: RequestContext = scope[_CONTEXT]
    return context


@dataclass(frozen=True)
class Services:
    """What `create_app` wired together."""

    pipeline: Pipeline
    explainer: Explainer
    inference: Inference
    catalog: Catalog
    collector: CatalogCollector
    metrics: Metrics
    admission: Admission
    read_seconds: float
    deadline_seconds: float
    max_batch_pictures: int


def services_of(request: Request) -> Services:
    """The services of the application that answers."""
    return services_in(request.app)


def services_in(app: FastAPI) -> Services:
    """The services of an application that was started."""
    found: Services = app.state.services
    return found


async def services(request: Request) -> Services:
    """The same for a route that FastAPI calls. Async, since it runs plain functions in a thread of their own."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(services)]


def start_draining(app: FastAPI) -> None:
    """From now on `/readyz` says that this process is going."""
    app.state.draining = True


def is_draining(request: Request) -> bool:
    """Whether this process is going."""
    return getattr(request.app.state, "draining", False)


def expose_apart(app: FastAPI, exposition: FastAPI) -> None:
    """`exposition` answers with the services of `app`, at a port of its own."""
    app.state.exposition = exposition
    exposition.state = app.state


def exposition_of(app: FastAPI) -> FastAPI | None:
    """What answers at the metrics' own port, where they have one."""
    return getattr(app.state, "exposition", None)
