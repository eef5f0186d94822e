"""A few hundred broken conversations; `make soak` has 100,000 on the real stack."""

import asyncio
from itertools import islice

from tests.fakes import FakeBackend, a_picture, encoded
from tests.malformed import SEED, Malformed, converse
from tests.serving import a_post, say, serving

GREEN = encoded(a_picture((0, 200, 0)), "JPEG")
CONVERSATIONS = 600
SHORT = {"head_timeout_seconds": 0.5, "read_timeout_seconds": 0.5, "keep_alive_seconds": 1}


async def test_whatever_a_client_sends_it_ends_and_the_others_are_answered(backend: FakeBackend) -> None:
    print(f"FUZZ_SEED={SEED}")  # noqa: T201 (pytest shows it where the test fails)
    async with serving(backend, **SHORT) as (server, port):
        conversing = asyncio.create_task(converse(port, islice(iter(Malformed(SEED, GREEN)), CONVERSATIONS), 16))
        beside = []
        while not conversing.done():
            beside += await say(port, a_post(GREEN, Connection="close"))
            await asyncio.sleep(0.05)
        outcomes = await conversing
        assert {answer.status for answer in beside} == {200}
        assert outcomes.unexpected == []
        assert outcomes.statuses[200]
        assert outcomes.statuses[400]
        assert outcomes.statuses[431]
        assert not server.server_state.connections
        assert not server.server_state.tasks
