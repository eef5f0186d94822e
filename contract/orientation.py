"""EXIF orientation: a picture seen as it is to be looked at, without turning more of it than is needed.

EXIF 2.32, table 4, numbers the orientations 1 (upright) to 8.
"""

from dataclasses import dataclass

from PIL import Image

_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a stored picture upright."""
_SWAPPED = (5, 6, 7, 8)
_FROM_RIGHT = (2, 3, 6, 7)
"""Orientations whose upright columns are counted from the other end of the stored picture."""
_FROM_BOTTOM = (3, 4, 7, 8)
"""The same for upright rows."""
_MIRRORED = {1: 5, 2: 8, 3: 7, 4: 6, 5: 1, 6: 4, 7: 3, 8: 2}
"""The orientation under which the upright picture's rows become columns."""

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge, as Pillow has it."""


@dataclass(frozen=True)
class Upright:
    """A picture of any mode as EXIF says it is to be looked at."""

    picture: Image.Image
    orientation: int

    @classmethod
    def of(cls, picture: Image.Image) -> "Upright":
        """The picture by its own EXIF tag; as it is stored where the tag is missing, out of range or damaged."""
        try:
            orientation = picture.getexif().get(_TAG, 1)
        except Exception:  # noqa: BLE001 (damaged EXIF raises whatever its bytes make Pillow's parser raise)
            orientation = 1
        return cls(picture, orientation if orientation in _TURNS else 1)

    @property
    def lies_on_its_side(self) -> bool:
        """Whether width and height change places."""
        return self.orientation in _SWAPPED

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self.picture.size
        return (height, width) if self.lies_on_its_side else (width, height)

    def part(self, box: Box) -> Image.Image:
        """The part inside `box`, upright. Only this part is copied and turned."""
        if self.orientation == 1:
            return self.picture.crop(box)
        left, upper, right, lower = box
        width, height = self.size
        if self.orientation in _FROM_RIGHT:
            left, right = width - right, width - left
        if self.orientation in _FROM_BOTTOM:
            upper, lower = height - lower, height - upper
        if self.lies_on_its_side:
            left, upper, right, lower = upper, left, lower, right
        return self.picture.crop((left, upper, right, lower)).transpose(_TURNS[self.orientation])

    def transposed(self) -> "Upright":
        """The same picture with rows and columns exchanged."""
        return Upright(self.picture, _MIRRORED[self.orientation])
