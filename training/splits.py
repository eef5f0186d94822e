"""Which pictures are held out: by chance, as many of each class, and equal ones on one side."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def held_out(
    targets: npt.NDArray[np.int64],
    digests: Sequence[bytes],
    share: float,
    seed: int,
    known: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """True for each picture that is held out, bool `[pictures]`.

    Of each class about `share` of its pictures, at least one where it has two that differ. Pictures with the same
    digest, whatever their class, are all on one side. Those that are `known`, bool `[pictures]`, are never held out.
    """
    chosen = np.zeros(len(targets), dtype=bool)
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    by_class: dict[int, list[list[int]]] = {}
    for group in groups.values():
        by_class.setdefault(int(targets[group[0]]), []).append(group)
    chance = np.random.default_rng(seed)
    for _, members in sorted(by_class.items()):
        wanted = max(1, round(share * sum(map(len, members)))) if share > 0 and len(members) > 1 else 0
        taken = 0
        for place in chance.permutation(len(members))[: len(members) - 1]:
            if taken >= wanted:
                break
            if known is not None and known[members[place]].any():
                continue
            chosen[members[place]] = True
            taken += len(members[place])
    return chosen
