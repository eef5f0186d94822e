"""A real embedded Triton for all tests of this folder, and one with the gateway in front of it."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from embedded.supervisor import Options, Stack
from tests.integration.entries import publish_colours

HERE = Path(__file__).parent

Result = TypeVar("Result")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@dataclass
class Running:
    """A stack that runs in a thread of its own, so that tests of any kind can use it."""

    stack: Stack
    repository: Path
    lines: list[str] = field(default_factory=list)
    """What the supervisor showed."""


@contextmanager
def running(
    repository: Path, gateway: tuple[str, ...] | None, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    lines: list[str] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="embedded")
    thread.start()

    def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    try:
        stack = Stack(Options(repository, gateway=gateway, settings=settings or {}, show=lines.append))
        wait_for(stack.__aenter__())
        try:
            wait_for(stack.ready())
            yield Running(stack, repository, lines)
        finally:
            wait_for(stack.__aexit__(None, None, None))
    finally:
        wait_for(loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Triton alone, with an empty repository to publish into."""
    repository = tmp_path_factory.mktemp("triton") / "repository"
    repository.mkdir()
    with running(repository, gateway=None) as started:
        yield started


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Triton and the gateway, serving the entry `colours`."""
    repository = tmp_path_factory.mktemp("stack") / "repository"
    repository.mkdir()
    publish_colours(repository)
    with running(repository, gateway=Options(repository).gateway) as started:
        yield started
