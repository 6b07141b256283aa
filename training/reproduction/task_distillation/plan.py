"""What is trained, and at which size.

Of each of two data sets two teachers and, of each of two students, five lines: 24 lines of three seeds, 72 trainings.
With the times of :mod:`training.distillation.specific.study` for one thread and bf16, in seconds of one seed:

=========================  ======  ========
what                       CamVid  CIFAR-10
=========================  ======  ========
teacher, fine-tuned            54       144
transformer, alone             54        52
with a teacher, twice         138       176
with mixed images, twice      208       264
ResNet, alone                  84        86
with a teacher, twice         226       216
with mixed images, twice      338       324
heads of the probed one        20        40
measuring                      10       225
=========================  ======  ========

Together 2660 s, of three seeds 2.2 hours: 67 minutes of two cores.  Jobs that begin (6 s each) and a core that waits at
the end of both phases add less than 10 minutes.  The distillation alone (table 4.6) is 950 s a seed more, 24 minutes of
two cores: it is asked for apart.
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
