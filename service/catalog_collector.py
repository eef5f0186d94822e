"""What the catalog knows, for Prometheus.

The catalog is asked at every scrape, so that what is gone leaves no series behind.
"""

from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.catalog import Catalog
from service.errors import VitrineError
from service.states import Loading, Refused, Served, State

_STATED = {
    "precision": ("precision",),
    "compiler": ("compiler",),
    "top1": ("measured.top1", "accuracy.top1"),
    "agreement": ("measured.agreement",),
    "gate": ("gate",),
    "built": ("date",),
}
"""Each label, and the provenance that it shows: the first that the entry has, in the entry's own words."""


_STATES: dict[str, type[State]] = {"served": Served, "loading": Loading, "refused": Refused}


class CatalogCollector(Collector):
    """Whether requests can be answered, and by which models. Every worker process of a gateway says the same."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @staticmethod
    def describe() -> tuple[GaugeMetricFamily, ...]:
        """The metrics, without values."""
        return (
            GaugeMetricFamily("vitrine_ready", "1 while Triton and the default model (or any) are ready.", labels=()),
            GaugeMetricFamily("vitrine_entries", "Entries of Triton's repository, by state.", labels=("state",)),
            GaugeMetricFamily(
                "vitrine_entry_state",
                "1 for the state that an entry is in, 0 for the others: `served`, `loading`, `refused`. "
                "`refused` is 1 as well where a newer version than the one served is refused.",
                labels=("model", "state"),
            ),
            GaugeMetricFamily(
                "vitrine_model_info",
                "Always 1; the labels say what is served, top-1 and agreement with FP32 in percent.",
                labels=("model", "version", *_STATED),
            ),
            GaugeMetricFamily(
                "vitrine_model_tritons",
                "Tritons that have the version of a model that answers.",
                labels=("model", "version"),
            ),
            GaugeMetricFamily(
                "vitrine_model_tritons_apart",
                "Tritons that have another version of a model than the one that answers, and get no requests for it.",
                labels=("model",),
            ),
        )

    def collect(self) -> tuple[GaugeMetricFamily, ...]:
        """The metrics as of now; no entry while Triton is away."""
        ready, entries, entry_state, models, tritons, apart = self.describe()
        try:
            self._catalog.check_ready()
            ready.add_metric((), 1)
        except VitrineError:
            ready.add_metric((), 0)
        with suppress(VitrineError):
            states = self._catalog.states()
            for word, kind in _STATES.items():
                entries.add_metric((word,), sum(isinstance(state, kind) for state in states))
                for state in states:
                    entry_state.add_metric((state.name, word), isinstance(state, kind) or _newer(state, kind))
            for served in self._catalog.models():
                build = served.entry.build
                stated = [next((build[key] for key in keys if key in build), "") for keys in _STATED.values()]
                models.add_metric((served.name, served.version, *stated), 1)
                tritons.add_metric((served.name, served.version), max(1, len(served.at)))
                apart.add_metric((served.name,), served.apart)
        return ready, entries, entry_state, models, tritons, apart


def _newer(state: State, kind: type[State]) -> bool:
    """Whether a newer version than the one served is refused, if that is the question."""
    return kind is Refused and isinstance(state, Served) and state.refused is not None
