"""A child process: its lines, its end, and the end of what it started."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from embedded.child import TAIL_LINES, Child
from tests.processes import alive

DEADLINE_S = 20.0


def child_of(code: str, shown: list[str]) -> Child:
    return Child("the child", [sys.executable, "-u", "-c", code], os.environ, shown.append)


async def until_shown(shown: list[str], line: str) -> None:
    give_up = time.monotonic() + DEADLINE_S
    while line not in shown:
        assert time.monotonic() < give_up, shown
        await asyncio.sleep(0.01)


async def test_its_lines_are_shown_and_the_last_are_kept() -> None:
    shown: list[str] = []
    child = child_of("for n in range(80): print(n)", shown)
    await child.start()
    await child.ended()
    assert shown == [str(number) for number in range(80)]
    assert list(child.tail) == shown[-TAIL_LINES:]
    assert child.ending == "ended with exit code 0"
    assert child.pid is None


async def test_a_line_without_end_does_not_fill_the_memory() -> None:
    shown: list[str] = []
    child = child_of("print('x' * 3_000_000); print('after')", shown)
    await child.start()
    await child.ended()
    assert shown[-1] == "after"
    assert max(map(len, shown)) < 2_000_000


async def test_it_is_asked_to_end_and_can_finish() -> None:
    shown: list[str] = []
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('up'); signal.pause()"
    child = child_of(code, shown)
    await child.start()
    await until_shown(shown, "up")
    await child.stop(grace_s=DEADLINE_S)
    assert child.ending == "ended with exit code 7"


async def test_it_is_killed_where_it_does_not_end() -> None:
    shown: list[str] = []
    child = child_of("import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()", shown)
    await child.start()
    await until_shown(shown, "up")
    await child.stop(grace_s=0.1)
    assert child.ending == "ended by SIGKILL"


async def test_what_it_started_ends_with_it() -> None:
    shown: list[str] = []
    grandchild = "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()"
    child = child_of(f"import subprocess, sys; subprocess.run([sys.executable, '-uc', {grandchild!r}])", shown)
    await child.start()
    await until_shown(shown, "up")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    # The grandchild holds the other end of the pipe that is read to its end here.
    await asyncio.wait_for(child.ended(), DEADLINE_S)


async def test_it_is_out_of_reach_of_the_terminal() -> None:
    shown: list[str] = []
    child = child_of("import os; print(os.getsid(0) == os.getpid())", shown)
    await child.start()
    await child.ended()
    assert shown == ["True"]


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import asyncio, os, sys\n"
        "from embedded.child import Child\n"
        "async def main():\n"
        "    child = Child('c', [sys.executable, '-c', 'import signal; signal.pause()'], os.environ, print)\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(parent), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    process.kill()
    await process.wait()
    give_up = time.monotonic() + DEADLINE_S
    while alive(pid):
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
