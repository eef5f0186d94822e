"""What the builder imports is declared: nothing is there only because something else brings it."""

import re
import sys
from importlib.metadata import packages_distributions, requires

from docs import rooms

OPTIONAL = {"tensorrt", "tomli"}
"""The datacentre's TensorRT, which a container has; tomli, which only Python 3.10 needs."""


def declared_for(extra: str) -> set[str]:
    """The packages that an extra names, and those of the extras of ours that it names."""
    declared = set()
    for requirement in requires("vitrine") or ():
        name, _, condition = requirement.partition(";")
        if "extra" not in condition or f"'{extra}'" in condition.replace('"', "'"):
            if ours := re.match(r"vitrine\[(.+)\]", name):
                declared |= declared_for(ours[1])
            declared.add(re.split(r"[\[<>=~! ]", name.strip())[0].lower().replace("_", "-"))
    return declared


def test_everything_that_is_imported_is_declared() -> None:
    declared = declared_for("build") | declared_for("openvino")
    roots = {root for tree in rooms.modules().values() for root in rooms.foreign_roots(tree)} - OPTIONAL
    bringing = packages_distributions()
    missing = {
        root
        for root in roots - set(sys.stdlib_module_names)
        if not declared & {name.lower().replace("_", "-") for name in bringing[root]}
    }
    assert missing == set()
