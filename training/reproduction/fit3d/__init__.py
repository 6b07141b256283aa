"""Claims of FiT3D (Yue et al. 2024) at small scale: is 3D-aware fine-tuning worth anything, and is it the 3D?

:class:`Plan` says how large everything is, :class:`Places` where it lies; ``rooms`` are made first, then
:func:`prepare`, :func:`tune` and :func:`measure` do one job each, any number of times: what is done is not done again.
:func:`gather` reads what was measured and says what it means.
"""

from training.reproduction.fit3d.measuring import measure
from training.reproduction.fit3d.places import Places
from training.reproduction.fit3d.plan import Plan, Row, Tuning
from training.reproduction.fit3d.preparing import carry, make_weak
from training.reproduction.fit3d.results import gather
from training.reproduction.fit3d.tuning import tune
from training.reproduction.jobs import Job, run_jobs

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
