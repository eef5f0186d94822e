"""What Triton has, by name: asked from Triton, refreshed, never configured."""

import asyncio
import logging
import time
from collections.abc import Callable

from service.companions import Explanations, explanations_of
from service.errors import ModelNotNamed, ModelNotReady, ModelRefused, TritonUnavailable, UnknownModel, VitrineError
from service.states import Loading, Refused, Served, State
from service.survey import Survey
from service.triton import InferenceBackend

_log = logging.getLogger(__name__)

_STALE_PERIODS = 5
_STALE_SECONDS = 5.0
_MENDED_SECONDS = 30
"""When to ask again for an entry that somebody has to mend."""


class Catalog:
    """Name to state, as of the last look at Triton.

    Triton is looked at every `refresh_seconds`. `count_fault` is called for each error that nobody foresaw; `clock`
    gives seconds.
    """

    def __init__(
        self,
        backend: InferenceBackend,
        default_model: str | None,
        refresh_seconds: float = 1.0,
        count_fault: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._survey = Survey(backend, count_fault)
        self._default = default_model
        self._period = refresh_seconds
        self._count_fault = count_fault
        self._clock = clock
        self._states: dict[str, State] = {}
        self._reachable = False
        self._seen_at = float("-inf")
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def states(self) -> list[State]:
        """Every entry, companions too, by name.

        Raises:
            TritonUnavailable: Triton did not answer the last look.
        """
        self._require_triton()
        return [self._states[name] for name in sorted(self._states)]

    def models(self) -> list[Served]:
        """Every classifier that is served, by name.

        Raises:
            TritonUnavailable: Triton did not answer the last look.
        """
        return [state for state in self._served() if not state.is_companion]

    def explanations(self, model: Served) -> Explanations:
        """How the answers of `model` can be explained.

        Raises:
            TritonUnavailable: Triton did not answer the last look.
        """
        return explanations_of(model, self._served())

    def resolve(self, name: str | None) -> Served:
        """The model of that name, or the default one.

        Raises:
            TritonUnavailable: Triton did not answer the last look.
            ModelNotNamed: no name, no default, and several models.
            ModelNotReady: Triton knows the model, but no version of it is ready.
            ModelRefused: the model cannot be served until somebody mends it.
            UnknownModel: Triton does not know it, or it is not an entry of ours.
        """
        self._require_triton()
        if name is None:
            name = self._default or self._only()
        state = self._states.get(name)
        if isinstance(state, Served):
            if (rollout := state.entry.explains) is not None:
                raise UnknownModel(f"{name!r} is no classifier; it explains {', '.join(rollout.entries)}: ask for that")
            return state
        if isinstance(state, Refused):
            raise ModelRefused(f"model {name!r} is refused: {state.reason}", _MENDED_SECONDS)
        if isinstance(state, Loading):
            raise ModelNotReady(f"model {name!r} is not ready: {state.reason}")
        raise UnknownModel(f"model {name[:128]!r} is not served; served are: {self._names() or 'none'}")

    @property
    def default(self) -> str | None:
        """The name of the model that answers where none is named, if there is one."""
        served = [state.name for state in self.models()]
        return self._default or (served[0] if len(served) == 1 else None)

    def check_ready(self) -> None:
        """Return when requests can be answered: Triton is there and the default model (or any) is ready.

        Triton is there if it answered the last look, and that was not long ago.

        Raises:
            VitrineError: they cannot; the message says why.
        """
        self._require_triton()
        age = self._clock() - self._seen_at
        if age > max(_STALE_SECONDS, _STALE_PERIODS * self._period):
            raise TritonUnavailable(f"the inference server was last looked at {age:.0f} s ago; the log may say why")
        if self._default is not None:
            self.resolve(self._default)
        elif not self.models():
            raise self._none()

    async def refresh(self) -> None:
        """Wait for a look at Triton that begins from now on; all who wait share it, and there is one at a time.

        Raises nothing: while Triton is away, `resolve` does.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._take_turn(self._current))
        # Unlike awaiting the task, this neither cancels it with the caller nor raises what it may end with.
        await asyncio.wait([self._next])

    async def watch(self) -> None:
        """Refresh for ever."""
        try:
            while True:
                await self.refresh()
                await asyncio.sleep(self._period)
        finally:
            for task in (self._current, self._next):
                if task is not None:
                    task.cancel()

    async def _take_turn(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        try:
            self._know(await self._survey.look())
        except VitrineError as error:
            if self._reachable:
                _log.warning("Triton does not answer: %s (%s)", error, error.__cause__)
            self._reachable = False
        except Exception:  # noqa: BLE001  the watch must not end by it
            # What is known still holds; readiness ends where no look succeeds for long.
            _log.exception("looking at Triton failed")
            self._count_fault()

    def _know(self, states: dict[str, State]) -> None:
        for name, state in states.items():
            if not _alike(state, self._states.get(name)):
                _tell(state)
            if isinstance(state, Served) and state.refused and state.refused != _refused(self._states.get(name)):
                _tell(state.refused)
        self._states = states
        self._seen_at = self._clock()
        self._reachable = True

    def _served(self) -> list[Served]:
        return [state for state in self.states() if isinstance(state, Served)]

    def _only(self) -> str:
        models = self.models()
        if not models:
            raise self._none()
        if len(models) > 1:
            raise ModelNotNamed(
                f"several models are served ({self._names()}); post to /v1/models/<name>/classify or set "
                "VITRINE_DEFAULT_MODEL"
            )
        return models[0].name

    def _names(self) -> str:
        return ", ".join(served.name for served in self.models())

    def _none(self) -> ModelNotReady:
        waiting = ", ".join(sorted(self._states))
        why = f"GET /v1/models says why these are not: {waiting}" if waiting else "publish one with build-engines"
        return ModelNotReady(f"no model is ready; {why}")

    def _require_triton(self) -> None:
        if not self._reachable:
            raise TritonUnavailable("the inference server is not reachable; try again shortly")


def _alike(state: State, known: State | None) -> bool:
    """Whether there is nothing to tell: Tritons come and go without a word for each entry."""
    if isinstance(state, Served) and isinstance(known, Served):
        return (state.entry, state.version) == (known.entry, known.version)
    return state == known


def _refused(state: State | None) -> Refused | None:
    return state.refused if isinstance(state, Served) else None


def _tell(state: State) -> None:
    if isinstance(state, Served):
        _log.info("serving %s version %s", state.name, state.version)
    elif isinstance(state, Refused):
        _log.error("refusing %s version %s: %s", state.name, state.version, state.reason)
    else:
        _log.info("waiting for %s: %s", state.name, state.reason)
