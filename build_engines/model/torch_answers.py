"""What a model answers in torch: what every graph and every engine of it is compared with.

Pictures are normalised as timm does it (0..1, then mean and std), not as the graph does, so that a mistake there shows.
"""

import numpy as np

from build_engines.values import Classifier, Pixels, Probabilities


def torch_answers(classifier: Classifier, images: Pixels, *, batch: int = 32) -> Probabilities:
    """The model's own answers in FP32: uint8 `[N, height, width, 3]` to float32 `[N, classes]`."""
    import torch  # noqa: PLC0415 (takes seconds to import; `build-engines --help` does not wait for it)

    mean, std = (torch.tensor(levels).view(1, 3, 1, 1) for levels in (classifier.mean, classifier.std))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            scaled = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float() / 255
            rows.append(torch.softmax(classifier.model((scaled - mean) / std), dim=-1).numpy())
    return np.concatenate(rows)
