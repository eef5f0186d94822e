"""The documentation tells of the code as it is."""

import re
from pathlib import Path

import pytest

from docs.generate import pages
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text() == pages()[path], "run `make docs`"


def test_every_setting_has_a_row() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    for name in Settings.model_fields:
        assert f"| `VITRINE_{name.upper()}` |" in reference


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())) <= targets
