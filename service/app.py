"""The composition root: what the gateway is made of, and how long each part lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio.lowlevel
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from contract.cpus import available_cpus
from service.admission import Admission
from service.api import classify, explain, models, open_inference, ops
from service.api.deps import Services, expose_apart, is_api
from service.api.direct import DirectMiddleware
from service.api.errors import add_handlers, as_problems
from service.api.head import HeadMiddleware, RootPathMiddleware
from service.api.middleware import RequestMiddleware
from service.api.playground import playground
from service.api.receiving import DEADLINE_HEADER
from service.catalog import Catalog
from service.catalog_collector import CatalogCollector
from service.explanation import Explainer
from service.inference import Inference
from service.keys import Keys
from service.memory import BodyMemory, DecodingMemory, Memory, memory_limit
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.preparation import Preparation
from service.settings import Settings
from service.threads import Threads
from service.tracing import outgoing, require_sdk, sending_to
from service.triton import InferenceBackend
from service.tritons import Tritons

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
    keys = Keys.read(settings.api_keys_file, shared) if settings.api_keys_file else None
    decoders = settings.decode_threads or max(1, _DECODERS_PER_CPU * available_cpus() // settings.workers)
    memory = Memory.shared(settings.memory_bytes or memory_limit() // 2, settings.workers)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        triton = backend or Tritons(settings.triton_url, outgoing)
        catalog = Catalog(triton, settings.default_model, settings.refresh_seconds, metrics.catalog_faults.inc)
        with Threads(decoders) as threads:
            decoding = DecodingMemory(memory.decoding)
            admission = Admission(settings.max_in_flight, changed=metrics.in_flight_pictures.inc)
            preparation = Preparation(threads, decoding, settings.max_image_pixels)
            pipeline = Pipeline(triton, catalog, preparation, metrics)
            app.state.services = Services(
                pipeline=pipeline,
                explainer=Explainer(pipeline, triton, catalog, preparation, admission, decoding, threads),
                inference=Inference(pipeline, catalog, preparation),
                catalog=catalog,
                collector=CatalogCollector(catalog),
                metrics=metrics,
                admission=admission,
                read_seconds=settings.read_timeout_seconds,
                deadline_seconds=settings.deadline_seconds,
                max_batch_pictures=settings.max_batch_pictures,
            )
            await catalog.refresh()
            await anyio.lowlevel.checkpoint()  # Loads anyio's part for asyncio, for which the first request took 30 ms.
            watch = asyncio.create_task(catalog.watch())
            try:
                yield
            finally:
                watch.cancel()
                await triton.close()
                if tracing is not None:
                    await asyncio.to_thread(tracing.shutdown)  # It sends what it has.

    # FastAPIOffline serves the documentation page's scripts itself; FastAPI's own page loads them from a CDN.
    app = FastAPIOffline(
        title="Vitrine",
        version=VERSION,
        description="Post a picture, get its classes. Errors are RFC 9457 problem documents with a stable `code`.",
        lifespan=lifespan,
        redirect_slashes=False,  # To a probe a redirect of `/readyz/` looks like a success.
        telemetry={
            "tracer_provider": tracing,
            "tracing": tracing is not None,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "exclude": lambda scope: not is_api(scope),
        },
    )
    around = {
        "metrics": metrics,
        "keys": keys,
        "tracer": tracing.get_tracer("vitrine", VERSION) if tracing else None,
        "bodies": BodyMemory(memory.bodies, settings.max_body_bytes),
    }
    page = playground(shown=settings.playground)
    protocol = [open_inference.router, open_inference.inference_router]
    routers = [classify.router, explain.router, models.router, *protocol, ops.router, page]
    if settings.metrics_port is None:
        routers.append(ops.metrics_router)
    else:
        exposition = FastAPI(openapi_url=None, redirect_slashes=False)
        _assemble(exposition, [ops.metrics_router], [], **around)
        expose_apart(app, exposition)
    direct = routers if tracing is None else []  # Else FastAPI gives its span the name of the route.
    _assemble(app, routers, direct, **around)
    if settings.cors_origins:
        # Around all else, so that a page can read errors too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Accept", "Authorization", "Content-Type", DEADLINE_HEADER, "X-Request-ID", "traceparent"),
            expose_headers=("X-Request-ID", "Server-Timing", "Retry-After"),
        )
    if settings.root_path:
        app.add_middleware(RootPathMiddleware, root_path=settings.root_path)
    document = app.openapi
    app.openapi = lambda: as_problems(document())  # type: ignore[method-assign] # as FastAPI's manual does
    return app


def _assemble(app: FastAPI, routers: list[APIRouter], direct: list[APIRouter], **around: Any) -> None:
    """Give the application its routes, of which those of `direct` may go there directly, and what surrounds them."""
    for router in routers:
        app.include_router(router)
    add_handlers(app)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(DirectMiddleware, routers=direct)
    app.add_middleware(RequestMiddleware, **around)


def check(settings: Settings) -> None:
    """Try what `create_app` may find wrong, and keep nothing.

    Raises:
        KeysError: the file of API keys cannot be read.
        SettingsError: spans are asked for, and what makes them is not installed.
    """
    if settings.api_keys_file:
        Keys.read(settings.api_keys_file)
    if settings.tracing_endpoint:
        require_sdk()
