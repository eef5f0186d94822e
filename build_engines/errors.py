"""Why a build publishes nothing. Every leaf has a stable `code`, and its message names the fix.

BuildError
├── PlanError                        invalid_plan
├── SourceError
│   ├── RegistrationError            module_not_importable
│   ├── UnknownModelError            unknown_model
│   ├── UnsupportedModelError        unsupported_model
│   ├── WeightsUnavailableError      weights_unavailable
│   ├── CheckpointUnreadableError    checkpoint_unreadable
│   ├── CheckpointUnsafeError        checkpoint_unsafe
│   ├── CheckpointMismatchError      checkpoint_mismatch
│   ├── LabelsMissingError           labels_missing
│   └── ClassesMismatchError         classes_mismatch
├── ExportError                      export_failed
├── ParityError                      parity_failed
├── PicturesError
│   ├── PicturesUnreadableError      pictures_unreadable
│   ├── TooFewPicturesError          too_few_pictures
│   └── UselessPicturesError         useless_pictures
├── PrecisionError                   precision_failed
├── EngineError
│   ├── CompilerMissingError         compiler_missing
│   └── CompileError                 compile_failed
├── InvalidOutputError               invalid_output
└── RepositoryError
    ├── NotOursError                 entry_not_ours
    ├── UnknownEntryError            unknown_entry
    ├── TargetMismatchError          target_mismatch
    ├── LoadError                    load_failed
    └── UnwritableError              repository_unwritable
"""


class BuildError(Exception):
    """A build was refused or failed; the repository is as it was."""

    code: str


class PlanError(BuildError):
    """The choices of a build contradict each other or are out of range."""

    code = "invalid_plan"


class SourceError(BuildError):
    """The model, its weights or its labels cannot be had as asked."""


class RegistrationError(SourceError):
    """A module that should register architectures with timm cannot be imported."""

    code = "module_not_importable"


class UnknownModelError(SourceError):
    """timm knows no model of that name."""

    code = "unknown_model"


class UnsupportedModelError(SourceError):
    """timm knows the model, but it is not a classifier of RGB pictures."""

    code = "unsupported_model"


class WeightsUnavailableError(SourceError):
    """timm's pretrained weights cannot be downloaded and are not in the local cache."""

    code = "weights_unavailable"


class CheckpointUnreadableError(SourceError):
    """The checkpoint is missing, broken, or holds no state dict."""

    code = "checkpoint_unreadable"


class CheckpointUnsafeError(SourceError):
    """The checkpoint is a pickle that asks to run code."""

    code = "checkpoint_unsafe"


class CheckpointMismatchError(SourceError):
    """The checkpoint belongs to another architecture."""

    code = "checkpoint_mismatch"


class LabelsMissingError(SourceError):
    """There is no label for each class, or the file that should name them cannot be read."""

    code = "labels_missing"


class ClassesMismatchError(SourceError):
    """Two sources disagree about the number of classes."""

    code = "classes_mismatch"


class ExportError(BuildError):
    """The model could not be turned into a graph that keeps the contract."""

    code = "export_failed"


class ParityError(BuildError):
    """The graph does not answer what the model answers."""

    code = "parity_failed"


class PicturesError(BuildError):
    """The pictures for calibration or evaluation do not do."""


class PicturesUnreadableError(PicturesError):
    """There is no such folder or zip, it holds no pictures, or one of them is broken."""

    code = "pictures_unreadable"


class TooFewPicturesError(PicturesError):
    """There are fewer pictures than a calibration can be trusted with."""

    code = "too_few_pictures"


class UselessPicturesError(PicturesError):
    """The pictures are all alike, or show nothing."""

    code = "useless_pictures"


class PrecisionError(BuildError):
    """The graph could not be brought to a lower precision."""

    code = "precision_failed"


class EngineError(BuildError):
    """The graph could not be compiled."""


class CompilerMissingError(EngineError):
    """The compiler's library is not installed, or cannot be used on this machine."""

    code = "compiler_missing"


class CompileError(EngineError):
    """The compiler refused the graph."""

    code = "compile_failed"


class InvalidOutputError(BuildError):
    """A variant answers NaN, infinity, or what is no probability."""

    code = "invalid_output"


class RepositoryError(BuildError):
    """The entry cannot be published."""


class NotOursError(RepositoryError):
    """Something that Vitrine did not build has the entry's name."""

    code = "entry_not_ours"


class UnknownEntryError(RepositoryError):
    """There is no entry of that name, or no such version of it."""

    code = "unknown_entry"


class TargetMismatchError(RepositoryError):
    """The repository holds engines for another TensorRT or another GPU."""

    code = "target_mismatch"


class LoadError(RepositoryError):
    """A running Triton did not load the new version, or it answered otherwise than it was built to."""

    code = "load_failed"


class UnwritableError(RepositoryError):
    """The disk is full, or the repository may not be written."""

    code = "repository_unwritable"


def first_line(error: Exception) -> str:
    """The kind of a foreign error and the first line that it says."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(";")


def last_line(error: BaseException) -> str:
    """The kind of a foreign error and the last line that it says, where the lines before only say where it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"
