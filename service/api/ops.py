"""What operators ask: alive, ready, how much."""

import asyncio
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.api.deps import ServicesDep, is_draining
from service.api.errors import documented
from service.api.schemas import StatusOut
from service.errors import Draining

router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"])
"""Apart, as metrics may have a port of their own."""


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


@metrics_router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: ServicesDep) -> Response:
    """The metrics of all workers of this gateway, in Prometheus' text format. Triton shows its own at its own port."""
    # What is served is asked here, as it belongs to the event loop; to read the files of all workers takes longer.
    served = CollectorRegistry()
    served.register(_Collected(services.collector.collect()))
    text = await asyncio.to_thread(lambda: generate_latest(services.metrics.exposed) + generate_latest(served))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class _Collected(Collector):
    """What was collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        return self._families
