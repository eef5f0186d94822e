"""The map over the picture: where it lies, how large it is, and that its colours grow lighter."""

import io

import numpy as np
import pytest
from PIL import Image

from contract.pixels import to_pixels
from service.rendering import Box, Map, _colours, rendered, shown

GREY = (100, 100, 100)


def drawn(
    size: tuple[int, int], box: Box, opacity: float = 1.0, values: list[list[float]] | None = None
) -> Image.Image:
    picture = to_pixels(Image.new("RGB", size, GREY), shown(size))
    found = Map(np.array(values or [[0.0, 3.0], [0.0, 3.0]], np.float32), size, box)
    image = Image.open(io.BytesIO(rendered(found, picture, opacity, "what it is: 日本")))
    assert image.format == "PNG"
    assert image.info["Description"] == "what it is: 日本"
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (640, 480)), ((4000, 3000), (1024, 768)), ((32, 16), (256, 128)), ((90_000, 1), (1024, 1))],
)
def test_the_picture_keeps_its_shape_and_a_bounded_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    view = shown(size)
    assert (view.width, view.height) == expected


def test_the_map_lies_in_its_box_and_nowhere_else() -> None:
    image = drawn((400, 300), (100, 0, 300, 200))
    darkest, lightest = (0, 34, 78), (254, 232, 56)
    assert image.size == (400, 300)
    assert [image.getpixel(at) for at in ((99, 100), (300, 100), (200, 200), (200, 250))] == [GREY] * 4
    assert (image.getpixel((100, 0)), image.getpixel((299, 199))) == (darkest, lightest)


def test_a_map_larger_than_the_picture_is_cut_off() -> None:
    image = drawn((400, 300), (-400, -300, 800, 600), values=[[0, 0, 0], [0, 9, 0], [0, 0, 0]])
    assert image.size == (400, 300)
    levels = np.asarray(image.convert("L")).astype(int)
    assert levels[150, 200] == levels.max()
    assert levels[0, 0] < levels[75, 100] < levels[150, 200]


@pytest.mark.parametrize("box", [(500.0, 0.0, 600.0, 300.0), (0.0, 0.0, 0.2, 0.2)], ids=["beside", "less than a pixel"])
def test_a_map_that_is_not_there_leaves_the_picture(box: Box) -> None:
    assert (np.asarray(drawn((400, 300), box)) == GREY[0]).all()


def test_opacity_goes_from_the_picture_to_the_map() -> None:
    levels = [np.asarray(drawn((300, 300), (0, 0, 300, 300), opacity)).astype(int) for opacity in (0.0, 0.5, 1.0)]
    assert (levels[0] == GREY[0]).all()
    assert np.abs(levels[1] - (levels[0] + levels[2]) / 2).max() <= 1


def test_a_map_that_says_nothing_is_all_of_one_colour() -> None:
    assert len(drawn((300, 300), (0, 0, 300, 300), values=[[2.0, 2.0]]).getcolors() or ()) == 1


def test_the_colours_grow_lighter_all_the_way_to_the_colour_blind_too() -> None:
    """Linear light (IEC 61966-2-1), and as seen without long or middle cones (Viénot et al., 1999)."""
    srgb = _colours() / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for seen in (linear, linear @ protan.T, linear @ deutan.T):
        light = seen @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(light[::4]) > 0).all(), "of single levels, a channel may be rounded down"
