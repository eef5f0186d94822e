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
from service.api.deps import Services
from service.api.errors import add_handlers
from service.api.middleware import RequestMiddleware
from service.catalog import Catalog
from service.inventory import Inventory
from service.keys import Keys
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.settings import Settings
from service.triton import InferenceBackend, TritonBackend

VERSION = version("vitrine")


def create_app(settings: Settings, backend: InferenceBackend | None = None, shared: Path | None = None) -> FastAPI:
    """The gateway as an ASGI application.

    `backend` takes Triton's place in tests; `shared` is the folder in which worker processes keep their metrics.

    Raises:
        KeysError: the file of API keys cannot be read.
    """
    metrics = Metrics(VERSION, shared)
    keys = Keys.read(settings.api_keys_file, settings.workers) if settings.api_keys_file else None
    decoders = settings.decode_threads or max(1, available_cpus() // settings.workers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        triton = backend or TritonBackend(settings.triton_url)
        catalog = Catalog(triton, settings.default_model)
        inventory = Inventory(catalog)
        metrics.exposed.register(inventory)
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
            watch = asyncio.create_task(catalog.watch(settings.refresh_seconds))
            try:
                yield
            finally:
                watch.cancel()
                await triton.close()
                metrics.exposed.unregister(inventory)

    # FastAPIOffline serves the documentation page's scripts itself; FastAPI's own page loads them from a CDN.
    app = FastAPIOffline(
        title="Vitrine",
        version=VERSION,
        description="Post a picture, get its classes. Errors are RFC 9457 problem documents with a stable `code`.",
        lifespan=lifespan,
    )
    for module in (classify, models, ops):
        app.include_router(module.router)
    add_handlers(app)
    app.add_middleware(RequestMiddleware, metrics=metrics, keys=keys, max_body_bytes=settings.max_body_bytes)
    return app
