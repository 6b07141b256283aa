"""Probes: what a small head reads from the features of a frozen encoder, as FiT3D measures it (Yue et al. 2024, 3.3).

Photos come from a :class:`ProbeData`, features from a :class:`FeatureSource` (an encoder, or several whose maps are
put side by side), :func:`run_probe` fits heads for several seeds and measures them, :func:`compare` says whether one
source beats another.
"""

from training.probing.augmented import Augmenting
from training.probing.comparison import Difference, Interval, compare, interval_over_seeds
from training.probing.photos import VOID, ProbeData, ProbePhoto, Task
from training.probing.running import ProbeResult, run_probe
from training.probing.scores import Scores
from training.probing.settings import DptSettings, ProbeSettings
from training.probing.sources import Described, EncoderSource, FeatureSource, GivenSource, SideBySide, open_source

__all__ = [
    "VOID",
    "Augmenting",
    "Described",
    "Difference",
    "DptSettings",
    "EncoderSource",
    "FeatureSource",
    "GivenSource",
    "Interval",
    "ProbeData",
    "ProbePhoto",
    "ProbeResult",
    "ProbeSettings",
    "Scores",
    "SideBySide",
    "Task",
    "compare",
    "interval_over_seeds",
    "open_source",
    "run_probe",
]
