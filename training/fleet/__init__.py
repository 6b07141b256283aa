"""Many scenes: fitted, imported and lifted one beside the other, on this machine or on a Ray cluster.

A scene is worked on by commands (``ns-train``, ``fit3d import``, ``fit3d lift``) in processes of their own, so that one
that fails or is killed harms no other, and so that each one's time and memory are its own.  What is done is written
down per scene, with a fingerprint of all that it depends on: given again, a list goes on where it stopped.
"""

from training.fleet.cluster import Cluster, run_on_ray
from training.fleet.jobs import EncoderChoice, Outcome, SceneJob, Settings, Slot
from training.fleet.local import Machine, run_local, this_machine
from training.fleet.memory import memory_needed
from training.fleet.records import Done, Record
from training.fleet.running import fit_scene
from training.fleet.sources import find_sources
from training.fleet.stages import pending

__all__ = [
    "Cluster",
    "Done",
    "EncoderChoice",
    "Machine",
    "Outcome",
    "Record",
    "SceneJob",
    "Settings",
    "Slot",
    "find_sources",
    "fit_scene",
    "memory_needed",
    "pending",
    "run_local",
    "run_on_ray",
    "this_machine",
]
