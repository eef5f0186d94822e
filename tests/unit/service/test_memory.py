"""Budgets of memory: for bodies that arrive, and for decoding."""

import asyncio
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from service.errors import ImageTooLarge, Overloaded
from service.memory import BodyMemory, DecodingMemory, Memory, memory_limit


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("memory.max", "2147483648\n", 2**31),
        ("memory/memory.limit_in_bytes", "1073741824\n", 2**30),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", f"{2**63 - 4096}\n", None),
    ],
)
def test_the_limit_is_the_containers_or_the_machines(
    tmp_path: Path, file: str, text: str, expected: int | None
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    machine = memory_limit(tmp_path / "nothing")
    assert machine > 2**31
    assert memory_limit(tmp_path) == (expected or machine)


def test_workers_share_it() -> None:
    assert Memory.shared(1_000, 1) == Memory(bodies=250, decoding=750)
    assert Memory.shared(1_000, 4) == Memory(bodies=62, decoding=188)


def test_what_never_fits_is_too_large() -> None:
    with pytest.raises(ImageTooLarge, match="takes 30 MB; at most 20 MB"):
        DecodingMemory(20_000_000).take(30_000_000)


def test_what_others_have_is_not_taken() -> None:
    memory = DecodingMemory(100)
    assert memory.take(60)
    assert not memory.take(41)
    assert memory.take(40)
    memory.give_back(60)
    assert memory.take(60)


async def test_who_waits_gets_what_is_given_back_in_turn() -> None:
    memory = DecodingMemory(100)
    await memory.wait_for(100)
    first, second = (asyncio.ensure_future(memory.wait_for(needed)) for needed in (70, 30))
    await asyncio.sleep(0)
    await asyncio.to_thread(memory.give_back, 60)
    await asyncio.sleep(0.01)
    assert not first.done()
    assert not second.done(), "a small one does not overtake for ever"
    await asyncio.to_thread(memory.give_back, 40)
    await asyncio.wait_for(asyncio.gather(first, second), 5)
    assert not memory.take(1)
    memory.give_back(100)
    assert memory.take(100)


@pytest.mark.parametrize("leaves", ["called off", "too late"])
async def test_who_stands_behind_one_that_leaves_gets_what_there_is(
    monkeypatch: pytest.MonkeyPatch, leaves: str
) -> None:
    memory = DecodingMemory(100)
    assert memory.take(60)
    monkeypatch.setattr("service.memory._PATIENCE_SECONDS", 0.02 if leaves == "too late" else 60)
    first = asyncio.ensure_future(memory.wait_for(80))
    await asyncio.sleep(0)
    monkeypatch.setattr("service.memory._PATIENCE_SECONDS", 60)
    second = asyncio.ensure_future(memory.wait_for(50))
    await asyncio.sleep(0)
    memory.give_back(10)
    await asyncio.sleep(0)
    assert not second.done()
    if leaves == "called off":
        first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.done()
    assert not memory.take(1)


async def test_who_no_longer_waits_takes_nothing() -> None:
    memory = DecodingMemory(100)
    assert memory.take(100)
    waiting = [asyncio.ensure_future(memory.wait_for(50)) for _ in range(3)]
    await asyncio.sleep(0)
    memory.give_back(100)
    for each in waiting:  # Two have been granted theirs by now, and do not know it yet.
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert memory.take(100)


async def test_who_waits_too_long_is_told_to_come_again() -> None:
    memory = DecodingMemory(100)
    assert memory.take(100)
    with pytest.raises(Overloaded, match="try again"):
        await memory.wait_for(1)
    memory.give_back(100)
    assert memory.take(100)


def test_bodies_have_what_there_is_and_give_it_back() -> None:
    memory = BodyMemory(100, longest=80)
    one, two = memory.body(), memory.body()
    assert one.longest(1.0) == 80
    assert one.longest(2.0) == 50
    one.grow(60)
    one.finished = True
    two.grow(40)
    with pytest.raises(Overloaded, match="large bodies"):
        two.grow(1)
    one.release()
    memory.body().grow(100)


def test_the_largest_unfinished_body_gives_way_to_others() -> None:
    memory = BodyMemory(100, longest=100)
    large, small, finished = memory.body(), memory.body(), memory.body()
    finished.grow(40)
    finished.finished = True
    large.grow(50)
    small.grow(10)
    small.grow(20)
    finished.check()
    small.check()
    with pytest.raises(Overloaded):
        large.check()
    with pytest.raises(Overloaded):
        large.grow(1)
    large.release()
    assert (finished.bytes, small.bytes, large.bytes) == (40, 30, 0)
    small.grow(30)


async def test_a_body_that_gives_way_is_told_while_it_waits() -> None:
    memory = BodyMemory(100, longest=100)
    slow = memory.body()
    slow.grow(90)

    async def wait() -> None:
        with pytest.raises(Overloaded), slow.waiting():
            await anyio.sleep(30)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            memory.body().grow(20)
