"""transformers' preprocessor_config.json as timm's data configuration.

Its image processors are functions of a few numbers, which this reads; what it does not know it refuses.
"""

import math
from collections.abc import Mapping
from typing import Any

from build_engines.errors import UnsupportedModelError

Settings = Mapping[str, Any]
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers, which transformers writes."""
_UNKNOWN_STEPS = ("do_flip_channel_order", "do_pad", "do_thumbnail", "do_align_long_axis", "do_color_quantize")


def data_config(settings: Settings) -> dict[str, Any]:
    """`input_size`, `mean`, `std`, `interpolation`, `crop_pct` and `crop_mode`, as `timm.data` names them.

    Raises:
        UnsupportedModelError: pictures are prepared in a way that entries cannot express; the message says which.
    """
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    for step in _UNKNOWN_STEPS:
        if settings.get(step):
            raise _unsupported(f"{step} is on")
    if not settings.get("do_resize", True):
        raise _unsupported("do_resize is off; a picture of any size must become the input's")
    _check_scale(settings)
    crop, resize, mode = _geometry(settings, kind)
    resample = settings.get("resample")
    if resample not in _FILTERS:
        raise _unsupported(f"resample is {resample!r}")
    normalised = settings.get("do_normalize", True)
    return {
        "input_size": (3, *crop),
        "mean": _levels(settings, "image_mean") if normalised else (0.0, 0.0, 0.0),
        "std": _levels(settings, "image_std") if normalised else (1.0, 1.0, 1.0),
        "interpolation": _FILTERS[resample],
        "crop_pct": _crop_pct(crop, resize),
        "crop_mode": mode,
    }


def _check_scale(settings: Settings) -> None:
    factor = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise _unsupported("pictures are not scaled to 0..1 (do_rescale, rescale_factor)")
    if settings.get("rescale_offset") or settings.get("include_top"):
        raise _unsupported("rescale_offset or include_top is on")


def _geometry(settings: Settings, kind: str) -> tuple[tuple[int, int], tuple[int, int], str]:
    """What is cut out, what the picture is resized to before, and whether that keeps its shape."""
    size = settings.get("size")
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None
    if "ConvNext" in kind:
        edge = int(shortest or _sides(size)[0])
        if edge >= 384:
            return (edge, edge), (edge, edge), "squash"
        return (edge, edge), (int(edge / settings.get("crop_pct", 224 / 256)),) * 2, "center"
    if shortest is None:
        resize, mode = _sides(size), "squash"
    else:
        resize, mode = (int(shortest), int(shortest)), "center"
    if "crop_size" in settings and "do_center_crop" not in settings:
        raise _unsupported("there is a crop_size, and do_center_crop does not say whether it is used")
    if not settings.get("do_center_crop", False):
        if mode == "center":
            raise _unsupported("pictures keep their shape and are not cropped, so that each has another size")
        return resize, resize, mode
    crop = _sides(settings.get("crop_size", size))
    if crop[0] > resize[0] or crop[1] > resize[1]:
        raise _unsupported(f"the crop {crop} is larger than the picture {resize}")
    return crop, resize, mode


def _sides(size: object) -> tuple[int, int]:
    """Height and width of a size as transformers has written it over the years."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    raise _unsupported(f"the size is {size!r}")


def _crop_pct(crop: tuple[int, int], resize: tuple[int, int]) -> float:
    """The share that stays, such that timm's floor(crop / share) gives the size again."""
    share = crop[0] / resize[0]
    if math.floor(crop[0] / share) != resize[0]:
        share = math.nextafter(share, 0.0)
    if (math.floor(crop[0] / share), math.floor(crop[1] / share)) != resize:
        raise _unsupported(f"pictures are resized to {resize} and cropped to {crop}, which is no one share of both")
    return share


def _levels(settings: Settings, key: str) -> tuple[float, ...]:
    levels = settings.get(key)
    if levels is None:
        raise _unsupported(f"do_normalize is on, and there is no {key}")
    return (float(levels),) * 3 if isinstance(levels, int | float) else tuple(map(float, levels))


def _unsupported(what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"preprocessor_config.json: {what}; entries cannot express that")
