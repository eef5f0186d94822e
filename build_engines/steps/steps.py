"""The steps of one plan: what decides the result of each, what each needs, and who makes it."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

from build_engines.cache import Cache
from build_engines.engine import Profile, compile_engine, engines_run_here, load_compiler, load_stamp
from build_engines.graph import Exported, Recipe, convert, has_attention, load_exported, pack_weights, store_weights
from build_engines.judge import GATE
from build_engines.machine import installed_version, this_machine
from build_engines.model import TimmModel, load_timm_model, timm_model_key
from build_engines.pictures import Choice, PictureSet, Targets, check_calibration, choose_pictures, made_pictures
from build_engines.plan import Plan
from build_engines.results import Measured
from build_engines.steps.blocks import load_sensitivity, mix
from build_engines.steps.code_version import source_of
from build_engines.steps.companion import LARGEST, explain
from build_engines.steps.export import export, load_reference, refer
from build_engines.steps.measure import Task, load_measured, measure
from build_engines.steps.sessions import Files, open_session
from build_engines.steps.step import Progress, Runner, Step
from build_engines.values import Compiler, Graph, Pixels, Precision, Probabilities, answers, describe
from contract.config import MODEL_FILE


class Variant:
    """The model at one precision: its graph, its engine where there is one, and what is measured of it."""

    def __init__(self, graph: Step, engine: Step | None, measuring: Step, *, bf16: bool = False) -> None:
        self.measuring = measuring
        self._graph, self._engine, self._bf16 = graph, engine, bf16

    @property
    def measured(self) -> Measured:
        """What was found.

        Raises:
            BuildError: it cannot be made, or its answers are no probabilities.
        """
        return load_measured(self.measuring.folder)

    @property
    def files(self) -> Files:
        """What it consists of."""
        return Files(_graph(self._graph), self._engine.folder if self._engine else None, self._bf16)

    @property
    def stamp(self) -> Mapping[str, str]:
        """What its engine was built with; empty where there is none."""
        return load_stamp(self._engine.folder) if self._engine else {}


class Steps:
    """The steps of `plan`."""

    def __init__(self, plan: Plan, progress: Progress, reached: Callable[[str], None]) -> None:
        self.plan = plan
        self.runner = Runner(Cache(plan.cache), progress, reached, source_of(__name__))

    @cached_property
    def model(self) -> Step:
        """The FP32 graph, compared with torch."""
        return Step(
            self.runner,
            "model",
            "export",
            lambda folder: export(self._model, self.plan.max_batch_size, folder),
            inputs={**timm_model_key(self.plan), "max_batch_size": self.plan.max_batch_size},
            code=(load_timm_model, export),
        )

    @cached_property
    def exported(self) -> Exported:
        """What `model` made."""
        return load_exported(self.model.folder)

    @cached_property
    def pictures(self) -> Choice:
        """The pictures for calibration and for evaluation."""
        plan = self.plan
        lower = set(plan.precisions) != {Precision.FP32} or plan.weights != "fp32"
        return choose_pictures(plan.calibration if lower else None, plan.calibration_pictures, plan.evaluation)

    @cached_property
    def reference(self) -> Step:
        """What the model itself answers in torch, on the pictures for evaluation."""
        return Step(
            self.runner,
            "reference",
            "reference",
            lambda folder: refer(self._model, self._evaluation_pixels, folder),
            inputs={"evaluation": _there(self.pictures.evaluation).sha256},
            code=(refer, PictureSet),
            needs=(self.model,),
        )

    @cached_property
    def companion(self) -> Step | None:
        """The graph that explains the model's answers, where the plan wants one."""
        plan = self.plan
        if not plan.explain:
            return None
        return Step(
            self.runner,
            "companion",
            "explain",
            lambda folder: explain(plan.model, self._model, plan.explain_discard, self.largest_explained, folder),
            inputs={"discard": plan.explain_discard, "largest": self.largest_explained},
            code=(load_timm_model, explain),
            needs=(self.model,),
        )

    @property
    def largest_explained(self) -> int:
        """Pictures in one batch of the companion."""
        return min(LARGEST, self.plan.max_batch_size)

    def attentions(self, precision: Precision) -> tuple[bool, ...]:
        """The candidates of a precision, by whether their attention is quantised; the first is preferred.

        Which of two is faster depends on the GPU and on what TensorRT fuses there, so there are two only where a GPU
        can race them.
        """
        eight_bits = precision in (Precision.INT8, Precision.FP8) and self.plan.compiler is not Compiler.NONE
        if not (eight_bits and engines_run_here(self.plan.compiler) and has_attention(self.exported.graph)):
            return (False,)
        return (False, True)

    def graph(self, precision: Precision, *, attention: bool = False) -> Step:
        """The graph of one precision."""
        if not precision.calibrated:
            return self.model
        compiled = self.plan.compiler is not Compiler.NONE
        recipe = Recipe(precision, compiled, self.plan.calibration_method, attention)
        return Step(
            self.runner,
            "graph",
            f"{_title(precision, attention)} graph",
            lambda folder: _ignored(convert(self.exported.graph, recipe, self._calibration_pixels, folder)),
            inputs={"recipe": recipe.key, "calibration": _there(self.pictures.calibration).sha256},
            code=(convert, PictureSet, check_calibration),
            needs=(self.model,),
        )

    def mixed(self, plain: Step, title: str) -> Step:
        """A quantised graph, with as many blocks in high precision as it takes to pass the gate's accuracy."""
        return Step(
            self.runner,
            "mixed",
            f"{title} blocks",
            lambda folder: mix(
                self.exported.graph,
                _graph(plain),
                self.plan.compiler,
                self._calibration_pixels,
                _there(self.pictures.calibration).targets(self.exported.facts.labels),
                folder,
            ),
            inputs={"gate": repr(GATE)},
            code=(mix, PictureSet),
            needs=(self.model, plain),
        )

    def packed(self, precision: Precision, graph: Step) -> Step:
        """A graph for ONNX Runtime whose file is as small as it may be; last, as mixing needs the weights wide."""
        kind = self.plan.weights
        make: Callable[..., Graph]
        if precision is Precision.FP32 and kind != "fp32":
            make = partial(store_weights, kind=kind)
        elif precision is Precision.INT8:
            make, kind = pack_weights, "int8"
        else:
            return graph
        return Step(
            self.runner,
            "packed",
            f"{precision.value} weights",
            lambda folder: _ignored(make(_graph(graph), folder=folder)),
            inputs={"weights": kind},
            code=(store_weights,),
            needs=(graph,),
        )

    def engine(self, graph: Step, title: str) -> Step:
        """The engine of a graph."""
        plan, library = self.plan, load_compiler(self.plan.compiler)
        profile = Profile.up_to(plan.max_batch_size, plan.opt_batch_size)
        compile_into = partial(
            compile_engine,
            library=library,
            profile=profile,
            workspace_bytes=plan.workspace_mib * 2**20,
            timing_cache=plan.cache / f"timing-{plan.compiler.value}-{library.version}.cache",
        )
        return Step(
            self.runner,
            "engine",
            f"{title} engine",
            lambda folder: _ignored(compile_into(_graph(graph), folder=folder)),
            inputs={
                "compiler": f"{library.words} {library.device()}",
                "profile": repr(profile),
                "workspace_mib": plan.workspace_mib,
            },
            code=(compile_engine,),
            needs=(graph,),
        )

    def variant(self, precision: Precision, baseline: Precision | None, *, attention: bool = False) -> Variant:
        """A variant, whose speed is measured in turn with that of `baseline`."""
        compiled, title = self.plan.compiler is not Compiler.NONE, _title(precision, attention)
        graph = self.graph(precision, attention=attention)
        if self.plan.keep_fp16 == "auto" and precision in (Precision.INT8, Precision.FP8):
            graph = self.mixed(graph, title)
        chosen = graph
        if not compiled:
            graph = self.packed(precision, graph)
        engine = self.engine(graph, title) if compiled else None
        higher = self.graph(baseline) if baseline else None
        rival = self.engine(higher, baseline.value) if baseline and higher and compiled else None
        machine = this_machine()
        bf16 = precision is Precision.BF16

        def make(folder: Path) -> None:
            files = Files(_graph(graph), engine.folder if engine else None, bf16)
            other = Files(_graph(higher), rival.folder if rival else None) if higher else None
            compared = precision is Precision.FP32 and graph is self.model  # Packed weights give other answers.
            parity = self.exported.facts.parity.provenance if compared else {}
            measure(files, self._task(baseline, other), parity, load_sensitivity(chosen.folder), folder)

        measuring = Step(
            self.runner,
            "measured",
            f"{title} verify",
            make,
            inputs={
                "race": self.plan.race_batches,
                "baseline": higher.digest if higher else "",
                "machine": f"{machine.cpu} {machine.cpus} {machine.gpu}",
                **({"openvino": installed_version("openvino") or ""} if bf16 else {}),
            },
            code=(measure, PictureSet, made_pictures),
            needs=[graph, *([self.reference] if self.pictures.evaluation else []), *([engine] if engine else [])],
        )
        return Variant(graph, engine, measuring, bf16=bf16)

    def answers_of(self, variant: Variant, images: Pixels) -> Probabilities:
        """What a variant answers here: float32 `[n, classes]` to uint8 `[n, height, width, 3]`."""
        return answers(open_session(variant.files, self.plan.compiler), images, self.plan.max_batch_size)

    @cached_property
    def targets(self) -> Targets:
        """What the pictures for evaluation show, as far as it is known."""
        matched = _there(self.pictures.evaluation).targets(self.exported.facts.labels)
        return matched.agreeing(load_reference(self.reference.folder))

    @cached_property
    def _model(self) -> TimmModel:
        return load_timm_model(self.plan)

    @cached_property
    def _calibration_pixels(self) -> Pixels:
        pictures = _there(self.pictures.calibration)
        pixels = pictures.pixels(self.exported.facts.preprocessing)
        check_calibration(pictures, pixels)
        return pixels

    @cached_property
    def _evaluation_pixels(self) -> Pixels:
        return _there(self.pictures.evaluation).pixels(self.exported.facts.preprocessing)

    def _task(self, against: Precision | None, baseline: Files | None) -> Task:
        plan = self.plan
        if self.pictures.evaluation:
            pixels, reference = self._evaluation_pixels, load_reference(self.reference.folder)
            targets = self.targets.indices
        else:
            pixels, reference = made_pictures(plan.max_batch_size, self.exported.facts.preprocessing), None
            targets = None
        return Task(
            pixels,
            reference,
            targets,
            plan.max_batch_size,
            plan.raced,
            plan.compiler,
            against=against,
            baseline=baseline,
        )


def _title(precision: Precision, attention: bool) -> str:
    """What starts the titles of a variant's steps."""
    return f"{precision.value} attention" if attention else precision.value


def _graph(step: Step) -> Graph:
    return describe(step.folder / MODEL_FILE)


def _there(pictures: PictureSet | None) -> PictureSet:
    """For the steps that only a plan with pictures has."""
    assert pictures is not None  # noqa: S101 (the plan demands them)
    return pictures


def _ignored(_: object) -> None:
    """For a step whose files are its result."""
