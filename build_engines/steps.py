"""The steps of one plan, each made when it is needed and never twice: what decides a step's result is its key.

Only here steps meet the cache; the steps themselves take values and give values.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import TypeAdapter

from build_engines.cache import Cache, Step, digest_of
from build_engines.engine.compilers import gpus, load_compiler
from build_engines.engine.engine import Profile, compile_engine
from build_engines.engine.engine_session import EngineSession, open_engine
from build_engines.errors import BuildError, CompileError, InvalidOutputError, PrecisionError
from build_engines.graph import exported, parity
from build_engines.graph.conversion import Recipe, convert
from build_engines.graph.export import check, export
from build_engines.graph.exported import Exported, Facts
from build_engines.graph.onnxruntime_session import Probabilities, Session, answers, open_graph
from build_engines.graph.qdq import exact, has_pairs
from build_engines.graph.sensitivity import blocks, keep_until, measure, table
from build_engines.judge.accuracy import compare
from build_engines.judge.gate import Gate, judge
from build_engines.judge.speed import Course, Race, Timing, batch_sizes, race, time_alone
from build_engines.machine import this_machine
from build_engines.model.timm_model import Source, load_source, source_key
from build_engines.pictures.picture_set import PictureSet, Pixels, Targets, check_calibration, open_pictures
from build_engines.plan import Plan
from build_engines.report.page import Outcome, Table, VariantReport
from build_engines.values.graph import Graph, describe, sha256
from build_engines.values.precision import Compiler, Precision
from contract.config import ENGINE_FILE, MODEL_FILE

GATE = Gate()
_HELD_OUT = 1000
"""Pictures at most that are taken from the rest of the calibration's, where the plan names none for evaluation."""
_FEW = 100
"""Where the rest are fewer than this, the calibration's own must do."""
_OWN = 256
"""As many of them: each costs every variant a run of the model."""
_RESULT = "variant.json"
_ITS_OWN = (PrecisionError, CompileError, InvalidOutputError)
"""What may befall one variant and leave the others whole."""
_NO_GPU = "the engine was compiled without a GPU, so it was not run; the accuracy is its graph's, in ONNX Runtime"


class Progress(Protocol):
    """Who is told how a build goes."""

    def step(self, name: str, /) -> AbstractContextManager[None]:
        """Surrounds the step `name`."""

    def kept(self, name: str, /) -> None:
        """The step `name` was done by an earlier build."""


class Made:
    """A step that is done when its folder is asked for."""

    def __init__(  # noqa: PLR0913, PLR0917 (all that a step is)
        self,
        workshop: "Workshop",
        name: str,
        title: str,
        key: Mapping[str, object],
        make: Callable[[Path], None],
        needs: Sequence["Made"] = (),
    ) -> None:
        self.digest = digest_of(name, key)
        self._workshop, self._name, self._title, self._key = workshop, name, title, key
        self._make, self._needs = make, needs

    @property
    def done(self) -> bool:
        """Whether it was done before."""
        return self._workshop.cache.find(self._name, self._key) is not None

    @cached_property
    def folder(self) -> Path:
        """Where its result is."""
        cache, progress = self._workshop.cache, self._workshop.progress
        found: Step | None = cache.find(self._name, self._key)
        if found:
            progress.kept(self._title)
            return found.folder
        for need in self._needs:
            _ = need.folder
        started = time.monotonic()
        with progress.step(self._title):
            step = cache.step(self._name, self._key, self._make)
        self._workshop.seconds[self._title] = time.monotonic() - started
        self._workshop.reached(self._title)
        return step.folder


