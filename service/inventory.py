"""What is served, for Prometheus.

The catalog is asked at every scrape, so that what is gone leaves no series behind.
"""

from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.catalog import Catalog
from service.errors import VitrineError

_STATED = {
    "precision": ("precision",),
    "compiler": ("compiler",),
    "top1": ("measured.top1", "accuracy.top1"),
    "agreement": ("measured.agreement",),
    "gate": ("gate",),
    "built": ("date",),
}
"""Each label, and the provenance that it shows: the first that the entry has, in the entry's own words."""


class Inventory(Collector):
    """Whether requests can be answered, and by which models. Every worker process of a gateway says the same."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @staticmethod
    def describe() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        """The metrics, without values."""
        return (
            GaugeMetricFamily("vitrine_ready", "1 while Triton and the default model (or any) are ready.", labels=()),
            GaugeMetricFamily(
                "vitrine_model_info",
                "Always 1; the labels say what is served, top-1 and agreement with FP32 in percent.",
                labels=("model", "version", *_STATED),
            ),
        )

    def collect(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        """The metrics as of now; no model while Triton is away."""
        ready, models = self.describe()
        try:
            self._catalog.check_ready()
            ready.add_metric((), 1)
        except VitrineError:
            ready.add_metric((), 0)
        with suppress(VitrineError):
            for served in self._catalog.models():
                build = served.entry.build
                stated = [next((build[key] for key in keys if key in build), "") for keys in _STATED.values()]
                models.add_metric((served.entry.name, served.version, *stated), 1)
        return ready, models
