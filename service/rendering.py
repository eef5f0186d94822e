"""An explanation as a picture: its map in colours over the picture as it is shown. Knows no model and no HTTP."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from contract.spec import CropMode, Preprocessing

LONGEST = 1024
"""Pixels along the longer edge of what is drawn, at most: the answer stays small, whatever the picture is."""
SHORTEST = 256
"""Pixels along the longer edge, at least: on fewer the map cannot be seen."""
RENDERING_BYTES = 24
"""Of memory at most for a pixel of what is drawn: the picture, the map, its colours, both together, and the file."""

_CIVIDIS = (
    *((0, 34, 78), (0, 46, 106), (26, 56, 111), (50, 67, 109), (67, 78, 108), (83, 90, 109), (97, 101, 111)),
    *((111, 112, 115), (125, 124, 120), (140, 136, 120), (155, 148, 118), (171, 160, 114), (188, 174, 108)),
    *((205, 187, 99), (222, 201, 88), (240, 216, 70), (254, 232, 56)),
)
"""The colour map cividis at 17 points from the least to the most: nearly the same to people with and without colour
blindness, and lighter all the way (Nuñez, Anderton & Renslow, 2018)."""

Values = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Map:
    """How much each part of the model's input counts, and where it lies on the picture."""

    values: Values
    """`[rows, columns]`, in the method's own unit."""
    size: tuple[int, int]
    """Width and height of the whole picture, upright."""
    box: Box
    """Left, top, right and bottom edge of the grid, in the picture's pixels."""

    @property
    def scaled(self) -> Values:
        """The values from 0 (the least) to 1 (the most); all 0 where they do not differ."""
        least, most = float(self.values.min()), float(self.values.max())
        values: Values = (self.values - least) / (most - least) if most > least else np.zeros_like(self.values)
        return values


def shown(size: tuple[int, int]) -> Preprocessing:
    """How a picture of this size becomes what the map is drawn over: whole, and of a bounded size."""
    longer = max(size)
    scale = min(max(longer, SHORTEST), LONGEST) / longer
    width, height = (max(1, round(scale * edge)) for edge in size)
    return Preprocessing(height, width, crop_pct=1.0, crop_mode=CropMode.SQUASH)


def rendered(found: Map, picture: npt.NDArray[np.uint8], opacity: float, text: str) -> bytes:
    """The map over `picture` (uint8 `[height, width, 3]`, see `shown`) as a PNG file that says `text`."""
    image = Image.fromarray(picture)
    across, down = image.width / found.size[0], image.height / found.size[1]
    left, top, right, bottom = found.box
    box = (left * across, top * down, right * across, bottom * down)
    inside = (
        max(0, round(box[0])),
        max(0, round(box[1])),
        min(image.width, round(box[2])),
        min(image.height, round(box[3])),
    )
    if inside[0] < inside[2] and inside[1] < inside[3]:
        colours = _coloured(found.scaled, box, inside)
        image.paste(Image.blend(image.crop(inside), colours, opacity), inside[:2])
    said = PngImagePlugin.PngInfo()
    said.add_itxt("Description", text)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=said, compress_level=3)
    return file.getvalue()


def _coloured(values: Values, box: Box, inside: tuple[int, int, int, int]) -> Image.Image:
    """The part of the map `inside` what is drawn, smoothly between the middles of its cells, in colours."""
    (rows, columns), (left, top, right, bottom) = values.shape, box
    wide, high = (right - left) / columns, (bottom - top) / rows
    source = (
        max(0.0, (inside[0] - left) / wide),
        max(0.0, (inside[1] - top) / high),
        min(float(columns), (inside[2] - left) / wide),
        min(float(rows), (inside[3] - top) / high),
    )
    # From levels of 0 to 1: Pillow's bytes would show as steps.
    levels = Image.fromarray(values.astype(np.float32)).resize(
        (inside[2] - inside[0], inside[3] - inside[1]), Image.Resampling.BILINEAR, box=source
    )
    indices = np.rint(255 * np.clip(np.asarray(levels), 0, 1)).astype(np.uint8)
    return Image.fromarray(_colours()[indices])


def _colours() -> npt.NDArray[np.uint8]:
    """`[256, 3]`: the colour of each level."""
    points = np.linspace(0, 255, len(_CIVIDIS))
    channels = [np.interp(np.arange(256), points, channel) for channel in zip(*_CIVIDIS, strict=True)]
    colours: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours
