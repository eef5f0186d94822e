"""The composition root: what the gateway is made of, and how long each part lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from contract.cpus import available_cpus
from service.admission import Admission
from service.api import classify, models, ops
from service.api.deps import API, Services
from service.api.errors import add_handlers, as_problems
from service.api.middleware import RequestMiddleware
from service.catalog import Catalog
from service.catalog_collector import CatalogCollector
from service.keys import Keys
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.settings import Settings
from service.tracing import outgoing, sending_to
from service.triton import InferenceBackend, TritonBackend

VERSION = version("vitrine")
_DECODERS_PER_CPU = 2
"""One waits for the interpreter's lock now and then; docs/operations.md has what more of them gain."""


def create_app(settings: Settings, backend: InferenceBackend | None = None, shared: Path | None = None) -> FastAPI:
    """The gateway as an ASGI application.

    `backend` takes Triton's place in tests; `shared` is the folder in which worker processes keep their metrics.

    Raises:
        KeysError: the file of API keys cannot be read.
        SettingsError: spans are asked for, and what makes them is not installed.
    """
    metrics = Metrics(VERSION, shared)
    tracing = sending_to(settings.tracing_endpoint, VERSION) if settings.tracing_endpoint else None
    keys = Keys.read(settings.api_keys_file, settings.workers) if settings.api_keys_file else None
    decoders = settings.decode_threads or max(1, _DECODERS_PER_CPU * available_cpus() // settings.workers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        triton = backend or TritonBackend(settings.triton_url, outgoing)
        catalog = Catalog(triton, settings.default_model, settings.refresh_seconds, metrics.catalog_faults.inc)
        collector = CatalogCollector(catalog)
        metrics.exposed.register(collector)
        with ThreadPoolExecutor(decoders, "decode") as pool:
            app.state.services = Services(
                pipeline=Pipeline(triton, catalog, metrics, pool, settings.max_image_pixels),
                catalog=catalog,
                metrics=metrics,
                admission=Admission(settings.max_in_flight),
                read_seconds=settings.read_timeout_seconds,
                deadline_seconds=settings.deadline_seconds,
                max_batch_pictures=settings.max_batch_pictures,
            )
            await catalog.refresh()
            watch = asyncio.create_task(catalog.watch())
            try:
                yield
            finally:
                watch.cancel()
                await triton.close()
                metrics.exposed.unregister(collector)
                if tracing is not None:
                    await asyncio.to_thread(tracing.shutdown)  # It sends what it has.

    # FastAPIOffline serves the documentation page's scripts itself; FastAPI's own page loads them from a CDN.
    app = FastAPIOffline(
        title="Vitrine",
        version=VERSION,
        description="Post a picture, get its classes. Errors are RFC 9457 problem documents with a stable `code`.",
        lifespan=lifespan,
        telemetry={
            "tracer_provider": tracing,
            "tracing": tracing is not None,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "exclude": lambda scope: not scope["path"].startswith(f"{API}/"),
        },
    )
    for module in (classify, models, ops):
        app.include_router(module.router)
    add_handlers(app)
    document = app.openapi
    app.openapi = lambda: as_problems(document())  # type: ignore[method-assign] # as FastAPI's manual does
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        keys=keys,
        tracer=tracing.get_tracer("vitrine", VERSION) if tracing else None,
        max_body_bytes=settings.max_body_bytes,
    )
    return app
