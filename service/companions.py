"""Which entry explains the answers of which: found by what companions say of themselves, never by their names."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import ExplanationUnavailable
from service.states import Served

HOW = "build one with: build-engines build ... --explain"


@dataclass(frozen=True)
class Explanations:
    """How the answers of a served model can be explained beside by occlusion, which any model's can be."""

    companion: Served | None
    """What gives the attention rollout."""
    reason: str | None
    """Why there is none, and how to make one."""

    def required(self) -> Served:
        """The companion.

        Raises:
            ExplanationUnavailable: there is none.
        """
        if self.companion is None:
            raise ExplanationUnavailable(f"{self.reason}; method=occlusion explains any model")
        return self.companion


def explanations_of(model: Served, served: Iterable[Served]) -> Explanations:
    """What of all that is `served` explains `model`: a companion that names it, of the same weights and input.

    A companion may be a version behind while one of the two is built or rolled back. It would then explain what another
    model answers, so there is none until both are of the same weights again.
    """
    naming = [each for each in served if each.entry.explains and model.name in each.entry.explains.entries]
    for each in sorted(naming, key=lambda each: each.name):
        entry, rollout = each.entry, each.entry.explains
        same = (entry.preprocessing, entry.labels) == (model.entry.preprocessing, model.entry.labels)
        if rollout is not None and same and rollout.weights_sha256 == model.entry.weights_sha256:
            return Explanations(each, None)
    if naming:
        other = naming[0]
        return Explanations(
            None,
            f"its companion {other.name} version {other.version} explains other weights than those of {model.name} "
            f"version {model.version}; {HOW}, or roll both back",
        )
    return Explanations(
        None, f"model {model.name!r} has no companion for attention rollout, which ViT and DeiT models can have; {HOW}"
    )
