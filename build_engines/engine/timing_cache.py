"""TensorRT's measurements of kernels, kept in a file between builds."""

import os
import tempfile
from pathlib import Path
from typing import Any


def read_timings(config: Any, path: Path) -> None:
    """Start the builder configuration `config` from what `path` holds, or from nothing where that is of another GPU."""
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep_timings(config: Any, path: Path) -> None:
    """Write what `config` measured to `path`, whole or not at all: builders may share it, and the last one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(config.get_timing_cache().serialize())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
