"""The timing cache on disk, with a builder configuration that keeps what it is told as TensorRT's does."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from build_engines.engine.timing_cache import keep_timings, read_timings


@dataclass
class Cache:
    """A timing cache."""

    content: bytes

    def serialize(self) -> bytes:
        return self.content + b" and more"


@dataclass
class Config:
    """Takes the cache of its own GPU and an empty one; others it cannot read, or refuses."""

    own: bytes = b"own"
    offered: list[bytes] = field(default_factory=list)
    attached: Cache | None = None

    def create_timing_cache(self, content: bytes) -> Cache | None:
        self.offered.append(content)
        return None if content == b"damaged" else Cache(content)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content not in (b"", self.own):
            return False
        self.attached = cache
        return True

    def get_timing_cache(self) -> Cache:
        assert self.attached is not None
        return self.attached


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        (None, [b""]),
        (b"", [b""]),
        (b"own", [b"own"]),
        (b"damaged", [b"damaged", b""]),
        (b"another's", [b"another's", b""]),
    ],
)
def test_a_cache_is_read_unless_it_is_damaged_or_of_another_gpu(
    tmp_path: Path, before: bytes | None, offered: list[bytes]
) -> None:
    path = tmp_path / "timings"
    if before is not None:
        path.write_bytes(before)
    config = Config()
    read_timings(config, path)
    assert config.offered == offered
    assert config.get_timing_cache().content == offered[-1]


def test_what_was_measured_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "timings" / "tensorrt.cache"
    for measured in (b" and more", b" and more and more"):
        config = Config(own=b" and more")
        read_timings(config, path)
        keep_timings(config, path)
        assert path.read_bytes() == measured
        assert os.listdir(path.parent) == ["tensorrt.cache"]


def test_a_cache_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    class Full(Config):
        def get_timing_cache(self) -> Cache:
            raise OSError(28, "No space left on device")

    path = tmp_path / "timings"
    path.write_bytes(b"own")
    with pytest.raises(OSError, match="No space left"):
        keep_timings(Full(), path)
    assert path.read_bytes() == b"own"
    assert os.listdir(tmp_path) == ["timings"]
