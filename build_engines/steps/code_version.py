"""The version of our own code: a hash of the sources that a step is made of. Reads sources; runs none."""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("build_engines", "contract")


def code_of(*parts: Callable[..., object]) -> str:
    """A hash of the modules that define `parts`, and of all of ours that those import, directly or not."""
    reached: set[str] = set()
    waiting = {part.__module__ for part in parts}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= _imports(module) - reached
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module} {source_of(module)}\n".encode())
    return digest.hexdigest()


def source_of(module: str) -> str:
    """A hash of `module` alone."""
    return hashlib.sha256(_path(module).read_bytes()).hexdigest()


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """The modules of ours that `module` imports anywhere, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_path(module).read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            found.update(_defining(node.module, alias.name) for alias in node.names)
    return frozenset(found)


def _defining(module: str, name: str) -> str:
    """The module that `from module import name` reaches: through a folder's door, the one behind it."""
    path = _path(module)
    if path.name != "__init__.py":
        return module
    for node in _imports_from(path):
        if any(alias.name == name for alias in node.names):
            return str(node.module)
    return f"{module}.{name}"


def _imports_from(path: Path) -> Iterator[ast.ImportFrom]:
    return (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES


def _path(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None  # noqa: S101 (it was imported)
    assert spec.origin is not None  # noqa: S101 (all of ours are files)
    return Path(spec.origin)
