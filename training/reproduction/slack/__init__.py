"""Claims of SLACK at small scale: a policy that is learned against none, the uniform one and TrivialAugment.

:func:`planned` says what is trained, :func:`open_slack` reads the photos, :func:`jobs_left` are the pretrainings,
searches and evaluations that are left; each can be done any number of times.  :func:`gather` reads what was measured
and says what it means.  Sections and tables are numbered as in chapter 3 and appendix A of the thesis.
"""

from training.reproduction.jobs import Job, run_jobs
from training.reproduction.slack.plan import Plan, planned
from training.reproduction.slack.results import gather
from training.reproduction.slack.working import Opened, jobs_left, open_slack

__all__ = ["Job", "Opened", "Plan", "gather", "jobs_left", "open_slack", "planned", "run_jobs"]
