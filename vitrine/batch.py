"""Many files at once, their results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable

from vitrine.client import AsyncClient
from vitrine.errors import VitrineError
from vitrine.files import content_of
from vitrine.records import Failure, Record

GIVE_UP_AFTER = 20
"""Files in a row that failed through no fault of theirs: the service is gone, and so would be the rest."""
_AHEAD = 4
"""Results that wait for an earlier one, for each request in flight."""


class ServiceGone(Exception):
    """Too many files in a row failed through no fault of theirs. The message is the last one's."""


async def classify_all(
    client: AsyncClient, paths: Iterable[str], model: str | None, top_k: int, parallel: int
) -> AsyncGenerator[Record, None]:
    """What comes of each file, in order; `parallel` are in flight. A file that fails is a record like any other.

    Raises:
        ServiceGone: going on is of no use.
    """
    places = asyncio.Semaphore(parallel)

    async def one(path: str) -> Record:
        async with places:
            try:
                content = await asyncio.to_thread(content_of, path)
                return Record(path, await client.classify(content, model, top_k=top_k))
            except (VitrineError, OSError) as error:
                return Record(path, Failure.of(error))

    pending: deque[asyncio.Task[Record]] = deque()
    in_a_row = 0
    try:
        for path in _then_none(paths):
            if path is not None:
                pending.append(asyncio.create_task(one(path)))
            while pending and (path is None or len(pending) >= _AHEAD * parallel):
                record = await pending.popleft()
                yield record
                service = isinstance(record.outcome, Failure) and not record.final
                in_a_row = in_a_row + 1 if service else 0
                if in_a_row >= GIVE_UP_AFTER and isinstance(record.outcome, Failure):
                    raise ServiceGone(record.outcome.detail)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _then_none(paths: Iterable[str]) -> Iterable[str | None]:
    yield from paths
    yield None
