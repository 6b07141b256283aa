"""Claims of Marrie et al. 2024 at small scale: which teacher, whether a teacher at all, and mixed images.

:func:`planned` says what is trained, :func:`open_study` reads its photos.  :func:`search_jobs` are the searches for
learning rates that are left; after them :meth:`Opened.rated` knows what they found, and :func:`trainings` are the
trainings that are left.  Each job can be done any number of times: what is done is not done again.  :func:`gather`
reads what was measured and says what it means.

Sections, equations and tables are numbered as in chapter 4 of the thesis that the text became a part of.
"""

from training.reproduction.jobs import Job, run_jobs
from training.reproduction.task_distillation.learning import search_jobs, trainings
from training.reproduction.task_distillation.opening import Opened, open_study
from training.reproduction.task_distillation.plan import planned
from training.reproduction.task_distillation.results import gather

__all__ = ["Job", "Opened", "gather", "open_study", "planned", "run_jobs", "search_jobs", "trainings"]
