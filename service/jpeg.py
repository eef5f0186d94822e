"""JPEGs by libjpeg-turbo straight into an array: the pixels that Pillow makes of the same file, in less time.

Pillow clears a picture's memory first, and copies each row into it from libjpeg's
(docs/decisions/0009-jpeg-by-simplejpeg.md).
"""

import simplejpeg
from PIL import Image, _imaging


def decoded(picture: Image.Image, content: bytes) -> Image.Image | None:
    """The whole picture of an opened JPEG in colour, with what Pillow knows of it beside its pixels.

    None where Pillow is to decode it: other formats and colours, a file of which libjpeg reads another size, and one
    that it has anything to say against, of which Pillow takes some.

    Args:
        picture: opened by Pillow, neither loaded nor asked for at reduced scale.
        content: its file.
    """
    if picture.format != "JPEG" or picture.mode != "RGB":
        return None
    try:
        # The memory that there is was asked for by the size that Pillow read.
        if simplejpeg.decode_jpeg_header(content)[1::-1] != picture.size:
            return None
        pixels = simplejpeg.decode_jpeg(content, "RGBX", strict=True)
    except ValueError:
        return None
    # `Image.frombuffer` does this for RGBX only, which has the same bytes under a name that fewer functions take.
    return picture._new(_imaging.map_buffer(pixels, picture.size, "raw", 0, ("RGB", 0, 1)))
