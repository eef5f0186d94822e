"""The bytes of a picture as the pixels that are served: the builder's one use of `contract.pixels`."""

import io

from PIL import Image

from build_engines.errors import PicturesUnreadableError
from build_engines.pictures.sources import UNREADABLE
from build_engines.values import Pixels
from contract.pixels import draft, to_pixels
from contract.spec import Preprocessing


def decode(content: bytes, name: str, preprocessing: Preprocessing) -> Pixels:
    """One picture, uint8 `[height, width, 3]`.

    Raises:
        PicturesUnreadableError: Pillow cannot read it; the message says `name`.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return to_pixels(picture, preprocessing, draft(picture, preprocessing))
    except (*UNREADABLE, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PicturesUnreadableError(
            f"{name} is no picture that Pillow can read ({type(error).__name__}); replace or remove it"
        ) from error
