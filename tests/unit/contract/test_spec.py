"""An entry refuses values that could not be served."""

from typing import Any

import pytest

from contract.spec import ContractError, CropMode, Entry, Preprocessing

GOOD = Preprocessing(224, 224)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("height", {"height": 0, "width": 224}),
        ("width", {"height": 224, "width": 5000}),
        ("crop_pct", {"height": 224, "width": 224, "crop_pct": float("nan")}),
        ("crop_pct", {"height": 224, "width": 224, "crop_pct": 0.0}),
        ("fill", {"height": 224, "width": 224, "crop_mode": CropMode.BORDER, "fill": (0, 0, 256)}),
        ("fill", {"height": 224, "width": 224, "fill": (1, 1, 1)}),
    ],
)
def test_preprocessing_out_of_range_is_refused_by_key(key: str, values: dict[str, Any]) -> None:
    with pytest.raises(ContractError) as caught:
        Preprocessing(**values)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("name", {"name": "../escape"}),
        ("name", {"name": ""}),
        ("labels", {"labels": ()}),
        ("labels", {"labels": ("cat", " ")}),
        ("labels", {"labels": ("cat", "two\nlines")}),
        ("max_batch_size", {"max_batch_size": 0}),
    ],
)
def test_an_entry_out_of_range_is_refused_by_key(key: str, values: dict[str, Any]) -> None:
    good: dict[str, Any] = {"name": "m", "preprocessing": GOOD, "labels": ("cat", "dog"), "max_batch_size": 8}
    assert Entry(**good).classes == 2
    with pytest.raises(ContractError) as caught:
        Entry(**{**good, **values})
    assert caught.value.key == key
