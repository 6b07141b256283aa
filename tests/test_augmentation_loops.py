"""Every loop that takes an augmentation shows it to the network, keeps its targets, and is another training by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from render.errors import InputError
from tests import pretrained
from tests.co_distilled import make_task as co_distilled
from tests.co_distilled import photo_folders, settings_of
from training.augmentation import Augmentation, Policy, composed, item_seeds, uniform_numbers
from training.finetuning.targets import Target
from training.finetuning.task import FineTuning
from training.loop import Task
from training.pretraining.detection.data import Scene
from training.pretraining.mask3d.seeing import Kept, Shown

# It never rotates, so that it is the same where pixels have to stay.
INVERTED = Augmentation(Policy(("Rotate", "Invert"), torch.tensor([[0.0, 30.0]]), torch.ones(2)), flip=False)


def drawn(task: Task, seed: int = 0) -> Any:
    return task.batch(np.random.default_rng(seed))


def seen_by(task: Task, network: torch.nn.Module) -> tuple[float, Any]:
    """The loss of a step, and what the network was given."""
    given: list[Any] = []
    hook = network.register_forward_pre_hook(lambda _, values: given.append(values))
    loss = float(task(drawn(task), 0.0)[0].detach())
    hook.remove()
    return loss, given[0]


def test_masked_pretraining_sees_other_colours_and_the_same_depth() -> None:
    plain, other = pretrained.make_task(), pretrained.make_task(augmentation=INVERTED)
    (loss, before), (changed, after) = (seen_by(task, task.model) for task in (plain, other))
    shown, kept = before
    also: tuple[Shown, Kept] = after
    torch.testing.assert_close(also[0].pixels, 1 - shown.pixels)
    assert torch.equal(also[0].depth, shown.depth)
    assert torch.equal(also[1].colour, kept.colour)
    assert loss != changed
    assert plain.validate() == other.validate(), "what is measured is not augmented"
    assert other.identity() == {**plain.identity(), "augmentation": INVERTED.still().title}


def test_a_detector_sees_other_colours_and_the_same_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Scene]] = []
    for augmentation in (None, INVERTED):
        task = pretrained.detecting(augmentation=augmentation)
        losses = task.model.losses

        def spy(scenes: list[Scene], seeds: list[int], losses: Any = losses) -> dict[str, Tensor]:
            seen.append(scenes)
            found: dict[str, Tensor] = losses(scenes, seeds)
            return found

        monkeypatch.setattr(task.model, "losses", spy)
        task(drawn(task), 0.0)
        assert ("augmentation" in task.identity()) == (augmentation is not None)
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(other.pixels, 1 - one.pixels)
        assert torch.equal(other.boxes, one.boxes)


class OneScene:
    """A scene of one view, without Gaussians."""

    index, grids = ((0, 0),), (((2, 3),),)
    scenes: tuple[()] = ()
    fingerprint, side = "one", None

    def __init__(self) -> None:
        self.photo = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return 1

    def pixels(self, scene: int, view: int) -> Tensor:
        return self.photo


class FixedTargets:
    """The same target of every patch."""

    kind, follows = "fixed", False

    def __init__(self) -> None:
        self.scenes = OneScene()

    def identity(self) -> dict[str, Any]:
        return {}

    def of(self, scene: int, view: int) -> Target:
        return Target(torch.zeros(2, 3, 32), torch.ones(2, 3))


def test_fine_tuning_with_features_of_patches_sees_other_colours_where_they_are() -> None:
    made: list[FineTuning] = [
        FineTuning(pretrained.tiny_encoder(), FixedTargets(), augmentation=augmentation)  # type: ignore[arg-type]
        for augmentation in (None, INVERTED)
    ]
    pixels = [seen_by(task, task.student)[1][0] for task in made]
    torch.testing.assert_close(pixels[1], 1 - pixels[0])
    identities = [task.identity() for task in made]
    assert identities[1] == {**identities[0], "augmentation": INVERTED.still().title}
    assert [item.flipped for item in drawn(made[0])] == [item.flipped for item in drawn(made[1])]
    assert {item.seed for item in drawn(made[0])} == {0}
    assert len({item.seed for item in drawn(made[1])}) == 2


def test_co_distillation_shows_teachers_and_student_the_same_other_colours(tmp_path: Path) -> None:
    folder = photo_folders(tmp_path)
    plain, other = co_distilled(folder, colours=False), co_distilled(folder, augmentation=INVERTED)
    items = drawn(plain)
    assert items == drawn(other)
    for one, changed in zip(plain.sight.look(items, 32), other.sight.look(items, 32), strict=True):
        assert torch.equal(changed.pixels, 255 - one.pixels)
    assert other.identity()["augmentation"] == INVERTED.title
    assert "augmentation" not in plain.identity()
    with pytest.raises(InputError, match="takes the place of colours that vary"):
        settings_of(augmentation=INVERTED, colours=False)
    with pytest.raises(InputError, match=r"\(flips\) have no crops, found another augmentation"):
        settings_of(augmentation=INVERTED, augment="flips")


def test_photos_are_changed_in_full_precision_where_networks_compute_in_half() -> None:
    images, names = torch.rand(4, 3, 40, 40), ("Rotate", "Sharpness")
    chosen, noise = torch.tensor([[0, 1]]).expand(4, 2), uniform_numbers(item_seeds(0, 0, range(4)), 6).view(4, 2, 3)
    magnitudes = torch.full((4, 2), 0.37)
    full = composed(images, names, chosen, magnitudes, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(composed(images, names, chosen, magnitudes, noise), full)
