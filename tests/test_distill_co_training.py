"""Co-distillation: training, going on, several processes, and ``fit3d distill co``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from app.main import main
from render.errors import InputError
from tests.co_distilled import (
    SCHEDULE,
    SIDE,
    STEPS,
    blank,
    make_task,
    photo_folders,
    settings_of,
    train_and_held,
    two_teachers,
)
from tests.test_encoders import photo
from tests.test_loop_processes import LAUNCH, ROOT
from tests.tiny_models import TINY_VIT
from training.distillation.co.analyses import analyse
from training.distillation.co.export import export
from training.distillation.co.losses import distillation_loss
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import Photos
from training.distillation.co.running import CoDistilled, co_distil, prepare_outputs
from training.distillation.co.sampling import Item
from training.distillation.co.seeing import Seen, digest_of
from training.distillation.co.task import CoDistillation
from training.distillation.co.teachers import Teacher
from training.loop import CHECKPOINT, LOG, draws_of, train
from uplift.encoders import load_encoder
from uplift.encoders.base import Tokens
from uplift.encoders.untrained import make_blank


class Trained(NamedTuple):
    task: CoDistillation
    out: Path
    figures: dict[str, float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folders(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of other numbers of threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An uninterrupted training in which one source is a teacher's own."""
    out = tmp_path_factory.mktemp("whole")
    task = make_task(folder, sharing="generic")
    return Trained(task, out, train(task, replace(SCHEDULE, picture_every=STEPS), out, device="cpu"))


def told_by(task: CoDistillation, items: list[Item]) -> tuple[list[list[torch.Tensor]], list[Seen]]:
    """The loss of every item and teacher, one at a time."""
    seen, found = task.sight.look(items, SIDE), []
    for one in seen:
        layers = task.student(one.turned[None].float() / 255)
        row = []
        for index, statistics in enumerate(task.statistics):
            wanted = statistics.standardized(task.said(task.teachers[index], [one]))
            row.append(distillation_loss(task.student.told(index, layers), wanted)[0])
        found.append(row)
    return found, seen


def test_the_loss_is_that_of_kept_teachers_over_the_batch(folder: Path) -> None:
    task = make_task(folder, sharing="generic", batch=8)
    task.begin(0.0)
    task.eval()
    items = list(task.batch(np.random.default_rng(3)))
    generic = [task.sampler.photos.source_of(item.photo) == 0 for item in items]
    assert len(set(generic)) == 2
    rows, _ = told_by(task, items)
    total = torch.zeros(())
    for item, (vit, rgb), shared in zip(items, rows, generic, strict=True):
        stays = np.random.default_rng([1, item.seed]).random(1)[0] >= 0.5
        if not shared:
            total = total + item.scale * rgb  # the other teacher gets nothing of these
        else:
            worst, other = (vit, rgb) if vit > rgb else (rgb, vit)
            total = total + item.scale * (worst + (other if stays else 0))
    loss, figures = task(items, 0.0)
    torch.testing.assert_close(loss, total / 8)
    stays_of = [2 if np.random.default_rng([1, item.seed]).random(1)[0] >= 0.5 else 1 for item in items]
    kept = sum(count if shared else 1 for count, shared in zip(stays_of, generic, strict=True))
    assert items[0].scale == pytest.approx(8 / kept), "a mean over what is kept"
    assert figures["loss_rgb"] == pytest.approx(float(torch.stack([row[1] for row in rows]).detach().mean()), rel=1e-5)
    vits = [row[0] for row, shared in zip(rows, generic, strict=True) if shared]
    assert figures[f"loss_{TINY_VIT}"] == pytest.approx(float(torch.stack(vits).detach().mean()), rel=1e-5)


