"""Parts of ``fit3d reproduce``: statistics, jobs, features, targets that are kept."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.reproduction_tables import tables_of
from render.errors import InputError
from render.progress import Progress
from tests.test_probing_data import camvid
from tests.tiny_models import tiny_vit_file
from tests.tuned import encoder_of, two_scenes
from training.finetuning.scenes import TunedScenes
from training.finetuning.targets import make_targets
from training.probing import ProbePhoto
from training.probing.kept import KeptMaps, beside, describe_photos, stacked
from training.probing.scores import Scores
from training.probing.statistics import fallen, joined, larger
from training.reproduction.fit3d.ablations import ablation_rows
from training.reproduction.fit3d.data import elsewhere
from training.reproduction.fit3d.lifting import lifted
from training.reproduction.fit3d.measuring import missing_seeds
from training.reproduction.fit3d.places import Places
from training.reproduction.fit3d.plan import Plan, main_rows
from training.reproduction.fit3d.results import Claim, Found, RowFound
from training.reproduction.fit3d.tuning import KeptTargets
from training.reproduction.jobs import Job, run_jobs
from training.scenes import open_scenes


def write(path: Path, text: str, *, progress: Progress) -> None:
    progress(1, 1, "writing")
    path.write_text(text)


def refuse(*, progress: Progress) -> None:
    raise InputError("This cannot be done.")


def fail(*, progress: Progress) -> None:
    raise OSError("the disk is full")


def die(*, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_constant_gap_is_as_large_with_any_rooms_and_seeds() -> None:
    b = np.random.default_rng(0).random((3, 20))
    found = larger(b + 0.25, b)
    for interval in (found.over_groups, found.over_seeds):
        assert interval.low == pytest.approx(0.25)
        assert interval.mean == pytest.approx(0.25)
        assert interval.high == pytest.approx(0.25)


def test_the_interval_over_rooms_is_that_of_their_mean() -> None:
    """Of many rooms the bootstrap gives the mean and 1.96 standard errors of it."""
    gaps = np.random.default_rng(0).normal(0.3, 1.0, 400)
    noise = np.random.default_rng(1).normal(0, 1.0, (3, 1))
    found = larger(np.tile(gaps, (3, 1)) + noise, np.zeros((3, 400)) + noise).over_groups
    error = gaps.std() / np.sqrt(400)
    assert found.mean == pytest.approx(gaps.mean())
    assert found.low == pytest.approx(gaps.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(gaps.mean() + 1.96 * error, abs=0.15 * error)


def test_a_figure_falls_by_part_of_itself_whatever_its_scale() -> None:
    before = np.random.default_rng(0).uniform(0.2, 0.6, (2, 10))
    for scale in (1.0, 100.0):
        found = fallen(0.7 * scale * before, scale * before)
        for interval in (found.over_groups, found.over_seeds):
            assert interval.mean == pytest.approx(0.3)
            assert interval.low == pytest.approx(0.3)
    assert fallen(before[:, :1], before[:, :1]).over_groups.low is None
    assert fallen(before[:1], before[:1]).over_seeds.low is None


def scores(seed: float, groups: tuple[str, ...] = ("a", "b")) -> Scores:
    # Two classes in each group: right, wrong, missed.
    sums = np.array([[[[50 + seed, 40], [10, 10 - seed], [10 - seed, 10]]] * len(groups)], float).reshape(1, -1, 3, 2)
    return Scores("segmentation", ("wall", "floor"), groups, sums)


def miou(seed: float) -> float:
    return float(scores(seed).figures()["miou"][0, 0])


def test_seeds_that_were_measured_alone_are_those_of_a_row() -> None:
    both = joined([scores(0), scores(5)])
    np.testing.assert_allclose(both.figures()["miou"][0], [miou(0), miou(5)])
    with pytest.raises(InputError, match="same task and photos"):
        joined([scores(0), scores(0, ("a", "c"))])


def test_a_claim_is_met_where_the_mean_is_as_large_as_asked() -> None:
    rows = {row.name: row for row in main_rows(Plan())}
    views = np.full((2, 2), 0.4)

    def row(name: str, gain: float, fall: float) -> RowFound:
        inconsistency = views * (1 - fall)
        return RowFound(
            rows[name], {"segmentation": joined([scores(gain), scores(gain)])}, inconsistency, inconsistency
        )

    found = [row("original", 0, 0), row("twice", 0, 0), row("fine-tuned", 5, 0.3), row("blurred", 5, 0.1)]
    claims: list[Claim] = Found(Plan(), (0, 1), {("tiny-dino", "rooms"): found}).claims("tiny-dino")
    assert [claim.met for claim in claims] == [True, False, True]
    assert claims[0].found.over_groups.mean == pytest.approx(miou(5) - miou(0))
    assert claims[1].found.over_groups.mean == 0


@pytest.mark.parametrize(
    ("gaps", "met"),
    [
        ([[0.01, 0.03], [0.02, 0.02], [0.03, 0.01]], True),
        ([[0.0, 0.0], [0.02, 0.02], [0.05, 0.05]], False),  # other seeds would give another sign
        ([[-0.02, 0.06], [-0.02, 0.06], [-0.02, 0.06]], False),  # other rooms would
        ([[0.001, 0.001], [0.001, 0.001], [0.001, 0.001]], False),  # sure, but too small
        ([[0.02, 0.02]], False),  # of one seed nothing is known
    ],
)
def test_a_claim_needs_an_interval_above_zero_over_seeds_and_over_rooms(gaps: list[list[float]], met: bool) -> None:
    assert Claim("larger", 0.005, larger(np.array(gaps), np.zeros_like(gaps))).met == met


def test_tables_show_both_intervals_and_both_inconsistencies() -> None:
    rows = {row.name: row for row in main_rows(Plan())}

    def row(name: str, gain: float, alone: float, assembled: float) -> RowFound:
        both = joined([scores(gain), scores(2 * gain)])
        return RowFound(rows[name], {"segmentation": both}, np.full((2, 2), alone), np.full((2, 2), assembled))

    found = [row("original", 0, 0.4, 0.4), row("twice", 0, 0.4, 0.4)]
    found += [row("fine-tuned", 4, 0.2, 0.3), row("blurred", 1, 0.35, 0.375)]
    main, gaps, claims = tables_of(Found(Plan(), (0, 1), {("tiny-dino", "rooms"): found}))
    titles = ["inconsistency, alone", "inconsistency, assembled"]
    assert list(main.columns) == ["features", "mIoU, percent", "mAcc, percent", "aAcc, percent", *titles]
    assert [cell.split()[0] for cell in main.rows[2][-2:]] == ["0.200", "0.300"]
    assert gaps.rows[0][-2:] == ["-0.200 [-0.200, -0.200] ± 0.000", "-0.100 [-0.100, -0.100] ± 0.000"]
    gap = np.mean([miou(4), miou(8)]) - miou(0)
    half = 12.7062 * abs(miou(8) - miou(4)) / 2  # Student's, of two values
    assert gaps.rows[0][1] == f"{100 * gap:+.2f} [{100 * gap:+.2f}, {100 * gap:+.2f}] ± {100 * half:.2f}"
    assert "alone" in claims.rows[2][0]
    assert [row[-1] for row in claims.rows] == ["no", "no", "yes"]


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_are_done_and_say_what_they_do(processes: int, tmp_path: Path) -> None:
    said: list[tuple[int, int, str]] = []
    jobs = [Job(name, write, (tmp_path / name, name)) for name in ("one", "two", "three")]
    run_jobs(jobs, processes, lambda *what: said.append(what))
    assert sorted(said) == [(1, 1, f"{name}: writing") for name in ("one", "three", "two")]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("run", "error", "said"),
    [
        (refuse, InputError, "This cannot be done"),
        (fail, ChildProcessError, "bad failed: OSError: the disk is full"),
        (die, ChildProcessError, "bad ended with exit code -9"),
    ],
)
def test_a_job_that_fails_ends_all_with_its_cause(run: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        run_jobs([Job("bad", run)], 2)


def photos_of(folder: Path) -> list[ProbePhoto]:
    return [
        ProbePhoto(view.name, scene.path.name, view.image) for scene in open_scenes([folder]) for view in scene.views
    ]


def test_features_in_batches_are_those_of_single_photos(tmp_path: Path) -> None:
    encoder = encoder_of(tiny_vit_file(tmp_path)[1])
    random = np.random.default_rng(0)

    def photo(name: str, h: int, w: int) -> ProbePhoto:
        image = random.integers(256, size=(h, w, 3), dtype=np.uint8)
        return ProbePhoto(name, "group", lambda: image)

    photos = [photo("a", 64, 96), photo("b", 64, 96), photo("c", 96, 64), photo("odd", 70, 90)]
    source = KeptMaps("kept", describe_photos(encoder, photos))
    for one in photos:
        described, cls = source.describe(one), encoder.encode_global(one.image())
        torch.testing.assert_close(described.patches, encoder.encode(one.image()), atol=2e-3, rtol=2e-3)
        assert cls is not None
        torch.testing.assert_close(described.whole, cls, atol=2e-3, rtol=2e-3)
    with pytest.raises(InputError, match="no features of other"):
        source.describe(ProbePhoto("other", "group", photos[0].image))


def test_lifted_features_are_what_the_matrix_of_a_room_makes_of_them(tmp_path: Path) -> None:
    folder, encoder = two_scenes(tmp_path / "scenes"), encoder_of(tiny_vit_file(tmp_path)[1])
    maps, scenes = describe_photos(encoder, photos_of(folder)), TunedScenes(open_scenes([folder]), encoder)
    carried = lifted(maps, scenes)
    names = [view.name for view in scenes.scenes[1].views]
    expected = scenes.transport(1).apply(stacked(maps, "second", names))
    torch.testing.assert_close(stacked(carried, "second", names), expected, atol=2e-3, rtol=2e-3)
    both = beside(maps, carried)
    assert both["first", names[0]].patches.shape[-1] == 2 * encoder.dimension


def test_targets_that_are_kept_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, encoder = two_scenes(tmp_path / "scenes"), encoder_of(tiny_vit_file(tmp_path)[1])
    inner = make_targets("lifted", TunedScenes(open_scenes([folder]), encoder))
    targets = KeptTargets(inner)
    targets.prepare(lambda pixels: encoder.tokens(pixels).patches)
    expected = inner.of(0, 1)
    first = targets.of(0, 1)
    torch.testing.assert_close(first.features, expected.features, atol=2e-3, rtol=2e-3)
    assert torch.equal(first.mask, expected.mask)
    monkeypatch.setattr(inner, "of", None)
    assert torch.equal(targets.of(0, 1).features, first.features)


def test_data_that_are_not_there_are_left_out_and_damaged_ones_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found neither"):
        elsewhere(tmp_path)
    camvid(tmp_path / "data" / "camvid")
    found, missing = elsewhere(tmp_path)
    assert [(one.name, one.folder) for one in found] == [("camvid", (tmp_path / "data" / "camvid").resolve())]
    assert missing == [f"rgbd_kitchen is left out: expected {tmp_path / 'data' / 'rgbd_kitchen'}."]
    (tmp_path / "data" / "rgbd_kitchen").mkdir()
    with pytest.raises(InputError, match=r"transforms\.json"):
        elsewhere(tmp_path)


def test_figures_of_other_photos_of_the_same_names_are_not_mixed(tmp_path: Path) -> None:
    folder, apart = tmp_path / "data" / "camvid", tmp_path / "apart"
    camvid(folder)
    (folder / "test").rename(apart)
    (folder / "test").symlink_to(apart, target_is_directory=True)
    places, row = Places(tmp_path / "out", Plan()), main_rows(Plan())[0]
    (data,), _ = elsewhere(tmp_path)
    places.store(row.tuning, data.digest).put("measured/tiny-dino/camvid/original/0", {})
    (folder / ".DS_Store").write_text("of a file manager")
    (same,), _ = elsewhere(tmp_path)
    assert missing_seeds(places, "tiny-dino", same, row, [0, 1]) == [1]
    shutil.copy(folder / "train" / "a.jpg", apart / "a.jpg")
    (other,), _ = elsewhere(tmp_path)
    with pytest.raises(InputError, match=r"other settings \(data\); give another folder, or delete"):
        missing_seeds(places, "tiny-dino", other, row, [0])


def test_a_plan_refuses_what_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="test rooms from 2, found 1"):
        Plan(test_rooms=1)
    with pytest.raises(InputError, match="rate above 0"):
        Plan(rate=0.0)
    assert Plan().learned_epochs * 12 == 120


def test_settings_of_the_ablations_leave_other_figures_as_they_are(tmp_path: Path) -> None:
    plan = Plan()
    rows = [row for table in ablation_rows(plan).values() for row in table]
    for row in rows:
        Places(tmp_path, plan).store(row.tuning).put(row.name, {})
    for change, refused in (
        ({"learned_steps": 3000}, {"learned-32", "learned-64", "learned-128", "lifted-fitted"}),
        ({"learned_rooms": 20}, {"learned-32", "learned-64", "learned-128", "lifted-fitted", "lifted-few"}),
        ({"rate": 1e-5}, {row.name for row in rows}),
    ):
        other = Places(tmp_path, replace(plan, **change))
        for row in rows:
            if row.name in refused:
                with pytest.raises(InputError, match=f"other settings .*{next(iter(change))}"):
                    other.store(row.tuning).get(row.name)
            else:
                assert other.store(row.tuning).get(row.name) == {}
    tuned = next(row for row in rows if row.name == "fine-tuned")
    assert tuned.tuning is not None
    with pytest.raises(InputError, match=r"other settings \(tuning\)"):
        Places(tmp_path, plan).store(replace(tuned.tuning, refresh="once")).get(tuned.name)


def test_figures_of_another_precision_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(tmp_path, Plan())
    places.store().put("task", {})
    other = {"bf16": "no", "no": "bf16"}[Plan().precision]
    monkeypatch.setattr("training.loop.processes.resolve_precision", lambda *_: other)
    with pytest.raises(InputError, match=r"other settings \(precision\)"):
        places.store().get("task")
