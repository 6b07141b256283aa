"""The papers' claims at small scale, measured from nothing by one command.

:class:`Plan` says how large everything is, :class:`Places` where it lies; ``rooms`` are made first, then
:func:`prepare`, :func:`tune` and :func:`measure` do one job each, any number of times: what is done is not done again.
:func:`gather` reads what was measured and says what it means.
"""

from training.reproduction.jobs import Job, run_jobs
from training.reproduction.measuring import measure
from training.reproduction.places import Places
from training.reproduction.plan import Plan, Row, Tuning
from training.reproduction.preparing import carry, make_weak
from training.reproduction.results import gather
from training.reproduction.tuning import tune

__all__ = [
    "Job",
    "Places",
    "Plan",
    "Row",
    "Tuning",
    "carry",
    "gather",
    "make_weak",
    "measure",
    "run_jobs",
    "tune",
]
