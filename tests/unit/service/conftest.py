"""The gateway over a fake Triton, spoken to over ASGI."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvloop
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.fakes import FakeBackend, an_entry


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves: asyncio's own differs where connections end."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def backend() -> FakeBackend:
    fake = FakeBackend()
    fake.serve(an_entry())
    return fake


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=200_000, max_image_pixels=1_000_000, refresh_seconds=0.01)


@pytest.fixture
async def app(settings: Settings, backend: FakeBackend) -> AsyncIterator[FastAPI]:
    application = create_app(settings, backend)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield http