class Workshop:
    """The steps of `plan`."""

    def __init__(self, plan: Plan, progress: Progress, reached: Callable[[str], None]) -> None:
        self.plan, self.progress, self.reached = plan, progress, reached
        self.cache = Cache(plan.cache)
        self.seconds: dict[str, float] = {}

    @cached_property
    def model(self) -> Made:
        """The FP32 graph, compared with torch."""
        key = {**source_key(self.plan), "max_batch_size": self.plan.max_batch_size}
        return Made(self, "model", "export", key, self._export)

    @cached_property
    def exported(self) -> Exported:
        """What `model` made."""
        return exported.load(self.model.folder)

    @cached_property
    def calibration(self) -> PictureSet | None:
        """The pictures that ranges come from."""
        if self.plan.calibration is None or set(self.plan.precisions) <= {Precision.FP32}:
            return None
        return open_pictures(self.plan.calibration).choose(self.plan.calibration_pictures)

    @cached_property
    def evaluation(self) -> PictureSet | None:
        """The pictures that variants are compared with the model on."""
        if self.plan.evaluation:
            return open_pictures(self.plan.evaluation)
        if self.calibration is None or self.plan.calibration is None:
            return None
        rest = open_pictures(self.plan.calibration).without(self.calibration).choose(_HELD_OUT)
        return rest if len(rest) >= _FEW else self.calibration.choose(_OWN)

    @property
    def held_out(self) -> bool:
        """Whether calibration saw none of the pictures for evaluation."""
        if self.evaluation is None or self.calibration is None:
            return True
        return len(self.evaluation.without(self.calibration)) == len(self.evaluation)

    @cached_property
    def targets(self) -> Targets:
        """What the pictures for evaluation show."""
        assert self.evaluation is not None  # noqa: S101 (asked for only where there are pictures)
        return self.evaluation.targets(self.exported.facts.labels)

    def graph(self, precision: Precision) -> Made:
        """The graph of one precision."""
        if precision is Precision.FP32:
            return self.model
        assert self.calibration is not None  # noqa: S101 (the plan demands it)
        recipe = self._recipe(precision)
        key = {"model": self.model.digest, "recipe": recipe.key, "calibration": self.calibration.sha256}
        return Made(
            self,
            "graph",
            f"{precision.value} graph",
            key,
            lambda folder: _ignored(convert(self.exported.graph, recipe, self._calibration_pixels, folder)),
            needs=(self.model,),
        )

    def kept(self, precision: Precision) -> Made:
        """The graph of one precision with the blocks in high precision that the gate asks for."""
        plain = self.graph(precision)
        assert self.evaluation is not None  # noqa: S101 (there is a calibration set)
        key = {"graph": plain.digest, "evaluation": self.evaluation.sha256, "gate": repr(GATE)}
        title = f"{precision.value} blocks"
        return Made(self, "kept", title, key, lambda folder: self._keep(plain, folder), (plain, self.reference))

    def engine(self, precision: Precision, graph: Made) -> Made:
        """The engine of one precision."""
        library = load_compiler(self.plan.compiler)
        plan = self.plan
        profile = Profile.up_to(plan.max_batch_size, plan.opt_batch_size)
        key = {
            "graph": graph.digest,
            "compiler": f"{library.words} {library.device()}",
            "profile": repr(profile),
            "workspace_mib": plan.workspace_mib,
        }

        def make(folder: Path) -> None:
            engine = compile_engine(
                describe(graph.folder / MODEL_FILE),
                library,
                profile,
                folder,
                workspace_bytes=plan.workspace_mib * 2**20,
                timing_cache=plan.cache / f"timing-{plan.compiler.value}-{library.version}.cache",
            )
            (folder / "engine.json").write_text(json.dumps(dict(engine.stamp)), encoding="utf-8")

        return Made(self, "engine", f"{precision.value} engine", key, make, needs=(graph,))

    def verified(self, precision: Precision, baseline: Precision | None) -> "Verified":
        """A variant, measured and judged; faster than `baseline` or not."""
        graph = self.graph(precision)
        if self.plan.keep_fp16 == "auto" and precision in (Precision.INT8, Precision.FP8):
            graph = self.kept(precision)
        engine = None if self.plan.compiler is Compiler.NONE else self.engine(precision, graph)
        needs = [graph, *([self.reference] if self.evaluation else []), *([engine] if engine else [])]
        machine = this_machine()
        key = {
            "needs": [need.digest for need in needs],
            "baseline": self.graph(baseline).digest if baseline else "",
            "gate": repr(GATE),
            "machine": f"{machine.cpu} {machine.cpus} {machine.gpu}",
        }

        def make(folder: Path) -> None:
            report = self._verify(precision, graph, engine, baseline, folder)
            (folder / _RESULT).write_bytes(TypeAdapter(VariantReport).dump_json(report))

        def failed(error: BuildError) -> VariantReport:
            # The others are made from FP32: without it there is nothing to go on with.
            if precision is Precision.FP32:
                raise error
            name, compiler = self.plan.entry_name(precision), self.plan.compiler
            return VariantReport(name, precision, compiler, "", Outcome.FAILED, f"{error}.")

        return Verified(graph, engine, Made(self, "verify", f"{precision.value} verify", key, make, needs), failed)

    def answers_of(self, variant: "Verified", images: Pixels) -> Probabilities:
        """What a variant answers here: float32 `[n, classes]` to uint8 `[n, height, width, 3]`."""
        with tempfile.TemporaryDirectory() as folder:
            return answers(self._runner(variant.graph, variant.engine, Path(folder)), images, self.plan.max_batch_size)

    @cached_property
    def reference(self) -> Made:
        """What the model itself answers in torch, on the pictures for evaluation."""
        assert self.evaluation is not None  # noqa: S101 (asked for only where there are pictures)
        key = {"model": self.model.digest, "evaluation": self.evaluation.sha256}
        return Made(
            self,
            "reference",
            "reference",
            key,
            lambda folder: np.save(
                folder / "answers.npy", parity.reference(self._source.classifier, self._evaluation_pixels)
            ),
            needs=(self.model,),
        )

    @cached_property
    def _source(self) -> Source:
        return load_source(self.plan)

    @cached_property
    def _calibration_pixels(self) -> Pixels:
        assert self.calibration is not None  # noqa: S101 (asked for by lower precisions only)
        pixels = self.calibration.pixels(self.exported.facts.preprocessing)
        check_calibration(self.calibration, pixels)
        return pixels

    @cached_property
    def _evaluation_pixels(self) -> Pixels:
        assert self.evaluation is not None  # noqa: S101 (asked for only where there are pictures)
        return self.evaluation.pixels(self.exported.facts.preprocessing)

    def _recipe(self, precision: Precision) -> Recipe:
        method: Literal["entropy", "max"] = "max" if self.plan.calibration_method == "max" else "entropy"
        return Recipe(precision, for_engine=self.plan.compiler is not Compiler.NONE, method=method)

    def _export(self, folder: Path) -> None:
        source = self._source
        graph = export(source.classifier, folder)
        check(graph, source.classifier)
        found = parity.measure(graph.path, source.classifier, self.plan.max_batch_size)
        exported.save(Facts(source.classifier.preprocessing, source.labels, source.provenance, found), folder)

    def _keep(self, plain: Made, folder: Path) -> None:
        quantised = describe(plain.folder / MODEL_FILE)
        reference = np.load(self.reference.folder / "answers.npy")

        def passes(graph: Graph) -> bool:
            found = answers(self._opened(graph, folder), self._evaluation_pixels)
            return judge(compare(reference, found, self.targets.indices), None, GATE).passed

        work = folder / "work"
        work.mkdir()
        rows: tuple[tuple[str, ...], ...] = ()
        if passes(quantised):
            result = quantised
        else:
            some = self._calibration_pixels[:64]
            parts = blocks(self.exported.graph, quantised)
            wanted = answers(open_graph(self.exported.graph.path), some)
            ranked = measure(quantised, parts, some, wanted, work)
            rows = table(ranked)
            result = keep_until(passes, quantised, ranked, work).graph
        for file in result.files:
            shutil.copyfile(file, folder / file.name)
        shutil.rmtree(work)
        (folder / "sensitivity.json").write_text(json.dumps(rows), encoding="utf-8")

    def _runner(self, graph: Made, engine: Made | None, folder: Path) -> Session | EngineSession:
        """What answers as the variant will: its engine where a GPU can run it, else its graph."""
        if engine and gpus():
            return open_engine(engine.folder / ENGINE_FILE, load_compiler(self.plan.compiler))
        return self._opened(describe(graph.folder / MODEL_FILE), folder)

    def _opened(self, graph: Graph, folder: Path) -> Session:
        """The graph in ONNX Runtime: as it is served on a CPU, or as TensorRT means it, which differs for Q/DQ."""
        if self.plan.compiler is Compiler.NONE or not has_pairs(graph):
            return open_graph(graph.path)
        scratch = folder / "exact"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            return open_graph(exact(graph, scratch).path, exact=True)
        finally:
            shutil.rmtree(scratch)

    def _verify(
        self, precision: Precision, graph: Made, engine: Made | None, baseline: Precision | None, folder: Path
    ) -> VariantReport:
        plan = self.plan
        found = describe(graph.folder / MODEL_FILE)
        session = self._runner(graph, engine, folder)
        runs = engine is None or isinstance(session, EngineSession)
        accuracy = None
        images = parity.pictures(plan.max_batch_size, self.exported.facts.preprocessing)
        if self.evaluation:
            images = self._evaluation_pixels
            accuracy = compare(
                np.load(self.reference.folder / "answers.npy"),
                answers(session, images, min(32, plan.max_batch_size)),
                self.targets.indices,
            )
        course = Course(lambda size: images[np.arange(size) % len(images)], batch_sizes(plan.max_batch_size))
        why = "there is no higher precision to compare with" if runs else _NO_GPU
        measured: Race | None = None
        timings: tuple[Timing, ...] = ()
        if runs and baseline:
            higher = self.graph(baseline)
            other = self._runner(higher, self.engine(baseline, higher) if engine else None, folder)
            measured = race(session, other, course, against=baseline, runtime=session.runtime)
        elif runs:
            timings = time_alone(session, course)
        verdict = judge(accuracy, measured, GATE, no_race=why) if accuracy else None
        sensitivity = self._sensitivity(graph)
        files = engine.folder / ENGINE_FILE if engine else None
        return VariantReport(
            entry=plan.entry_name(precision),
            precision=precision,
            compiler=plan.compiler,
            runtime=session.runtime if runs else load_compiler(plan.compiler).words,
            outcome=Outcome.PUBLISHED if verdict is None or verdict.passed else Outcome.REFUSED,
            reason=" ".join(f"{failure[0].upper()}{failure[1:]}." for failure in verdict.failures) if verdict else "",
            graph_size=found.size,
            engine_size=files.stat().st_size if files else None,
            files={file.name: sha256((file,)) for file in ([files] if files else found.files)},
            parity=self.exported.facts.parity.provenance if precision is Precision.FP32 else {},
            accuracy=accuracy,
            accuracy_runtime=session.runtime if accuracy else "",
            race=measured,
            timings=timings,
            verdict=verdict,
            sensitivity=sensitivity,
        )

    def _sensitivity(self, graph: Made) -> Table | None:
        file = graph.folder / "sensitivity.json"
        rows = json.loads(file.read_text("utf-8")) if file.exists() else []
        return Table(tuple(rows[0]), tuple(tuple(row) for row in rows[1:])) if rows else None


