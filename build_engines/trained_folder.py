"""A folder that a training ended in, as the choices of a build: all that the folder says and the user does not.

`vitrine-train fit` writes it (training/run_folder.py): a folder of timm's kind, and training.json with the modules to
import, the notes for the provenance, and lists of the pictures to calibrate and to judge by. A folder without
training.json is a checkpoint that says what it is, as `--checkpoint FOLDER` takes it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build_engines.errors import PlanError

_CONFIG = "config.json"
_FACTS = "training.json"


def completed(given: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """`given`, fields of `Plan`, with what the folder `model` says; as they are where it is no folder of a model.

    The lists of pictures are used where the pictures are still where the training found them.

    Raises:
        PlanError: the folder is given beside a checkpoint, or its training.json cannot be read.
    """
    if not given.get("model") or not (model / _CONFIG).is_file():
        return dict(given)
    if "checkpoint" in given:
        raise PlanError(f"{model} is a folder with weights of its own; leave --checkpoint out")
    found = {**given, "model": "", "checkpoint": model}
    facts = _facts(model / _FACTS)
    try:
        found["register"] = tuple(dict.fromkeys((*map(str, facts.get("register", ())), *given.get("register", ()))))
        found["notes"] = {**facts.get("notes", {}), **given.get("notes", {})}
        if (model / facts.get("pictures", {}).get("path", "")).exists():
            for name in ("calibration", "evaluation"):
                if facts.get(name) and _wanted(name, given):
                    found.setdefault(name, model / facts[name])
    except (AttributeError, TypeError) as error:
        raise PlanError(f"{model / _FACTS} is not what vitrine-train writes ({error}); train again") from None
    return found


def _wanted(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a build reads these pictures: it calibrates only for lower precisions."""
    return name == "evaluation" or any(each != "fp32" for each in given.get("precisions", ()))


def _facts(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read ({error}); train again, or give --checkpoint {path.parent}") from None
    if not isinstance(facts, dict):
        raise PlanError(f"{path} holds no object; train again, or give --checkpoint {path.parent}")
    return facts
