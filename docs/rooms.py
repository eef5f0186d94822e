"""The rooms of the builder and their imports, read from the sources: for the reference page, and for the layer test."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "build_engines"


def modules() -> dict[str, ast.Module]:
    """The builder's modules by their dotted names without the package's, a folder by its own name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            found[name] = ast.parse(path.read_text())
    return found


def room_of(module: str) -> str:
    """The folder that a module is in; the module itself where it is in none."""
    return module.partition(".")[0]


def imports_of(tree: ast.Module) -> set[str]:
    """The builder's modules that a module imports, by their names in `modules`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            found.add(str(node.module).removeprefix(f"{PACKAGE}."))
    return found


def foreign_roots(tree: ast.Module) -> set[str]:
    """The packages of others that a module imports, by their first names; by `importlib.import_module` too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                names.add(module)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module))]):
                names.add(module)
    return {name.partition(".")[0] for name in names} - {PACKAGE, "contract"}


def rooms() -> dict[str, set[str]]:
    """Every room, and the other rooms that it imports."""
    found: dict[str, set[str]] = {}
    for module, tree in modules().items():
        others = {room_of(target) for target in imports_of(tree)} - {room_of(module)}
        found.setdefault(room_of(module), set()).update(others)
    return found


def table() -> Iterator[tuple[str, str, str]]:
    """A row for each room: its name, what it is, and what it imports."""
    trees = modules()
    for room, others in sorted(rooms().items(), key=lambda row: (f"{row[0]}.py" in _files(), row[0])):
        sentence = (ast.get_docstring(trees[room]) or "").splitlines()[0]
        name = f"{room}.py" if f"{room}.py" in _files() else f"{room}/"
        yield f"`{name}`", sentence, ", ".join(f"`{other}`" for other in sorted(others)) or "-"


def _files() -> set[str]:
    return {path.name for path in (ROOT / PACKAGE).glob("*.py")}