class Verified:
    """A variant that was measured and judged."""

    def __init__(
        self, graph: Made, engine: Made | None, step: Made, failed: Callable[[BuildError], VariantReport]
    ) -> None:
        self.graph, self.engine, self.step = graph, engine, step
        self._failed = failed

    @cached_property
    def report(self) -> VariantReport:
        """What was found, or why there is nothing.

        Raises:
            BuildError: nothing can be built, and not only this variant.
        """
        try:
            folder = self.step.folder
        except _ITS_OWN as error:
            return self._failed(error)
        return TypeAdapter(VariantReport).validate_json((folder / _RESULT).read_bytes())

    @property
    def files(self) -> tuple[Path, ...]:
        """What an entry of it consists of."""
        if self.engine:
            return (self.engine.folder / ENGINE_FILE,)
        return describe(self.graph.folder / MODEL_FILE).files

    @property
    def onnx_sha256(self) -> str:
        """Of the graph that is served, or that the engine was made of."""
        return describe(self.graph.folder / MODEL_FILE).sha256

    @property
    def stamp(self) -> Mapping[str, str]:
        """What its engine was built with."""
        if self.engine is None:
            return {}
        stamp: dict[str, str] = json.loads((self.engine.folder / "engine.json").read_text("utf-8"))
        return stamp


def _ignored(_: object) -> None:
    """For a step whose files are its result."""
