"""Why a build publishes nothing. Every leaf has a stable `code`, and its message names the fix.

BuildError
├── PlanError                        invalid_plan
├── SourceError
│   ├── RegistrationError            module_not_importable
│   ├── UnknownModelError            unknown_model
│   ├── UnsupportedModelError        unsupported_model
│   ├── RolloutUndefinedError        rollout_undefined
│   ├── WeightsUnavailableError      weights_unavailable
│   ├── CheckpointUnreadableError    checkpoint_unreadable
│   ├── CheckpointUnsafeError        checkpoint_unsafe
│   ├── CheckpointMismatchError      checkpoint_mismatch
│   ├── CheckpointKeyError           checkpoint_key
│   ├── ProcessorMissingError        processor_missing
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

    def __init_subclass__(cls, code: str = "") -> None:
        cls.code = code


class PlanError(BuildError, code="invalid_plan"):
    """The choices of a build contradict each other or are out of range."""


class SourceError(BuildError):
    """The model, its weights or its labels are not available as the plan asks for them."""


class RegistrationError(SourceError, code="module_not_importable"):
    """A module that should register architectures with timm cannot be imported."""


class UnknownModelError(SourceError, code="unknown_model"):
    """timm knows no model of that name."""


class UnsupportedModelError(SourceError, code="unsupported_model"):
    """timm knows the model, but it is not a classifier of RGB pictures."""


class RolloutUndefinedError(SourceError, code="rollout_undefined"):
    """An explanation is asked for, and attention rollout has no meaning for the model's architecture."""


class WeightsUnavailableError(SourceError, code="weights_unavailable"):
    """timm's pretrained weights cannot be downloaded and are not in the local cache."""


class CheckpointUnreadableError(SourceError, code="checkpoint_unreadable"):
    """The checkpoint is missing, broken, or holds no state dict."""


class CheckpointUnsafeError(SourceError, code="checkpoint_unsafe"):
    """The checkpoint is a pickle that asks to run code."""


class CheckpointMismatchError(SourceError, code="checkpoint_mismatch"):
    """The checkpoint belongs to another architecture."""


class CheckpointKeyError(SourceError, code="checkpoint_key"):
    """The checkpoint holds several networks that fit, or none under the key that was named."""


class ProcessorMissingError(SourceError, code="processor_missing"):
    """A folder of weights does not say how its model takes pictures."""


class LabelsMissingError(SourceError, code="labels_missing"):
    """There is no label for each class, or the file that should name them cannot be read."""


class ClassesMismatchError(SourceError, code="classes_mismatch"):
    """Two sources disagree about the number of classes."""


class ExportError(BuildError, code="export_failed"):
    """The model could not be turned into a graph that keeps the contract."""


class ParityError(BuildError, code="parity_failed"):
    """The graph does not answer what the model answers."""


class PicturesError(BuildError):
    """The pictures cannot be used for calibration or evaluation."""


class PicturesUnreadableError(PicturesError, code="pictures_unreadable"):
    """There is no such folder or zip, it holds no pictures, or one of them is broken."""


class TooFewPicturesError(PicturesError, code="too_few_pictures"):
    """There are fewer pictures than a calibration can be trusted with."""


class UselessPicturesError(PicturesError, code="useless_pictures"):
    """The pictures are all alike, or show nothing."""


class PrecisionError(BuildError, code="precision_failed"):
    """The graph could not be brought to a lower precision."""


class EngineError(BuildError):
    """The graph could not be compiled."""


class CompilerMissingError(EngineError, code="compiler_missing"):
    """The compiler's library is not installed, or cannot be used on this machine."""


class CompileError(EngineError, code="compile_failed"):
    """The compiler refused the graph."""


class InvalidOutputError(BuildError, code="invalid_output"):
    """A variant answers NaN, infinity, or what is no probability."""


class RepositoryError(BuildError):
    """The entry cannot be published."""


class NotOursError(RepositoryError, code="entry_not_ours"):
    """Something that Vitrine did not build has the entry's name."""


class UnknownEntryError(RepositoryError, code="unknown_entry"):
    """There is no entry of that name, or no such version of it."""


class TargetMismatchError(RepositoryError, code="target_mismatch"):
    """The repository holds engines for another TensorRT or another GPU."""


class LoadError(RepositoryError, code="load_failed"):
    """A running Triton did not load the new version, or its answers are not those that the build measured."""


class UnwritableError(RepositoryError, code="repository_unwritable"):
    """The disk is full, or the repository may not be written."""


def first_line(error: Exception) -> str:
    """The kind of a foreign error and the first line that it says."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(";")


def last_line(error: BaseException) -> str:
    """The kind of a foreign error and the last line that it says, where the lines before only say where it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"
