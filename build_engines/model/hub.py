"""timm's pretrained weights from its model hub, or from the local cache where the hub cannot be reached."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from build_engines.errors import WeightsUnavailableError, first_line

if TYPE_CHECKING:
    from torch import nn

_PATIENCE_S = 5.0


def pretrained(name: str) -> "nn.Module":
    """The model `name` of timm with its pretrained weights.

    Without a network the hub's client retries for 47 s; one request beforehand tells, and the client then only looks
    into its cache.

    Raises:
        WeightsUnavailableError: there is no way to them from here.
    """
    import timm
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:
        # The hub's client, its HTTP library, torch.hub and the readers of the files each have errors of their own.
        raise WeightsUnavailableError(
            f"the pretrained weights of {name} cannot be downloaded here ({first_line(error)}). Give them as a "
            "file with --checkpoint FILE, or build with random ones with --no-pretrained"
        ) from error
    return model


def _answers(url: str) -> bool:
    """Whether any HTTP server is behind `url`."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PATIENCE_S):  # noqa: S310 (scheme checked)
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
