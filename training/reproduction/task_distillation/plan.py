"""What is trained, and at which size.

Per seed and data set two teachers and, of each of two students, five trainings: 24 lines of three seeds, 72 trainings.
From the times of :mod:`training.distillation.specific.study`, of one thread with bf16: teachers 4 x 60 s, transformers
5 x 80 s and ResNets 5 x 130 s on average for each of two data sets make about 40 minutes a seed, with measuring; three
seeds 2.3 hours, 70 minutes of two cores.  Processes that begin add 5 s for each training, 3 minutes of two cores.  The
distillation alone (table 4.6) is four lines more for each data set, a third of the time above: it is asked for apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from render.errors import InputError
from training.distillation.specific.study import FURTHER, LINES, STUDIES, Study

QUICK = 0.02  # of the steps
QUICK_PHOTOS: Mapping[str, tuple[int, int]] = {"camvid": (12, 6), "cifar10": (200, 100)}  # to learn from, to measure


def planned(names: Sequence[str], *, effort: float = 1.0, quick: bool = False, further: bool = False) -> list[Study]:
    """The studies of a reproduction.

    Args:
        names: Of the data sets.
        effort: Of all trainings so many times the steps.
        quick: A few steps on a few photos; ``effort`` counts beside it.
        further: Also the distillation alone, table 4.6.

    Raises:
        InputError: there are none, one is named twice or not known, or the effort is not above 0.
    """
    known = {study.name: study for study in STUDIES}
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise InputError(f"Expected some of {', '.join(known)}, each once; found {', '.join(names) or 'none'}.")
    found = []
    for name in names:
        study = known[name].shortened(effort * (QUICK if quick else 1.0))
        if quick:
            train, test = QUICK_PHOTOS[name]
            study = replace(study, train=train, test=test)
        found.append(replace(study, lines=LINES + FURTHER if further else LINES))
    return found
