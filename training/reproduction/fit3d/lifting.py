"""Features of rooms as the Gaussians show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from render.progress import Progress, silent
from training.probing.kept import Maps, stacked
from training.probing.sources import Described

if TYPE_CHECKING:
    from training.finetuning.scenes import TunedScenes


@torch.no_grad()
def lifted(maps: Mapping[tuple[str, str], Described], scenes: TunedScenes, progress: Progress = silent) -> Maps:
    """Features of rooms as the Gaussians show them: carried from all views to the Gaussians, and rendered.

    Args:
        maps: Of all photos of the scenes.
        scenes: Whose folders have the groups' names.
        progress: Told of every scene.
    """
    result: Maps = {}
    for index, scene in enumerate(scenes.scenes):
        progress(index, len(scenes.scenes), "lifting features")
        group, names = scene.path.resolve().name, [view.name for view in scene.views]
        transport = scenes.transport(index)
        carried = transport.apply(stacked(maps, group, names))
        for view, name in enumerate(names):
            patches = carried[transport.rows(view)].reshape(*transport.grids[view], -1)
            result[group, name] = Described(patches.half(), maps[group, name].whole)
    return result
