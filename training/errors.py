"""Why a training is refused. Every leaf has a stable `code`, and its message names the fix."""


class TrainingError(Exception):
    """Nothing was trained, or what was trained so far is kept for the same command to go on with."""

    code: str

    def __init_subclass__(cls, code: str = "") -> None:
        cls.code = code


class RecipeError(TrainingError, code="invalid_recipe"):
    """The choices contradict each other, are out of range, or do not suit the model."""


class DataError(TrainingError, code="unusable_pictures"):
    """The pictures or their labels cannot be trained on."""


class ResumeError(TrainingError, code="another_run"):
    """The folder holds a run of another recipe, other pictures or another teacher."""
