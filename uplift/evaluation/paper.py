"""The figures of LUDVIG (Marrie et al., arXiv 2410.14462), to print beside measured ones; all in percent.

Tables are numbered as in chapter 5 of the thesis that contains the paper.  ``None`` is what a table leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

AVERAGE = "average"

SPIN_NERF_SCENES = (
    "orchids",
    "leaves",
    "fern",
    "room",
    "horns",
    "fortress",
    "fork",
    "pinecone",
    "truck",
    "lego",
)
NVOS_SCENES = ("fern", "flower", "fortress", "horns_center", "horns_left", "leaves", "orchids", "trex")
LERF_SCENES = ("ramen", "figurines", "teatime", "waldo_kitchen")


def _table(scenes: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> dict[str, dict[str, float | None]]:
    """Method -> scene -> figure, the average last."""
    return {method: dict(zip((*scenes, AVERAGE), values, strict=True)) for method, values in rows.items()}


SPIN_NERF = _table(
    SPIN_NERF_SCENES,
    {
        "MVSeg": (92.7, 94.9, 94.3, 95.6, 92.8, 97.7, 87.9, 93.4, 85.2, 74.9, 90.9),
        "SA3D-GS": (84.7, 97.2, 96.7, 93.7, 95.3, 98.1, 87.9, 91.6, 94.8, 92.0, 93.2),
        "SAGA": (None, None, None, None, None, None, None, None, None, None, 93.4),
        "OmniSeg3D": (92.3, 96.0, 97.5, 97.9, 91.5, 97.9, 90.4, 92.1, 96.1, 90.8, 94.3),
        "DINOv2": (92.6, 96.2, 96.3, 95.7, 95.1, 97.5, 85.0, 93.2, 95.6, 91.1, 93.8),
        "SAM": (92.2, 96.3, 97.0, 96.5, 94.5, 98.3, 86.8, 88.8, 94.9, 92.7, 93.8),
        "SAM2": (91.0, 96.3, 97.0, 96.1, 94.8, 98.3, 86.7, 90.7, 93.9, 92.9, 93.8),
    },
)
"""Table C.2: IoU on SPIn-NeRF against other methods; DINOv2 is with graph diffusion.  Its averages: table 5.1."""

SPIN_NERF_ABLATION = _table(
    SPIN_NERF_SCENES,
    {
        "geometry only": (71.3, 72.4, 93.9, 77.4, 80.7, 94.3, 67.5, 56.5, 60.1, 57.3, 73.1),
        "single view DINOv2": (91.5, 89.3, 95.1, 95.4, 90.9, 96.8, 85.6, 92.8, 83.6, 64.4, 88.5),
        "single view SAM2": (78.4, 96.6, 96.7, 95.6, 93.0, 97.7, 80.5, 67.8, 90.9, 89.0, 88.6),
        "uplifting DINOv2": (91.5, 94.1, 96.7, 97.3, 94.2, 98.6, 88.8, 89.6, 95.2, 69.9, 91.6),
        "uplifting SAM2": (91.0, 96.3, 97.0, 96.1, 94.8, 98.3, 86.7, 90.7, 93.9, 92.9, 93.8),
        "uplifting + diffusion DINOv2": (92.6, 96.2, 96.3, 95.7, 95.1, 97.5, 85.0, 93.2, 95.6, 91.1, 93.8),
    },
)
"""Table C.4, whose averages are table 5.2."""

NVOS = _table(
    NVOS_SCENES,
    {
        "NVOS": (None, None, None, None, None, None, None, None, 70.1),
        "SA3D": (82.9, 94.6, 98.3, 96.2, 90.2, 93.2, 85.5, 82.0, 90.3),
        "OmniSeg3D": (82.7, 95.3, 98.5, 97.7, 95.6, 92.7, 84.0, 87.4, 91.7),
        "SA3D-GS": (None, None, None, None, None, None, None, None, 92.2),
        "SAGA": (None, None, None, None, None, None, None, None, 92.6),
        "DINOv2": (84.5, 95.6, 97.5, 97.3, 93.4, 96.3, 91.7, 84.7, 92.4),
        "SAM": (85.5, 97.6, 98.1, 97.9, 94.1, 96.4, 73.1, 88.0, 91.3),
        "SAM2": (84.8, 97.3, 98.3, 97.7, 93.4, 96.7, 73.1, 89.1, 91.3),
    },
)
"""Table C.3: IoU on NVOS; DINOv2 is with graph diffusion.  Its averages: table 5.1.

The average of DINOv2 is the paper's; that of its eight figures is 92.6.
"""

LERF_LOCALIZATION = _table(
    LERF_SCENES,
    {
        "LERF": (62.0, 75.0, 84.8, 72.7, 73.6),
        "LangSplat": (73.2, 80.4, 88.1, 95.5, 84.3),
        "LUDVIG": (78.9, 80.4, 94.9, 90.9, 86.3),
    },
)
"""Table 5.3: localization accuracy on the extended LERF set."""

LERF_2D = _table(
    LERF_SCENES,
    {
        "LERF": (28.2, 38.6, 45.0, 37.9, 37.4),
        "LangSplat": (51.2, 44.7, 65.1, 44.5, 51.4),
        "LUDVIG": (58.1, 63.3, 77.1, 58.5, 64.3),
    },
)
"""Table 5.4, upper half: IoU of the 2D protocol (Kerr et al. 2023; Qin et al. 2024)."""

LERF_3D = _table(
    LERF_SCENES,
    {
        "OpenGaussian": (23.9, 59.3, 54.4, 34.6, 43.1),
        "Dr. Splat": (24.7, 53.4, 57.2, 39.1, 43.6),
        "LUDVIG": (42.3, 58.0, 58.6, 42.8, 50.4),
    },
)
"""Table 5.4, lower half: IoU of the 3D protocol (Wu et al. 2024): Gaussians are selected, then rendered."""

LERF_MINUTES = {"LERF": 45.0, "LangSplat": 105.0, "OpenGaussian": 50.0, "LUDVIG": 10.0}
"""Table 5.4, last column: minutes for a scene on an A6000."""