def test_statistics_and_losses_of_a_step_are_those_of_all_its_photos_in_whatever_parts(folder: Path) -> None:
    first, second = (make_task(folder, sharing="generic", batch=8) for _ in range(2))
    for task in (first, second):
        task.begin(0.0)
        task.train()
    before = first.statistics[0].patches.mean.clone()
    items = list(first.batch(np.random.default_rng(3)))
    first(items, 0.0)
    assert torch.equal(first.statistics[0].patches.mean, before), "they count from the next step on"
    for part in (items[::2], items[1::2]):
        second(part, 0.0)
    for task in (first, second):
        task.after_step(2 / STEPS)
    assert not torch.equal(first.statistics[0].patches.mean, before)
    torch.testing.assert_close(dict(first.named_buffers()), dict(second.named_buffers()), equal_nan=True)
    assert torch.isfinite(first.losses[2]).all()
    assert torch.isnan(first.losses[3:]).all()


def test_a_projector_that_gets_no_photo_of_a_step_has_no_loss_and_no_statistics(folder: Path) -> None:
    task = make_task(folder, sharing="none", batch=4)
    task.begin(0.0)
    task.train()
    assert task.partly
    photos = task.sampler.photos
    own = [index for index in range(len(photos)) if photos.source_of(index) == 1]
    counts = [int(one.seen) for one in task.all_statistics()]
    loss, figures = task([Item(index, 5, 1.0) for index in own], 0.0)
    loss.backward()
    assert set(figures) == {"loss_rgb"}
    assert all(p.grad is None for p in task.student.projectors[0].parameters())
    assert any(p.grad is not None for p in task.student.projectors[1].parameters())
    task.after_step(0.0)
    assert torch.isnan(task.losses[0, 0])
    assert [int(one.seen) for one in task.all_statistics()] == [*counts[:2], counts[2] + 4 * len(own)]


def test_parameters_on_which_no_teacher_depends_are_frozen(folder: Path) -> None:
    both, colours = make_task(folder), make_task(folder, teachers=[Teacher("rgb", load_encoder("rgb"))])
    for task in (both, colours):
        task.begin(0.0)
        task.train()
        task(list(task.batch(np.random.default_rng(0))), 0.0)[0].backward()
        assert all(parameter.grad is not None for parameter in task.trained())
    assert not both.partly
    start = blank(0)
    assert not any(parameter.requires_grad for parameter in start.network.parameters())


def test_a_student_learns_what_its_teachers_say(folder: Path, tmp_path: Path) -> None:
    task = make_task(folder, augment="flips", outputs=tmp_path / "teachers", steps=30, batch=6)
    schedule = replace(SCHEDULE, steps=30, rate=3e-3, save_every=1e9)
    train(task, schedule, tmp_path / "out", device="cpu")
    for teacher in range(2):
        assert float(task.losses[-6:, teacher].mean()) < 0.75 * float(task.losses[:4, teacher].mean())
    assert len(list((tmp_path / "teachers").rglob("*.safetensors"))) == 2 * (10 + 2)


def test_mirrored_photos_have_mirrored_maps_of_the_one_that_was_seen(folder: Path, tmp_path: Path) -> None:
    task = make_task(folder, augment="flips", outputs=tmp_path)
    task.begin(0.0)
    known = len(list(tmp_path.rglob("*.safetensors")))
    seen = task.sight.look([Item(0, seed, 1.0) for seed in range(20)], SIDE)
    assert {one.mirrored for one in seen} == {True, False}
    upright, turned = (next(one for one in seen if one.mirrored == which) for which in (False, True))
    assert torch.equal(upright.pixels, turned.pixels)
    assert torch.equal(upright.pixels.flip(-1), turned.turned)
    said = task.said(task.teachers[1], [upright, turned])
    assert torch.equal(said.patches[0].flip(1), said.patches[1])
    assert said.patches.shape[1:3] == (2, 2)
    assert len(list(tmp_path.rglob("*.safetensors"))) == known


