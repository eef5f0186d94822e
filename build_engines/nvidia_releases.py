"""The releases of NVIDIA's that engines are made for: the one place that pins them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """A release of NVIDIA's Triton container, and what is in it."""

    tag: str
    triton: str
    tensorrt: str
    """An engine loads only in the very TensorRT that built it."""

    @property
    def image(self) -> str:
        """Its name without the registry's host."""
        return f"tritonserver:{self.tag}"


CONTAINERS = {
    "26.08": Container("26.08-py3", triton="2.72.0", tensorrt="11.2.1.2"),
    "26.05": Container("26.05-py3", triton="2.69.0", tensorrt="10.16.1.11"),
}
"""The newest first, which is what the documentation and the messages recommend."""
TARGET = CONTAINERS["26.08"]


def container_with(tensorrt: str) -> Container | None:
    """The container whose Triton loads engines of this TensorRT version."""
    return next((container for container in CONTAINERS.values() if container.tensorrt == tensorrt), None)
