"""From a variant that is to be published to a version of its entry, in the repository and in a running Triton."""

import shutil
from collections.abc import Callable
from pathlib import Path

from build_engines.cache import digest_of
from build_engines.errors import LoadError
from build_engines.graph import OPSET, open_graph
from build_engines.pictures import made_pictures
from build_engines.plan import Plan
from build_engines.provenance import of_result, provenance
from build_engines.repository import (
    Expected,
    Publication,
    Rollback,
    check_target,
    is_served,
    load,
    load_and_check,
    newest_inputs,
    publish,
    rollback,
    served,
    withdraw,
    workspace,
)
from build_engines.results import Explained, Published, Result
from build_engines.steps import Silent, Steps, Variant, load_companion
from build_engines.values import Precision, answers
from contract.config import Scheduling
from contract.spec import Entry, Rollout

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
    check_target(plan.repository, plan.entry_names, variant.stamp)
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
    scheduling = Scheduling(plan.max_queue_delay_us, plan.instances)
    with workspace(plan.repository) as work:
        files = [Path(shutil.copyfile(file, work / file.name)) for file in variant.files.served]
        return publish(
            plan.repository,
            entry,
            files,
            scheduling,
            runtime=variant.files.runtime,
            finish=write_report,
            reached=steps.runner.reached,
        )


def publish_companion(steps: Steps) -> Explained | None:
    """Publish the entry that explains the others, where the plan wants one, unless it was from the same inputs.

    Raises:
        RepositoryError: it cannot be published, or a running Triton does not load it; then it is withdrawn.
    """
    plan = steps.plan
    if steps.companion is None:
        return None
    companion, inputs = load_companion(steps.companion.folder), _companion_inputs(steps)
    shape, graph = companion.shape, companion.graph
    unchanged = _unchanged(plan.repository / plan.companion_name, inputs)
    if unchanged is not None:
        return Explained(plan.companion_name, Published(unchanged, unchanged=True), shape.view)
    facts = steps.exported.facts
    entry = Entry(
        name=plan.companion_name,
        preprocessing=facts.preprocessing,
        labels=facts.labels,
        max_batch_size=steps.largest_explained,
        build=provenance(
            facts.provenance,
            {"opset": str(OPSET), "onnx_sha256": graph.sha256, "precision": Precision.FP32.value, "inputs": inputs},
            shape.parity.provenance,
            {"explains.max_abs_diff": f"{shape.furthest:.1e}"},
            {"explains.without": shape.view} if shape.view else {},
        ),
        explains=Rollout(
            entries=tuple(map(plan.entry_name, plan.precisions)),
            weights_sha256=facts.provenance["weights_sha256"],
            layers=shape.layers,
            heads=shape.heads,
            rows=shape.rows,
            columns=shape.columns,
            discard=plan.explain_discard,
        ),
    )
    with steps.runner.progress.step("explain publish"), workspace(plan.repository) as work:
        files = [Path(shutil.copyfile(file, work / file.name)) for file in graph.files]
        new = publish(plan.repository, entry, files, Scheduling(), reached=steps.runner.reached)
    images = made_pictures(1, facts.preprocessing)
    expected = Expected(images, answers(open_graph(graph.path), images), _TOLERANCE)
    warning = _loaded(plan, new, expected) if plan.load else ""
    return Explained(entry.name, Published(new.version, warning=warning), shape.view)


def foresee_companion(plan: Plan) -> str:
    """What a build would do for the companion, as far as it is known without doing it."""
    steps = Steps(plan, Silent(), lambda _: None)
    known = _unchanged(plan.repository / plan.companion_name, _companion_inputs(steps)) is not None
    return "as before" if known else "to build"


def _companion_inputs(steps: Steps) -> str:
    """What decides the companion; see `inputs_of`."""
    assert steps.companion is not None  # noqa: S101 (the plan wants one)
    return digest_of("companion", {"step": steps.companion.digest, "entries": steps.plan.entry_names, "layout": LAYOUT})


def _unchanged(folder: Path, inputs: str) -> int | None:
    """The newest version of an entry, where it is of these inputs."""
    version, found = newest_inputs(folder)
    return version if found == inputs else None


def let_load(steps: Steps, variant: Variant, new: Publication) -> str:
    """Let the Triton that the plan names serve the `new` version, and compare its answers with those of the build.

    Gives a warning where clients may have had answers of the version before it was compared.

    Raises:
        LoadError: it does not, or its answers differ. The version is withdrawn, and what was served before stays.
    """
    return _loaded(steps.plan, new, _expected(steps, variant))


def _loaded(plan: Plan, new: Publication, expected: Expected) -> str:
    try:
        return load_and_check(plan.load, new.path, new.version, expected)
    except BaseException:  # Also where the person has enough of waiting: nobody has seen it answer.
        withdraw(plan.repository, new.path.name, new.version, new.previous)
        raise


def let_load_as_before(steps: Steps, variant: Variant, entry: str, version: int) -> str:
    """As `let_load`, for a version that was published by an earlier build, which may have been killed before Triton
    had it. One that Triton serves already is not compared again, and one that was rolled back is not loaded.

    Raises:
        LoadError: Triton is not there, does not load it, or its answers differ. It stays published.
    """
    plan, folder = steps.plan, steps.plan.repository / entry
    if max(served(folder), default=0) != version or is_served(plan.load, folder, version):
        return ""
    return load_and_check(plan.load, folder, version, _expected(steps, variant))


def _expected(steps: Steps, variant: Variant) -> Expected:
    images = made_pictures(min(_SAMPLE, steps.plan.max_batch_size), steps.exported.facts.preprocessing)
    return Expected(images, steps.answers_of(variant, images), _TOLERANCE)


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
