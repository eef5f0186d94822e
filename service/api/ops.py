"""What operators ask: alive, ready, how much."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.deps import ServicesDep, is_draining
from service.api.errors import documented
from service.api.schemas import StatusOut
from service.errors import Draining

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> StatusOut:
    """The process is alive. Asks nobody."""
    return StatusOut(status="ok")


@router.get("/readyz", responses=documented(503))
async def readyz(request: Request, services: ServicesDep) -> StatusOut:
    """Requests can be answered: Triton is there and the default model (or any, without a default) is ready."""
    if is_draining(request):
        raise Draining("this process finishes what it has and ends")
    services.catalog.check_ready()
    return StatusOut(status="ok")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: ServicesDep) -> Response:
    """The metrics of all workers of this gateway, in Prometheus' text format. Triton shows its own at its own port."""
    return Response(generate_latest(services.metrics.exposed), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Whoever types the address into a browser finds the documentation."""
    return RedirectResponse("/docs")
