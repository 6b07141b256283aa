"""What an evaluation prepares for a scene, and the variants that it runs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.devices import resolve_device
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder
from uplift.evaluation.fields import encoder_of, field_of
from uplift.evaluation.segmentation import TOLERANCE, evaluate_task
from uplift.evaluation.splats import open_splats
from uplift.evaluation.tasks import Task
from uplift.evaluation.variants import VARIANTS, Setting, Variant, make_setting
from uplift.field import FeatureField
from uplift.reduction import Reduced
from uplift.sam_masks import SamSegmenter

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Features:
    """Which features an evaluation works with.

    Attributes:
        encoder: A name of the registry.
        weights: Its weights; None = its own.
        reduce: Dimensions that a PCA over the scene leaves, weighted by its eigenvalues; None = all.
        folder: Where lifted fields are kept, one folder per scene.
        device: Where to compute.
    """

    encoder: str
    weights: Path | None = None
    reduce: int | None = None
    folder: Path
    device: str = "auto"

    @property
    def name(self) -> str:
        """Of the field."""
        return self.encoder if self.reduce is None else f"{self.encoder}-{self.reduce}"

    def load_encoder(self) -> Encoder:
        """The encoder, not yet fitted.

        Raises:
            InputError: the name is unknown, or the weights cannot be had.
        """
        encoder = load_encoder(self.encoder, self.weights, self.device)
        if self.reduce is None:
            return encoder
        return Reduced(encoder, self.reduce, eigenvalue_weighting=True)

    def field(self, scene: Scene, gaussians: Gaussians, name: str, progress: Progress = silent) -> FeatureField:
        """The field of a scene, lifted if neither the scene nor the folder has it; see :func:`field_of`."""
        folder = self.folder / name
        return field_of(scene, gaussians, self.name, self.load_encoder, folder, progress=progress)


def open_setting(
    scenes: Path,
    name: str,
    features: Features,
    *,
    sam: Path | str | None = None,
    tau: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Setting:
    """Open the splats of a scene and what its variants need.

    Args:
        scenes: The folder of all splats; see :func:`open_splats`.
        name: The scene.
        features: What to work with.
        sam: Weights of Segment Anything, or ``tiny-sam``.
        tau: Of the SAM route.
        seed: Of all random choices.
        progress: Told of all that takes long.

    Raises:
        InputError: there are no splats, or features or weights cannot be had.
    """
    device = resolve_device(features.device)
    scene = open_splats(scenes, name)
    gaussians = scene.gaussians.to(device)
    field = features.field(scene, gaussians, name, progress)
    encoder = encoder_of(field, features.weights, features.device)
    route = sam_route(sam, scene, gaussians, features.folder.parent / "maps")
    return make_setting(scene, gaussians, field, encoder, sam=route, tau=tau, seed=seed, progress=progress)


def sam_route(weights: Path | str | None, scene: Scene, gaussians: Gaussians, cache: Path) -> SamSegmenter | None:
    """The SAM route of a scene, with embeddings of photos kept on disk; None without weights.

    Raises:
        InputError: the weights cannot be read.
    """
    predictor = sam_predictor(weights, gaussians.device)
    return None if predictor is None else SamSegmenter(gaussians, predictor, views=scene.views, cache=cache)


def sam_predictor(weights: Path | str | None, device: torch.device) -> Any | None:
    """Segment Anything's predictor from a file, or the bundled one by the name ``tiny-sam``; None without weights.

    Raises:
        InputError: the weights cannot be read.
    """
    from uplift.encoders.sam import load_sam

    return None if weights is None else load_sam(weights, device)


def choose_variants(names: Sequence[str]) -> list[Variant]:
    """Variants by name, in the order of the tables; all without names.

    Raises:
        InputError: a name is unknown.
    """
    known = [variant.name for variant in VARIANTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"Unknown variant {unknown[0]!r}; the known ones are: {', '.join(known)}.")
    return [variant for variant in VARIANTS if not names or variant.name in names]


def evaluate_at_neighbours(
    task: Task,
    setting: Setting,
    variants: Sequence[Variant],
    others: Mapping[int, Callable[[], Setting]],
    *,
    tolerance: float = TOLERANCE,
    pictures: Path | None = None,
    members: Bool[Tensor, " n"] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """:func:`evaluate_task`, with those variants that use the graph in other settings, by number of neighbours.

    Their names end in ``, k=16`` and so on.  Without others all variants run in ``setting``.
    """
    plain = [variant for variant in variants if not (others and variant.on_graph)]
    figures = evaluate_task(
        task, setting, plain, tolerance=tolerance, pictures=pictures, members=members, progress=progress
    )
    for k, other in others.items():
        graphed = [replace(v, name=f"{v.name}, k={k}") for v in variants if v.on_graph]
        more = evaluate_task(
            task, other(), graphed, tolerance=tolerance, pictures=pictures, members=members, progress=progress
        )
        figures["variants"] |= more["variants"]
    return figures


def settings_at(
    setting: Setting, neighbours: Sequence[int], *, progress: Progress = silent
) -> dict[int, Callable[[], Setting]]:
    """The same setting with other numbers of neighbours, each made when it is first asked for and kept."""

    def maker(k: int) -> Callable[[], Setting]:
        def make() -> Setting:
            return make_setting(
                setting.scene,
                setting.gaussians,
                setting.features,
                setting.encoder,
                neighbours=k,
                seed=setting.seed,
                progress=progress,
            )

        return cache(make)

    return {k: maker(k) for k in neighbours}
