"""Budgets of memory: for bodies that arrive, and for decoding."""

import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceeded, ImageTooLarge, Overloaded
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
    memory = DecodingMemory(20_000_000)
    with pytest.raises(ImageTooLarge, match="takes 30 MB; at most 20 MB"), memory.lent(30_000_000, Deadline.after(5)):
        pass


def test_what_does_not_fit_now_waits_and_gets_its_turn() -> None:
    memory = DecodingMemory(100)
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with memory.lent(60, Deadline.after(5)):
            taken.set()
            leave.wait(5)

    other = threading.Thread(target=hold)
    other.start()
    taken.wait(5)
    with memory.lent(40, Deadline.after(5)):
        pass
    with pytest.raises(Overloaded, match="try again"), memory.lent(41, Deadline.after(5)):
        pass
    with pytest.raises(DeadlineExceeded), memory.lent(41, Deadline.after(0.02)):
        pass
    threading.Timer(0.05, leave.set).start()
    with memory.lent(100, Deadline.after(5)):
        assert leave.is_set()
    other.join()


def test_memory_comes_back_when_decoding_fails() -> None:
    memory = DecodingMemory(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), memory.lent(100, Deadline.after(5)):
            raise ValueError("broken")


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
