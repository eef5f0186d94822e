"""Pictures that are made, not photographed, where any will do: to compare runtimes, and to time them."""

import numpy as np
from PIL import Image

from build_engines.values import Pixels
from contract.spec import Preprocessing


def made_pictures(count: int, preprocessing: Preprocessing) -> Pixels:
    """`count` pictures of the input's size, noise and smooth ones in turn, the same each time."""
    random = np.random.default_rng(seed=count)
    size = (preprocessing.width, preprocessing.height)
    images = []
    for index in range(count):
        if index % 2:
            images.append(random.integers(0, 256, (preprocessing.height, preprocessing.width, 3), dtype=np.uint8))
        else:
            blobs = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            images.append(np.asarray(blobs.resize(size, Image.Resampling.BICUBIC)))
    return np.stack(images)