def test_kept_and_computed_maps_give_the_same_loss(folder: Path, tmp_path: Path) -> None:
    losses = []
    for outputs in (Outputs(tmp_path, keep=0), Outputs(None, keep=0)):
        task = make_task(folder, augment="flips", outputs=outputs, batch=8)
        task.begin(0.0)
        task.eval()
        items = task.batch(np.random.default_rng(0))
        losses.append(float(task(items, 0.0)[0].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    asked = make_task(folder, batch=8).eval()  # at every step, of what the student sees
    asked.statistics, asked.sight = task.statistics, task.sight
    seen = task.sight.look(items, SIDE)
    assert 1 < sum(one.mirrored for one in seen) < 7
    for index, one in enumerate(task.teachers):
        # Colours are mirrored with the photo; what a network says of a mirrored one it need not say mirrored.
        same = [view for view in seen if one.name == "rgb" or not view.mirrored]
        for view in same:
            kept, now = (which.said(which.teachers[index], [view]) for which in (task, asked))
            torch.testing.assert_close(kept.patches, now.patches, rtol=2e-3, atol=2e-3)
    upright = [item for item, one in zip(items, seen, strict=True) if not one.mirrored]
    pair = [float(one(upright, 0.0)[0].detach()) for one in (task, asked)]
    assert pair[0] == pytest.approx(pair[1], rel=1e-3), "half precision"


def test_teachers_and_student_see_the_same_crops_in_other_colours(folder: Path) -> None:
    varied, plain = make_task(folder), make_task(folder, colours=False)
    items = [Item(0, seed, 1.0) for seed in range(12)]
    pairs = list(zip(varied.sight.look(items, SIDE), plain.sight.look(items, SIDE), strict=True))
    changed = [not torch.equal(a.pixels, b.pixels) for a, b in pairs]
    assert 6 < sum(changed) < 12
    assert varied.identity()["colours"] is True
    assert plain.identity()["colours"] is False
    (seen, before) = pairs[changed.index(True)]
    said = varied.said(varied.teachers[1], [seen]).patches[0]
    small = torch.nn.functional.interpolate(seen.turned[None] / 255, (2, 2), mode="bilinear", antialias=True)
    torch.testing.assert_close(said, small[0].permute(1, 2, 0), atol=1e-5, rtol=0)
    assert not torch.allclose(said, plain.said(plain.teachers[1], [before]).patches[0], atol=1e-3)


def test_a_later_stage_shows_larger_photos(folder: Path, tmp_path: Path) -> None:
    task = make_task(folder, stages=("32:2", "64:1"))
    sides: list[int] = []
    forward = task.student.forward

    def watched(pixels: torch.Tensor) -> list[Tokens]:
        if task.training:
            sides.append(pixels.shape[-1])
        return forward(pixels)

    task.student.forward = watched  # type: ignore[method-assign]
    train(task, SCHEDULE, tmp_path, device="cpu")
    assert sides == [32] * 4 + [64] * 2


def interrupt_at(task: CoDistillation, step: int) -> None:
    plain = task.after_step

    def interrupted(progress: float) -> None:
        if round(progress * STEPS) == step:
            raise KeyboardInterrupt
        plain(progress)

    task.after_step = interrupted  # type: ignore[method-assign]


def test_an_interrupted_training_goes_on_with_the_same_losses(folder: Path, tmp_path: Path, whole: Trained) -> None:
    task = make_task(folder, sharing="generic")
    interrupt_at(task, 3)
    schedule = replace(SCHEDULE, picture_every=STEPS)
    with pytest.raises(KeyboardInterrupt):
        train(task, schedule, tmp_path, device="cpu")
    assert torch.isnan(task.losses[3:]).all()
    again = make_task(folder, sharing="generic")
    figures = train(again, schedule, tmp_path, device="cpu")
    torch.testing.assert_close(again.state_dict(), whole.task.state_dict(), rtol=0, atol=0, equal_nan=True)
    assert figures == whole.figures
    assert [json.loads(line)["loss"] for line in (tmp_path / LOG).read_text().splitlines() if "rate" in line] == [
        json.loads(line)["loss"] for line in (whole.out / LOG).read_text().splitlines() if "rate" in line
    ]


def test_interrupted_with_kept_maps_it_goes_on_with_the_same_losses(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"augment": "flips", "stages": ("32:2", "64:1")}
    never = make_task(folder, outputs=tmp_path / "teachers", **options)
    figures = train(never, SCHEDULE, tmp_path / "never", device="cpu")
    task = make_task(folder, outputs=tmp_path / "teachers", **options)
    interrupt_at(task, 3)
    with pytest.raises(KeyboardInterrupt):
        train(task, SCHEDULE, tmp_path / "out", device="cpu")
    torch.testing.assert_close(task.losses[:3], never.losses[:3], rtol=0, atol=0)
    again = make_task(folder, outputs=tmp_path / "teachers", **options)
    assert train(again, SCHEDULE, tmp_path / "out", device="cpu") == figures
    torch.testing.assert_close(again.state_dict(), never.state_dict(), rtol=0, atol=0)


def co_distilled(folder: Path, out: Path, seed: int = 0, photos: Photos | None = None, **options: Any) -> CoDistilled:
    train_photos, held = train_and_held(folder)
    settings = settings_of(augment="flips", batch=2)
    schedule = replace(SCHEDULE, steps=2, seed=seed)
    teachers = two_teachers()
    return co_distil(
        blank(0), teachers, photos or train_photos, out, schedule, settings, validation=held, device="cpu", **options
    )


def test_only_photos_that_will_be_drawn_are_described_and_once_for_all_trainings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.distillation.co.ahead.FIRST", 2)
    described: Counter[str] = Counter()
    plain = Teacher.describe

    def counted(teacher: Teacher, pixels: torch.Tensor) -> Tokens:
        described.update(f"{teacher.name} {digest_of(one)}" for one in pixels)
        return plain(teacher, pixels)

    monkeypatch.setattr(Teacher, "describe", counted)
    outputs, (photos, held) = Outputs(tmp_path / "teachers"), train_and_held(folder)
    settings, schedule = settings_of(augment="flips", batch=2), replace(SCHEDULE, steps=2, seed=1)
    prepare_outputs(blank(0), two_teachers(), photos, schedule, settings, validation=held, outputs=outputs)
    task = make_task(folder, augment="flips", batch=2, steps=2, seed=1, outputs=outputs)
    drawn = {item.photo for step in range(2) for item in task.batch(draws_of(1, step)[0])} | set(task.sampler.evenly(2))
    assert 2 < len(drawn) < 8
    assert len(described) == 2 * (len(drawn) + 2), "and two photos for validation"
    needs = task.needs()
    assert needs.photos == len(drawn)
    assert needs.disk == 2 * (2 * 2 + 1) * (64 + 3) * (len(drawn) + 2)
    assert needs.memory == needs.disk + (len(drawn) + 2) * 3 * 32 * 32, "shrunk photos are kept"
    done = [co_distilled(folder, tmp_path / f"{seed}", seed, photos, outputs=outputs) for seed in (1, 1, 2)]
    assert set(described.values()) == {1}
    files = list((tmp_path / "teachers").rglob("*.safetensors"))
    assert len(files) == len(described) < 2 * (10 + 2)
    assert done[0].figures != done[2].figures
    assert load_encoder(f"distilled:{done[2].encoder}", device="cpu").dimension == 64
    # Given again in the same folder, a finished training is not trained again.
    times = (done[0].encoder.parent / CHECKPOINT).stat().st_mtime_ns
    again = co_distilled(folder, tmp_path / "1", 1, outputs=tmp_path / "teachers", keep=["rgb"], scratch=True)
    assert (again.encoder.parent / CHECKPOINT).stat().st_mtime_ns == times
    assert again.figures == done[0].figures
    assert set(described.values()) == {1}
    assert load_encoder(f"distilled:{again.encoder}@rgb", device="cpu").dimension == 3
    np.testing.assert_array_equal(np.load(again.losses)["losses"], again.task.losses.numpy())


def test_photos_that_did_not_change_are_not_opened_to_find_out_what_there_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    plain = Photos.read

    def counted(photos: Photos, index: int) -> np.ndarray:
        opened.append(photos.photo(index).name)
        return plain(photos, index)

    own = Path(shutil.copytree(folder, tmp_path / "photos"))
    settings, schedule = settings_of(augment="flips", batch=8), replace(SCHEDULE, steps=20)

    def describe() -> list[str]:
        opened.clear()
        photos, held = train_and_held(own)
        outputs = tmp_path / "teachers"
        prepare_outputs(blank(0), two_teachers(), photos, schedule, settings, validation=held, outputs=outputs)
        return sorted(opened)

    monkeypatch.setattr(Photos, "read", counted)
    assert len(describe()) >= 12
    assert describe() == []
    os.utime(own / "wide" / "2.png", (1, 1))
    known = tmp_path / "teachers" / "seen.jsonl"
    *lines, last = known.read_text().splitlines()
    known.write_text("\n".join([*lines, last[:20], ""]))  # the disk was full
    assert describe()[0] == "2.png"
    assert len(opened) == 2
    assert describe() == []
    assert len(list((tmp_path / "teachers").rglob("*.safetensors"))) == 2 * 12


def test_what_teachers_say_of_photos_for_validation_is_kept_with_crops_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_task(folder, outputs=tmp_path)
    first.describe_ahead()
    figures = first.validate()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 * 2
    assert first.needs().photos == 0
    assert first.needs().disk == 2 * 2 * (2 * 2 + 1) * (64 + 3)
    again = make_task(folder, outputs=tmp_path)
    monkeypatch.setattr(Teacher, "describe", None)
    again.describe_ahead()
    assert again.validate() == figures


def test_how_long_teachers_take_is_told_by_a_photo_of_each(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.distillation.co.ahead._seconds", lambda teacher, _: 2.0 if teacher.side else 0.5)
    task = make_task(folder, sharing="generic", batch=8)
    assert task.pace() == (2 * (2.0 + 0.5), 8 * (0.5 * 2.0 + 0.5)), "the larger one teaches generic photos alone"
    once = make_task(folder, augment="flips", outputs=tmp_path, steps=50)
    assert once.pace() == (12 * 2.5, 0.0)


def test_in_half_precision_losses_are_nearly_those_of_full_precision(
    folder: Path, tmp_path: Path, whole: Trained
) -> None:
    task = make_task(folder, sharing="generic")
    figures = train(task, replace(SCHEDULE, precision="bf16"), tmp_path, device="cpu")
    assert all(parameter.dtype == torch.float32 for parameter in task.parameters())
    assert not torch.equal(task.losses, whole.task.losses)
    torch.testing.assert_close(task.losses, whole.task.losses, rtol=0.05, atol=0, equal_nan=True)
    assert figures == pytest.approx(whole.figures, rel=0.05, abs=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("augment", ["crops", "flips"])
def test_on_cuda_a_student_learns_nearly_the_same(augment: str, folder: Path, tmp_path: Path) -> None:
    cuda, losses = torch.device("cuda"), []
    for device in (torch.device("cpu"), cuda):
        teachers = [
            Teacher(TINY_VIT, make_blank(TINY_VIT, device, seed=1), side=48),
            Teacher("rgb", load_encoder("rgb", device=device)),
        ]
        outputs = tmp_path / device.type / "teachers" if augment == "flips" else None
        student = make_blank(TINY_VIT, device, seed=0)
        task = make_task(folder, augment=augment, teachers=teachers, student=student, outputs=outputs)
        figures = train(task, SCHEDULE, tmp_path / device.type, device=device)
        assert all(np.isfinite(value) for value in figures.values())
        losses.append(task.losses.cpu())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=1e-3)
    again = make_task(folder, augment=augment, teachers=teachers, student=student, outputs=outputs)
    train(again, replace(SCHEDULE, precision="auto"), tmp_path / "auto", device=cuda)
    torch.testing.assert_close(again.losses.cpu(), losses[1], rtol=0.1, atol=0.01)


def test_other_settings_are_another_training(folder: Path, whole: Trained) -> None:
    with pytest.raises(InputError, match="belongs to another training: expected sharing full"):
        train(make_task(folder), replace(SCHEDULE, picture_every=STEPS), whole.out, device="cpu")


def test_validation_says_how_close_the_student_is_to_each_teacher(whole: Trained) -> None:
    task = whole.task
    assert task.held is not None
    assert set(whole.figures) == {f"{kind}_{name}" for kind in ("loss", "cosine") for name in (TINY_VIT, "rgb")}
    compared = list(task.held.compared(task.student, task.statistics))
    assert len(compared) == 2
    cosine = [
        torch.nn.functional.cosine_similarity(c.told[1].patches, c.wanted[1].patches, -1).mean() for c in compared
    ]
    assert whole.figures["cosine_rgb"] == pytest.approx(float(torch.stack(cosine).mean()))
    image = torch.from_numpy(compared[0].image).float() / 255
    colours = image.reshape(2, 16, -1, 16, 3).mean((1, 3))
    raw = compared[0].wanted[1].patches[0] * task.statistics[1].patches.deviation + task.statistics[1].patches.mean
    torch.testing.assert_close(raw.float(), colours, atol=0.1, rtol=0)
    task.statistics[1].patches.mean.add_(1)
    moved = task.validate()
    task.statistics[1].patches.mean.sub_(1)
    assert moved["cosine_rgb"] != whole.figures["cosine_rgb"]
    assert moved[f"loss_{TINY_VIT}"] == whole.figures[f"loss_{TINY_VIT}"]


def test_pictures_show_photo_teachers_projectors_and_student(whole: Trained) -> None:
    found = sorted(path.name for path in (whole.out / "pictures").iterdir())
    assert found == ["panels-000000.png", "panels-000006.png"]
    sheet = np.asarray(Image.open(whole.out / "pictures" / found[1]))
    assert sheet.shape[0] == 2 * (240 + 4)
    assert sheet.shape[1] >= 6 * 180


def test_the_analyses_are_of_teachers_and_projectors(whole: Trained) -> None:
    found = analyse(whole.task)
    assert [len(curve) for curves in found.explained for curve in curves] == [64, 64, 3, 3]
    for curves in found.explained:
        for curve in curves:
            assert (np.diff(curve) >= -1e-9).all()
            assert curve[-1] == pytest.approx(1)
    said = json.loads(json.dumps(found.as_json()))
    assert said["loss_correlations"][0]["teachers"] == [TINY_VIT, "rgb"]
    assert said["explained_variance"]["rgb"]["teacher"]["components_for_90_percent"] <= 3


def test_the_file_gives_the_student_and_what_it_says_for_a_teacher(whole: Trained, tmp_path: Path) -> None:
    task = whole.task
    path = export(task, tmp_path, keep=["rgb"], start=task.student.encoder)
    student, image = load_encoder(f"distilled:{path}", device="cpu"), photo(2, 32, 48)
    pixels = task.student.encoder.pixels(image)[None]
    with torch.no_grad():
        layers = task.student(pixels)
        told = task.student.told(1, layers).patches[0]
    torch.testing.assert_close(student.encode(image), layers[-1].patches[0])
    moments = task.statistics[1].patches
    expected = told * moments.deviation.float() + moments.mean.float()
    torch.testing.assert_close(load_encoder(f"distilled:{path}@rgb", device="cpu").encode(image), expected)
    with pytest.raises(InputError, match="no projector of 'sam' to keep"):
        export(task, tmp_path, keep=["sam"])


@pytest.mark.parametrize("projector", ["ladder", "simple"])
def test_students_learn_through_perceptrons_too(projector: str, folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"projector": projector, "sharing": "generic", "steps": 12}
    task, schedule = make_task(folder, **options), replace(SCHEDULE, steps=12, rate=3e-3, save_every=1e9)
    figures = train(task, schedule, tmp_path, device="cpu")
    assert len(task.student.projectors[0].hidden) == {"ladder": 4, "simple": 1}[projector]
    for teacher in range(2):
        assert float(task.losses[-3:, teacher].nanmean()) < 0.9 * float(task.losses[:3, teacher].nanmean())
    path = export(task, tmp_path, keep=["rgb"])
    assert task.held is not None
    (one, _) = task.held.compared(task.student, task.statistics)
    torch.testing.assert_close(load_encoder(f"distilled:{path}", device="cpu").encode(one.image), one.student)
    moments = task.statistics[1].patches
    expected = one.told[1].patches[0] * moments.deviation.float() + moments.mean.float()
    found = load_encoder(f"distilled:{path}@rgb", device="cpu").encode(one.image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert task.validate() == figures


def test_attention_on_a_cpu_is_fused_in_full_precision_and_spelled_out_in_half(folder: Path) -> None:
    student = make_task(folder).student
    modules = [one for one in student.network.modules() if hasattr(one, "fused_attn")]
    assert len(modules) == 6
    with torch.no_grad():
        full = student(torch.zeros(1, 3, 32, 32))[0].patches
        assert all(one.fused_attn for one in modules)
        with torch.autocast("cpu", torch.bfloat16):
            half = student(torch.zeros(1, 3, 32, 32))[0].patches
        assert not any(one.fused_attn for one in modules)
        assert torch.equal(student(torch.zeros(1, 3, 32, 32))[0].patches, full)
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)


# The command.

FLIPS = ("--keep", "rgb", "--augment", "flips", "--projector", "ladder", "--rungs", "2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(blank(1).network.state_dict(), path)
    return path


def command(folder: Path, weights: Path, out: Path, *more: str) -> list[str]:
    named = ["--teachers", TINY_VIT, "rgb", "--teacher-weights", f"{TINY_VIT}={weights}"]
    named += ["--data", f"generic={folder / 'wide'}", f"rgb={folder / 'tall'}", "--sharing", "generic"]
    named += ["--student", TINY_VIT, "--scratch", "--stages", "32", "--steps", "5", "--batch", "4", "--rate", "1e-3"]
    return ["distill", "co", *named, "--device", "cpu", "--precision", "no", "--out", str(out), *more]


@pytest.fixture(scope="module")
def commanded(folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("commanded")
    assert main(command(folder, weights, out, *FLIPS)) == 0
    return out


def test_the_command_writes_a_student_losses_analyses_and_pictures(commanded: Path) -> None:
    assert {path.name for path in commanded.iterdir()} == {
        *("checkpoint.pt", "log.jsonl", "tensorboard", "pictures", "encoder.safetensors", "losses.npz"),
        *("analyses.json", "explained-variance.png", "panels.png", "loss-correlation.png", "teachers"),
    }
    losses = np.load(commanded / "losses.npz")
    assert losses["losses"].shape == (5, 2)
    assert list(losses["teachers"]) == [TINY_VIT, "rgb"]
    assert np.isfinite(losses["losses"][:, 1]).all()
    said = json.loads((commanded / "analyses.json").read_text())
    assert set(said) == {"explained_variance", "loss_correlations", "validation"}
    for name in ("explained-variance", "panels", "loss-correlation"):
        picture = np.asarray(Image.open(commanded / f"{name}.png"))
        assert picture.shape[2] == 3
        assert picture.std() > 5
    encoder = load_encoder(f"distilled:{commanded / 'encoder.safetensors'}@rgb", device="cpu")
    assert encoder.dimension == 3
    assert encoder.licence == "Apache-2.0"


LATER = ("--teacher-weights", f"{TINY_VIT}=nowhere.pt")  # would be refused, when teachers are loaded


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--teachers", "tiny-dinosaur"], "tiny-dinosaur"),
        (["--teachers", "rgb", "rgb"], "each once; found rgb, rgb"),
        (["--data", "generic=nowhere"], "Expected a folder of photos or scenes at nowhere"),
        (["--data", "sam=."], "names 'sam', which is no teacher"),
        (["--data", "here"], "NAME=FOLDER"),
        (["--sharing", "none", "--data", "rgb=."], "gets no photos"),
        (["--keep", "sam"], "no projector of 'sam' to keep"),
        (["--student", "rgb"], "cannot be made without its weights"),
        (["--weights", "some.pt"], "from scratch takes no weights"),
        (["--stages", "40:1"], "choose a multiple, such as 32"),
        (["--teacher-sides", "sam=64"], "--teacher-sides NAME=SIDE"),
        (["--teacher-weights", f"{TINY_VIT}=nowhere.pt"], "There is no file of weights at nowhere.pt"),
        (["--steps", "0"], "steps to be 1 or more, found 0"),
        (["--photos", "0"], "--photos"),
        (["--crop-scale", "2"], "from above 0 to 1 of a photo, found 2"),
        (["--crop-scale", "0.5", "--augment", "flips"], "have no crops, found a crop scale"),
        (["--plain-colours", "--augment", "flips"], "--plain-colours is for --augment crops, found flips"),
        (["--augmentation", "policy"], "found no file policy"),
        (["--augmentation", "trivial-ra", "--plain-colours"], "takes the place of colours that vary"),
        (["--augmentation", "trivial-ra", "--augment", "flips"], "have no crops, found another augmentation"),
        (["--rungs", "2"], "A ladder has rungs, found 2 of a transformer projector"),
        (["--teacher-weights", f"{TINY_VIT}=nowhere.pt", "--warmup", "2"], "a warmup between 0 and 1"),
        (["--teacher-weights", f"{TINY_VIT}=nowhere.pt", "--rate", "inf"], "Expected a rate and a clip above 0"),
        (["--teacher-weights", f"{TINY_VIT}=nowhere.pt", "--stages", "40"], "choose a multiple, such as 32"),
        ([*LATER, "--projector", "ladder", "--rungs", "9"], "has 6 blocks"),
        ([*LATER, "--batch", "3", "--accumulate", "2"], "choose a multiple of 2"),
        ([*LATER, "--precision", "fp16"], "(fp16) needs CUDA"),
        ([*LATER, "--teacher-sides", "rgb=far"], "given in pixels, found 'far'"),
        (["--teacher-sides", f"{TINY_VIT}=4"], "patches of 16 pixels, found a side of 4"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    options: list[str], complaint: str, folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, weights, tmp_path / "out", *options)) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_a_teacher_lacks_is_said_with_the_teachers_option(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplift.encoders.tiny.importlib.resources.files", lambda _: tmp_path)
    arguments = ["--teachers", "tiny-depth", "--teacher-weights", "--data", f"generic={folder}", "--sharing", "full"]
    assert main(command(folder, weights, tmp_path / "out", *arguments)) == 2
    assert "give the file with --teacher-weights tiny-depth=FILE." in capsys.readouterr().err


def test_a_folder_of_another_training_is_refused(
    folder: Path, weights: Path, commanded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, weights, commanded, *FLIPS, "--drop", "0.25", *LATER)) == 2
    assert "belongs to another training: expected drop 0.25, found drop 0.5" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_as_one_does(folder: Path, weights: Path, commanded: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    arguments = [sys.executable, *LAUNCH, "-m", "app", *command(folder, weights, tmp_path, *FLIPS)]
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("student: ") == 1, "one of the two speaks"
    assert "beside the networks, in each of 2 processes" in done.stdout
    assert "time: teachers describe these in about 0." in done.stdout
    losses = [np.load(out / "losses.npz")["losses"] for out in (tmp_path, commanded)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    states = [torch.load(out / "checkpoint.pt", weights_only=True)["task"] for out in (tmp_path, commanded)]
    moments = [{k: v for k, v in state.items() if k.startswith("statistics.")} for state in states]
    torch.testing.assert_close(moments[0], moments[1], rtol=1e-5, atol=1e-8)
    students = [
        load_encoder(f"distilled:{out / 'encoder.safetensors'}@rgb", device="cpu") for out in (tmp_path, commanded)
    ]
    torch.testing.assert_close(*(one.encode(photo(0, 32, 48)) for one in students), rtol=1e-3, atol=1e-4)
