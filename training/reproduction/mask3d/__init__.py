"""Claims of Mask3D (Hou et al. 2023) at small scale: what pretraining with masked colours and depth is worth.

:class:`Plan` says how large everything is, :class:`Row` how a network is pretrained, :class:`Places` where all of it
lies.  :func:`photo_jobs` and :func:`training_jobs` are what is left to do.  Each job can be done any number of times:
what is done is not done again.  :func:`gather` reads what was measured and says what it means.
"""

from training.reproduction.jobs import Job, run_jobs
from training.reproduction.mask3d.learning import learn, training_jobs
from training.reproduction.mask3d.places import Places
from training.reproduction.mask3d.plan import Plan, Row, further_rows, main_rows
from training.reproduction.mask3d.preparing import make_photos, photo_jobs
from training.reproduction.mask3d.results import gather

__all__ = [
    "Job",
    "Places",
    "Plan",
    "Row",
    "further_rows",
    "gather",
    "learn",
    "main_rows",
    "make_photos",
    "photo_jobs",
    "run_jobs",
    "training_jobs",
]
