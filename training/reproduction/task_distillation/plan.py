"""What is trained, and at which size.

Of each of two data sets two teachers, a transformer trained in eight ways, and a ResNet in three: 26 lines of three
seeds, 78 trainings.  With the times of :mod:`training.distillation.specific.study` for one thread and bf16, in seconds
of one seed:

===================================  ======  ========
what                                 CamVid  CIFAR-10
===================================  ======  ========
teacher, fine-tuned                      62       100
heads, of teacher and student           116       113
transformer, alone                       59        42
with a teacher, three times             218       196
with mixed images, twice                210       174
alone with mixed images                  94        65
ResNet, alone                           115        84
with a teacher                          145       104
with mixed images                       175       152
measuring                                50       146
===================================  ======  ========

Together 2420 s, of three seeds 7260 s.  Searching for rates, once, is nine trainings of half the steps on each data
set: 650 s.  84 jobs that begin, 7 s each, are 590 s, cores that wait after the searches and in the end 200 s at most:
8700 s, 73 minutes of two cores.  What is asked for apart is 1700 s a seed more, 45 minutes of two cores.
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
        further: Also the lines of :data:`FURTHER`.

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
        lines = {student: LINES[student] + (FURTHER[student] if further else ()) for student in study.students}
        found.append(replace(study, lines=lines))
    return found
