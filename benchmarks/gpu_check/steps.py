"""The steps, in order: what each runs, what it needs, what is expected, and what it means where that is not so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check import judges
from benchmarks.gpu_check.judges import Judge

MODEL, NAME = "vit_base_patch16_224", "check"
PRECISIONS = ("fp16", "int8", "fp8")
TRITON = "a Triton that reads the repository"
"""What `missing` names where a step needs it and there is none."""


@dataclass(frozen=True)
class Step:
    """One command, and how its output is read."""

    name: str
    command: tuple[str, ...]
    expects: str
    otherwise: str
    """What it means where that is not so, and what to do."""
    judge: Judge
    seconds: float
    """Most that it may take."""
    needs: tuple[str, ...] = ()
    """Steps that must have gone well, or `TRITON`."""
    file: Path | None = None
    """What must be there."""


@dataclass(frozen=True)
class Tools:
    """How the steps reach what they run."""

    builder: tuple[str, ...]
    """`build-engines`."""
    python: str
    """Of the builder's environment."""
    triton: str
    """host:port of the gRPC service of a Triton that reads the repository; empty where there is none."""
    log: Path
    """That Triton's log, at verbosity 1."""


@dataclass(frozen=True)
class Pictures:
    """What calibrates and judges."""

    calibration: Path
    evaluation: Path
    made: bool
    """Whether they show nothing: then the weights are random too, and the gate's refusals are overruled."""


def steps(tools: Tools, repository: Path, pictures: Pictures) -> Sequence[Step]:
    """Every step."""
    engines = {precision: repository / f"{NAME}_{precision}" / "1" / "model.plan" for precision in PRECISIONS}
    build = [*tools.builder, "build", MODEL, "--name", NAME, "--compiler", "tensorrt", "--repository", str(repository)]
    build += ["--precision", ",".join(("fp32", *PRECISIONS)), "--calibration", str(pictures.calibration)]
    build += ["--reports", str(repository.with_name("reports"))]
    build += ["--evaluation", str(pictures.evaluation), *(("--no-pretrained", "--force") if pictures.made else ())]
    build += ["--load", tools.triton] if tools.triton else []
    tune = [*tools.builder, "tune", f"{NAME}_fp16", "--triton", tools.triton, "--repository", str(repository)]
    inspect = (tools.python, "-m", "benchmarks.gpu_check.inspect_engine")
    return (
        Step(
            "driver",
            ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"),
            f"a GPU, and a driver of R{judges.DRIVER} or later",
            f"CUDA 13 needs R{judges.DRIVER}. On datacentre GPUs NVIDIA's forward compatibility package will do.",
            judges.driver,
            seconds=30,
        ),
        Step(
            "doctor",
            (*tools.builder, "doctor"),
            "TensorRT can be used",
            "Run this in the builder's image, which has the TensorRT of the Triton that will serve.",
            judges.doctor,
            seconds=120,
        ),
        Step(
            "tests",
            (tools.python, "-m", "pytest", "tests/gpu", "-rs", "-p", "no:cacheprovider"),
            "all tests of engines pass, and none is left out",
            "An engine answers otherwise than its graph, or TensorRT is not what this version is written against. "
            "Build nothing with it.",
            judges.tests,
            seconds=1_800,
            needs=("driver", "doctor"),
        ),
        Step(
            "build",
            tuple(build),
            "FP16 is published; INT8 and FP8 are published, or refused for their speed with the figures",
            "A variant that failed has its reason in its line. 8 bits need not pay: NVIDIA's own figures for a ViT on "
            "an H100 are 0.62 ms at FP16, 0.63 at INT8 and 0.65 at FP8 (Model-Optimizer, issue 194).",
            judges.build,
            seconds=3_600,
            needs=("driver", "doctor"),
        ),
        Step(
            "captures",
            ("cat", str(tools.log)),
            "a CUDA graph for each of the sizes 1, 2, 4, ... of every engine, and no failure in Triton's log",
            "Triton serves such a size without its graph, slower. Free memory of the GPU, or update the driver.",
            judges.captures,
            seconds=30,
            needs=(TRITON, "build"),
        ),
        Step(
            "tune",
            (*tune, "--dry-run"),
            "answers alone and at load for windows of 0 to 10 ms, none much better than what the entry has",
            "What it would keep is better on this GPU: run it without --dry-run.",
            judges.tuning,
            seconds=1_800,
            needs=(TRITON, "build"),
        ),
        *(
            Step(
                f"layers of {precision}",
                (*inspect, str(engine)),
                "fused attention in each block" + ("" if precision == "fp16" else ", and products of 8 bits"),
                "TensorRT did not fuse what it can. Compare with the layers of FP16.",
                judges.layers(precision),
                seconds=300,
                needs=("build",),
                file=engine,
            )
            for precision, engine in engines.items()
        ),
    )


def missing(step: Step, went_well: set[str]) -> str:
    """Why a step cannot be run now; empty where it can."""
    for need in step.needs:
        if need not in went_well:
            return f"it needs {need}" if need == TRITON else f"it needs the step {need!r} to go well"
    if step.file is not None and not step.file.is_file():
        return f"there is no {step.file.name} of it"
    return ""
