"""The error tree, its drawing, and its table of statuses."""

from service import errors
from service.api.errors import STATUS
from service.errors import RequestError, VitrineError


def leaves(kind: type[VitrineError] = VitrineError) -> list[type[VitrineError]]:
    below = kind.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [kind]


def test_every_leaf_has_a_code_of_its_own_and_a_status() -> None:
    codes = [leaf.code for leaf in leaves()]
    assert len(set(codes)) == len(codes)
    assert set(leaves()) == set(STATUS)


def test_the_caller_gets_4xx_for_its_own_errors_and_5xx_for_ours() -> None:
    for leaf, status in STATUS.items():
        assert status // 100 == (4 if issubclass(leaf, RequestError) else 5), leaf


def test_the_drawing_shows_every_leaf_with_its_code() -> None:
    drawing = errors.__doc__ or ""
    for leaf in leaves():
        assert f"{leaf.__name__} " in drawing
        assert leaf.code in drawing
