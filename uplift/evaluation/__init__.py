"""The benchmarks of LUDVIG: data sets in their published layouts, variants, figures beside the paper's."""

from uplift.evaluation.lerf import evaluate_lerf_scene, read_lerf
from uplift.evaluation.segmentation import evaluate_task
from uplift.evaluation.splats import open_splats
from uplift.evaluation.store import FigureStore
from uplift.evaluation.tasks import Task, read_capture_task, read_nvos, read_spin_nerf
from uplift.evaluation.variants import VARIANTS, Setting, Variant

__all__ = [
    "VARIANTS",
    "FigureStore",
    "Setting",
    "Task",
    "Variant",
    "evaluate_lerf_scene",
    "evaluate_task",
    "open_splats",
    "read_capture_task",
    "read_lerf",
    "read_nvos",
    "read_spin_nerf",
]
