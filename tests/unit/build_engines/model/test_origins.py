"""Each checkpoint of the table in docs/builds.md answers as its origin's own code does."""

from pathlib import Path

import numpy as np
import pytest

from build_engines.model import load_timm_model, torch_answers
from tests.unit.build_engines.origins import LABELS, ORIGINS, pictures


@pytest.mark.parametrize("name", ORIGINS)
def test_it_answers_as_its_origin_does(name: str, tmp_path: Path) -> None:
    made = ORIGINS[name](tmp_path)
    loaded = load_timm_model(made.plan(tmp_path))
    images = pictures(loaded.classifier.preprocessing.height)
    theirs = made.answers(images)
    assert theirs.std() > 0.01
    assert np.abs(theirs[0] - theirs[1]).max() > 2e-4
    assert np.abs(torch_answers(loaded.classifier, images) - theirs).max() <= 1e-5
    assert loaded.labels == LABELS
    assert np.allclose((loaded.classifier.mean, loaded.classifier.std), made.levels)
    assert loaded.provenance["weights"].startswith(made.checkpoint.name)
    assert loaded.provenance["layout"]
