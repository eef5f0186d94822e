"""The client: asyncio's, and the same without asyncio. The only module that opens connections."""

import asyncio
import ipaddress
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from vitrine.answers import Classification, Explanation, Model, to_classification, to_explanation, to_model, to_models
from vitrine.errors import InvalidAnswer, Unreachable
from vitrine.exchange import (
    Explaining,
    Question,
    Said,
    bearer,
    checked_seconds,
    to_classify,
    to_explain,
    to_list_models,
    to_show_model,
)

Picture = bytes | str | os.PathLike[str] | BinaryIO
"""The bytes of a picture's file, where it is, or the file opened."""
_T = TypeVar("_T")
_JITTER = 0.25
"""Who was turned away together comes back apart."""


class AsyncClient:
    """Asks a gateway. Use as an async context manager, in one event loop.

    Args:
        url: the gateway's address, with its root path where it has one.
        key: an API key, where keys are asked for.
        timeout: seconds that an answer may take. The gateway is told, and gives up as well.
        retry_seconds: how long to come back, in all, to a gateway that says when (429 and 503 with `Retry-After`);
            nothing else is ever asked twice.
        connections: most at once.

    Raises:
        ValueError: one of them cannot be.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
        connections: int = 100,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the gateway's address starts with http:// or https://, not {url!r}")
        self.url = url.rstrip("/")
        self._headers = bearer(key)
        self._timeout = checked_seconds("timeout", timeout, 1e-3)
        self._retry_seconds = checked_seconds("retry_seconds", retry_seconds, 0.0)
        self._connections = connections
        self._direct = _is_loopback(parts.hostname)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def classify(
        self, picture: Picture, model: str | None = None, *, top_k: int = 5, min_score: float = 0.0
    ) -> Classification:
        """The classes of a picture, by `model` or by the gateway's default.

        Raises:
            Problem: the gateway says why there are none.
            Unreachable: nobody answers.
            InvalidAnswer: another server answers.
            OSError: the picture's file cannot be read.
        """
        said = await self._ask(to_classify(await _content(picture), model, top_k, min_score))
        return _shaped(lambda: to_classification(said.json(), said.timing()))

    async def explain(self, picture: Picture, model: str, how: Explaining = Explaining()) -> Explanation:  # noqa: B008
        """What `model` looked at, as a grid of numbers.

        Raises:
            Problem, Unreachable, InvalidAnswer, OSError: as `classify`.
        """
        said = await self._ask(to_explain(await _content(picture), model, how))
        return _shaped(lambda: to_explanation(said.json(), said.timing()))

    async def heat_map(self, picture: Picture, model: str, how: Explaining = Explaining()) -> bytes:  # noqa: B008
        """What `model` looked at, drawn over the picture: the bytes of a PNG.

        Raises:
            Problem, Unreachable, InvalidAnswer, OSError: as `classify`.
        """
        said = await self._ask(to_explain(await _content(picture), model, how, "image/png"))
        return said.body

    async def models(self) -> list[Model]:
        """Every entry, by name: what is served, and why the rest is not.

        Raises:
            Problem, Unreachable, InvalidAnswer: as `classify`.
        """
        said = await self._ask(to_list_models())
        return _shaped(lambda: to_models(said.json()))

    async def model(self, name: str) -> Model:
        """One entry that is served, with its labels.

        Raises:
            Problem, Unreachable, InvalidAnswer: as `classify`.
        """
        said = await self._ask(to_show_model(name))
        return _shaped(lambda: to_model(said.json()))

    async def _ask(self, question: Question) -> Said:
        give_up = time.monotonic() + self._retry_seconds
        while True:
            said = await self._once(question)
            wait = said.retry_after()
            if wait is None or time.monotonic() + wait > give_up:
                said.raise_for_problem()
                return said
            await asyncio.sleep(wait * random.uniform(1, 1 + _JITTER))  # noqa: S311 (no secret)

    async def _once(self, question: Question) -> Said:
        headers = {**self._headers, "Accept": question.accept, "X-Request-Timeout": f"{self._timeout:g}"}
        asked = self._opened().request(
            "GET" if question.content is None else "POST",
            URL(self.url + question.path, encoded=True),
            data=question.content,
            headers=headers,
            allow_redirects=False,
        )
        try:
            async with asked as answer:
                body = await answer.read()
                return Said(answer.status, body, {name.lower(): value for name, value in answer.headers.items()})
        except asyncio.TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.url} cannot be reached: {error or type(error).__name__}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                trust_env=not self._direct,  # A proxy that the environment names is not asked for this machine.
            )
        return self._session


class Client:
    """`AsyncClient` for programs without asyncio: the same arguments, methods and errors. Use as a context manager.

    It runs an event loop in a thread of its own, so it may be used from several threads, and inside another loop.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
        connections: int = 100,
    ) -> None:
        self._client = AsyncClient(url, key=key, timeout=timeout, retry_seconds=retry_seconds, connections=connections)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vitrine-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections, and end its thread. A second time does nothing."""
        if not self._loop.is_closed():
            self._wait(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def classify(
        self, picture: Picture, model: str | None = None, *, top_k: int = 5, min_score: float = 0.0
    ) -> Classification:
        """See `AsyncClient.classify`."""
        return self._wait(self._client.classify(picture, model, top_k=top_k, min_score=min_score))

    def explain(self, picture: Picture, model: str, how: Explaining = Explaining()) -> Explanation:  # noqa: B008
        """See `AsyncClient.explain`."""
        return self._wait(self._client.explain(picture, model, how))

    def heat_map(self, picture: Picture, model: str, how: Explaining = Explaining()) -> bytes:  # noqa: B008
        """See `AsyncClient.heat_map`."""
        return self._wait(self._client.heat_map(picture, model, how))

    def models(self) -> list[Model]:
        """See `AsyncClient.models`."""
        return self._wait(self._client.models())

    def model(self, name: str) -> Model:
        """See `AsyncClient.model`."""
        return self._wait(self._client.model(name))

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()  # Ctrl-C ends the request too.
            raise


async def _content(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return await asyncio.to_thread(Path(picture).read_bytes)
    return await asyncio.to_thread(picture.read)


def _shaped(shape: Callable[[], _T]) -> _T:
    try:
        return shape()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidAnswer(
            f"the answer has another shape than this client knows ({type(error).__name__}: {error})"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
