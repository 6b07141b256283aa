"""The loop of every training of a network here: tiny encoders, 3D-aware fine-tuning, and what follows.

A :class:`Task` says what is trained, a :class:`Schedule` how, and :func:`train` does it: on one or many devices, in
mixed precision, with gradients accumulated, a log, pictures, and checkpoints from which a killed training goes on as
if it had not been.
"""

from training.loop.checkpoint import CHECKPOINT, SECONDS_BEFORE, STEPS_BEFORE
from training.loop.drawing import draws_of
from training.loop.log import LOG, PICTURES, TENSORBOARD
from training.loop.processes import Place, check, main_first, place
from training.loop.running import DivergedError, train
from training.loop.schedule import Schedule
from training.loop.task import Task
from training.loop.weights import save_weights

__all__ = [
    "CHECKPOINT",
    "LOG",
    "PICTURES",
    "SECONDS_BEFORE",
    "STEPS_BEFORE",
    "TENSORBOARD",
    "DivergedError",
    "Place",
    "Schedule",
    "Task",
    "check",
    "draws_of",
    "main_first",
    "place",
    "save_weights",
    "train",
]
