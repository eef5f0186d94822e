"""timm's pretrained weights from its model hub, or from the local cache where the hub cannot be reached."""

# ruff: noqa: PLC0415 (torch and timm take seconds to import; `build-engines --help` does not wait for them)

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from build_engines.errors import UnsupportedModelError, WeightsUnavailableError, first_line
from build_engines.model.creation import create_model

if TYPE_CHECKING:
    from torch import nn

_PATIENCE_S = 5.0


def pretrained(name: str, image_size: int | None = None) -> "nn.Module":
    """The model `name` of timm with its pretrained weights, resampled to `image_size` where that is given.

    Without a network the hub's client retries for 47 s; one request beforehand tells, and the client then only looks
    into its cache.

    Raises:
        WeightsUnavailableError: there is no way to them from here.
        UnsupportedModelError: the architecture cannot be made for this size.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = True
    try:
        return create_model(name, image_size, pretrained=True)
    except UnsupportedModelError:
        raise
    except Exception as error:
        # The hub's client, its HTTP library, torch.hub and the readers of the files each have errors of their own.
        raise WeightsUnavailableError(
            f"the pretrained weights of {name} cannot be downloaded here ({first_line(error)}). Give them as a "
            "file with --checkpoint FILE, or build with random ones with --no-pretrained"
        ) from error


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
