"""What all unit tests share."""

from collections.abc import Iterator

import pytest

from build_engines.machine import VISIBLE


@pytest.fixture(scope="package", autouse=True)
def no_gpu() -> Iterator[None]:
    """Hide the GPU of a machine that has one: what these tests expect is the CPU's. tests/gpu are for a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VISIBLE, "")
        yield
