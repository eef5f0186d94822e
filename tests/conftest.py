"""Run what this environment can run: `make test` runs the builder's environment and the server's, so that together
they leave nothing out.
"""

from importlib.util import find_spec
from pathlib import Path

NEEDS = {
    "torch": ["gpu", "unit/build_engines", "unit/training", "unit/contract/test_pixels_timm.py"],
    "transformers": [
        f"unit/build_engines/model/test_{name}.py" for name in ("processor", "origins", "fitting", "model_folder")
    ],
    "fastapi": [
        *("unit/service", "unit/vitrine", "unit/test_dashboards.py", "unit/test_deploy.py", "unit/test_docs.py"),
        "unit/test_faithfulness.py",
    ],
    "pytriton": ["unit/embedded", "integration", "browser", "unit/benchmarks"],
}
"""What each package that not every environment has is needed for."""

MISSING = {package: paths for package, paths in NEEDS.items() if find_spec(package) is None}


def pytest_report_header() -> list[str]:
    """Say what is left out, and why."""
    return [f"without {package}: leaving out {', '.join(paths)}" for package, paths in MISSING.items()]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave those out."""
    relative = collection_path.relative_to(Path(__file__).parent).as_posix()
    return True if any(relative in paths for paths in MISSING.values()) else None
