"""From a verified variant to a version of its entry: what the provenance says, and which files it has."""

import shutil
from pathlib import Path

from build_engines.cache import digest_of
from build_engines.engine.engine import check_target
from build_engines.errors import LoadError
from build_engines.graph import parity
from build_engines.graph.export import OPSET
from build_engines.plan import Plan
from build_engines.provenance import of_variant, provenance
from build_engines.report.page import Report, VariantReport, write
from build_engines.repository.entries import withdraw
from build_engines.repository.publication import Published, publish, workspace
from build_engines.repository.running_triton import Expected, load_and_check
from build_engines.steps import Verified, Workshop
from build_engines.values.precision import Compiler
from contract.config import Runtime, Scheduling
from contract.spec import Entry

_SAMPLE = 4
_TOLERANCE = 0.01
"""Of a probability: FP16 and TF32 round in another order in each runtime, a wrong model is further off."""
LAYOUT = 1
"""Raised where the same variant is published as another entry than before."""


def publish_variant(workshop: Workshop, verified: Verified, variant: VariantReport, report: Report) -> Published:
    """Make `variant` the next version of its entry, with the report beside it.

    Raises:
        TargetMismatchError: the repository holds engines for another TensorRT or GPU.
        RepositoryError: the entry cannot be published.
    """
    plan, facts = workshop.plan, workshop.exported.facts
    if verified.stamp:
        check_target(plan.repository, verified.stamp)
    entry = Entry(
        name=variant.entry,
        preprocessing=facts.preprocessing,
        labels=facts.labels,
        max_batch_size=plan.max_batch_size,
        build=provenance(
            plan.notes,
            facts.provenance,
            {"opset": str(OPSET), "onnx_sha256": verified.onnx_sha256},
            variant.parity,
            of_variant(variant, workshop.calibration, plan.calibration_method),
            verified.stamp,
            {"inputs": inputs_of(plan, verified, variant)},
        ),
    )
    runtime = Runtime.ONNXRUNTIME if plan.compiler is Compiler.NONE else Runtime.TENSORRT
    scheduling = Scheduling(plan.max_queue_delay_us, plan.instances)
    with workspace(plan.repository) as work:
        files = [Path(shutil.copyfile(file, work / file.name)) for file in verified.files]
        write(report, work)
        files += [file for file in sorted(work.iterdir()) if file not in files]
        return publish(plan.repository, entry, files, scheduling, runtime=runtime, reached=workshop.reached)


def let_load(workshop: Workshop, verified: Verified, published: Published) -> None:
    """Let the Triton that the plan names serve `published`, and compare its answers with those of the build.

    Raises:
        LoadError: it does not, or answers otherwise. The version is withdrawn, and what was served before stays.
    """
    plan = workshop.plan
    folder = published.path
    images = parity.pictures(min(_SAMPLE, plan.max_batch_size), workshop.exported.facts.preprocessing)
    expected = Expected(images, workshop.answers_of(verified, images), _TOLERANCE)
    try:
        load_and_check(plan.load, folder, published.version, expected)
    except LoadError:
        withdraw(plan.repository, folder.name, published.version, published.previous)
        raise


def inputs_of(plan: Plan, verified: Verified, variant: VariantReport) -> str:
    """What decides an entry: one of the same inputs need not be published again."""
    choices = [plan.instances, plan.max_queue_delay_us, dict(plan.notes), variant.entry, variant.forced]
    return digest_of("entry", {"variant": verified.step.digest, "choices": choices, "layout": LAYOUT})
