"""Run every step that can be run, and write what came of them.

    python -m benchmarks.gpu_check                    (make gpu-check; the builder's image has it too)

Where `tritonserver` is installed, as in the builder's image, one is started on the repository that the check builds.
Without a GPU it ends after the first steps, and the report says what is missing.
"""

import argparse
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu_check.report import Outcome, write
from benchmarks.gpu_check.steps import TRITON, Pictures, Step, Tools, missing, steps
from benchmarks.matrix import CALIBRATION, EVALUATION, make_pictures

PROJECT = Path(__file__).resolve().parents[2]
_STARTS_S = 60.0
_POLL_S = 0.2


def run(step: Step) -> tuple[int, str, float]:
    """Exit code, all that was printed, and seconds. What is not installed or takes too long has a shell's code."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200"}
    try:
        done = subprocess.run(  # noqa: S603 (commands of ours)
            step.command,
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=step.seconds,
            check=False,
        )
        code, output = done.returncode, done.stdout
    except FileNotFoundError as error:
        code, output = 127, f"{error.filename} is not installed here\n"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
        code, output = 124, f"{said}\nit took longer than {step.seconds:g} s\n"
    return code, output, time.monotonic() - began


@contextmanager
def triton(repository: Path, log: Path) -> Iterator[str]:
    """A `tritonserver` in explicit mode, at verbosity 1: its gRPC address, empty where there is none."""
    program = shutil.which("tritonserver")
    if program is None:
        yield ""
        return
    ports = [str(_free_port()) for _ in range(3)]
    command = [program, f"--model-repository={repository}", "--model-control-mode=explicit", "--log-verbose=1"]
    command += ["--disable-auto-complete-config", f"--http-port={ports[0]}", f"--grpc-port={ports[1]}"]
    with log.open("w") as out:
        process = subprocess.Popen([*command, f"--metrics-port={ports[2]}"], stdout=out, stderr=out)  # noqa: S603
    try:
        give_up = time.monotonic() + _STARTS_S
        while process.poll() is None and time.monotonic() < give_up and not _listens(int(ports[1])):
            time.sleep(_POLL_S)
        yield f"127.0.0.1:{ports[1]}" if process.poll() is None else ""
    finally:
        process.terminate()
        process.wait()


def check(work: Path, builder: tuple[str, ...], python: str, given: Pictures | None) -> list[Outcome]:
    """Every step, one after the other; what one finds is printed as soon as it is known."""
    repository, log = work / "repository", work / "triton.log"
    repository.mkdir(parents=True, exist_ok=True)
    pictures = given or Pictures(work / "calibration.zip", work / "evaluation.zip", made=True)
    if given is None:
        make_pictures(pictures.calibration, CALIBRATION)
        make_pictures(pictures.evaluation, EVALUATION)
    outcomes: list[Outcome] = []
    with triton(repository, log) as address:
        went_well = {TRITON} if address else set()
        for step in steps(Tools(builder, python, address, log), repository, pictures):
            if why := missing(step, went_well):
                outcome = Outcome(step, None, why)
            else:
                code, output, seconds = run(step)
                verdict = step.judge(code, output)
                outcome = Outcome(step, verdict, verdict.words, seconds, output)
                went_well |= {step.name} if verdict.ok else set()
            outcomes.append(outcome)
            print(f"{step.name:<16} {outcome.state:<12} {outcome.words}", flush=True)
    return outcomes


def machine() -> str:
    """In a line."""
    return f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> int:
    """Run from the command line: 0 where all came out as expected, 1 where not, 3 where something was not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/gpu-check"), help="default: %(default)s")
    parser.add_argument("--calibration", type=Path, help="pictures (default: made ones, and random weights)")
    parser.add_argument("--evaluation", type=Path, help="pictures in folders with the names of labels; with the above")
    options = parser.parse_args()
    if (options.calibration is None) != (options.evaluation is None):
        parser.error("--calibration and --evaluation go together")
    given = Pictures(options.calibration, options.evaluation, made=False) if options.calibration else None
    work = options.work.resolve()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{work} cannot be made ({error.strerror}); name another --work, or run it as who owns the folder")
    outcomes = check(work, (sys.executable, "-m", "build_engines.cli"), sys.executable, given)
    path = write(outcomes, machine(), work, [work / "triton.log", *work.glob("reports/**/*")])
    print(f"{path} has everything; see docs/first-hour-on-a-gpu.md for what it means")
    if any(each.verdict is not None and not each.verdict.ok for each in outcomes):
        return 1
    return 3 if any(each.verdict is None for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
