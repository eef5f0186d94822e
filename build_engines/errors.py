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
└── RepositoryError
    ├── NotOursError                 entry_not_ours
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


class RepositoryError(BuildError):
    """The entry cannot be published."""


class NotOursError(RepositoryError):
    """Something that Vitrine did not build has the entry's name."""

    code = "entry_not_ours"


class UnwritableError(RepositoryError):
    """The disk is full, or the repository may not be written."""

    code = "repository_unwritable"
