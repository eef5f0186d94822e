"""From a variant that is to be published to a version of its entry, in the repository and in a running Triton."""

import shutil
from collections.abc import Callable
from pathlib import Path

from build_engines.cache import digest_of
from build_engines.errors import LoadError
from build_engines.graph import OPSET
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.provenance import of_result, provenance
from build_engines.repository import (
    Expected,
    Publication,
    Rollback,
    check_target,
    load,
    load_and_check,
    publish,
    rollback,
    withdraw,
    workspace,
)
from build_engines.results import Result
from build_engines.steps import Steps, Variant
from build_engines.values import Compiler, Precision
from contract.config import Runtime, Scheduling
from contract.spec import Entry

_SAMPLE = 4
_TOLERANCE = 0.01
"""Of a probability: FP16 and TF32 round in another order in each runtime, a wrong model is further off."""
LAYOUT = 1
"""Raised where the same variant is published as another entry than before."""


def publish_variant(
    steps: Steps, variant: Variant, result: Result, write_report: Callable[[Path, int], None]
) -> Publication:
    """Make `variant` the next version of its entry; `write_report` writes beside it, given its folder and number.

    Raises:
        TargetMismatchError: the repository holds engines for another TensorRT or GPU.
        RepositoryError: the entry cannot be published.
    """
    plan, facts = steps.plan, steps.exported.facts
    check_target(plan.repository, variant.stamp)
    entry = Entry(
        name=result.entry,
        preprocessing=facts.preprocessing,
        labels=facts.labels,
        max_batch_size=plan.max_batch_size,
        build=provenance(
            plan.notes,
            facts.provenance,
            {"opset": str(OPSET), "onnx_sha256": variant.files.graph.sha256},
            {"weights_stored": plan.weights} if plan.weights != "fp32" and result.precision is Precision.FP32 else {},
            of_result(result, steps.pictures.calibration, plan.calibration_method),
            variant.stamp,
            {"inputs": inputs_of(plan, variant, result)},
        ),
    )
    runtime = Runtime.ONNXRUNTIME if plan.compiler is Compiler.NONE else Runtime.TENSORRT
    scheduling = Scheduling(plan.max_queue_delay_us, plan.instances)
    with workspace(plan.repository) as work:
        files = [Path(shutil.copyfile(file, work / file.name)) for file in variant.files.served]
        return publish(
            plan.repository,
            entry,
            files,
            scheduling,
            runtime=runtime,
            finish=write_report,
            reached=steps.runner.reached,
        )


def let_load(steps: Steps, variant: Variant, new: Publication) -> str:
    """Let the Triton that the plan names serve the `new` version, and compare its answers with those of the build.

    Gives a warning where clients may have had answers of the version before it was compared.

    Raises:
        LoadError: it does not, or its answers differ. The version is withdrawn, and what was served before stays.
    """
    plan = steps.plan
    images = made_pictures(min(_SAMPLE, plan.max_batch_size), steps.exported.facts.preprocessing)
    expected = Expected(images, steps.answers_of(variant, images), _TOLERANCE)
    try:
        return load_and_check(plan.load, new.path, new.version, expected)
    except LoadError:
        withdraw(plan.repository, new.path.name, new.version, new.previous)
        raise


def go_back(repository: Path, name: str, to: int | None, url: str) -> Rollback:
    """Serve version `to` of an entry again, or the one before the served one; in the Triton at `url` too, if given.

    Raises:
        RepositoryError: there is no such version, or Triton does not load it; then the entry is as it was.
    """
    done = rollback(repository, name, to)
    if url:
        try:
            load(url, done.folder, done.version)
        except LoadError:
            if done.before is not None:
                rollback(repository, name, done.before)
            raise
    return done


def inputs_of(plan: Plan, variant: Variant, result: Result) -> str:
    """What decides an entry: one of the same inputs need not be published again."""
    choices = [plan.instances, plan.max_queue_delay_us, dict(plan.notes), result.entry, result.forced]
    return digest_of("entry", {"variant": variant.measuring.digest, "choices": choices, "layout": LAYOUT})
