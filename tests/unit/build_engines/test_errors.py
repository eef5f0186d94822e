"""The tree of errors: what is drawn is what there is."""

import re

from build_engines import errors
from build_engines.errors import BuildError


def leaves(error: type[BuildError]) -> list[type[BuildError]]:
    below = [leaf for child in error.__subclasses__() for leaf in leaves(child)]
    return below or [error]


def test_every_leaf_has_a_code_of_its_own_and_is_drawn() -> None:
    drawn = re.findall(r"── (\w+)\s+(\w+)$", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(drawn) == sorted((leaf.__name__, leaf.code) for leaf in leaves(BuildError))
    assert len({code for _, code in drawn}) == len(drawn)
