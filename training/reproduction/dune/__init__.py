"""Claims of DUNE (Sariyildiz et al. 2025) at small scale: one student of three teachers of different kinds.

:class:`Plan` says how large everything is, :class:`Places` where it lies.  Photos are made first, and the specialist if
it has to be; teachers describe the photos; then :func:`learn` and :func:`measure_of_teacher` do one job each, any
number of times: what is done is not done again.  :func:`gather` reads what was measured and says what it means.
"""

from training.reproduction.dune.measuring import learn, measure_of_teacher
from training.reproduction.dune.places import Places
from training.reproduction.dune.plan import Plan, Row
from training.reproduction.dune.preparing import describe, make_photos, make_specialist
from training.reproduction.dune.results import gather
from training.reproduction.jobs import Job, run_jobs

__all__ = [
    "Job",
    "Places",
    "Plan",
    "Row",
    "describe",
    "gather",
    "learn",
    "make_photos",
    "make_specialist",
    "measure_of_teacher",
    "run_jobs",
]
