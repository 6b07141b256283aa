"""``fit3d augment search`` and ``fit3d augment evaluate``, and what an evaluation says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from app.commands.augment_evaluate import AugmentEvaluate
from app.main import BAD_INPUT, OK, main
from tests.test_slack_search import _quick_collections as _quick_collections
from tests.turned import bar, bars, tiny_net
from training.augmentation import Augmentation, Policy, load_policy, save_policy
from training.augmentation.defaults import TrivialWithDefaults
from training.augmentation.evaluation import Contender, Evaluation, Outcome
from training.augmentation.learning import LEARNING, LearningNumbers

COMMON = ("--network", "wrn-10-1", "--batch", "8", "--device", "cpu", "--threads", "1", "--precision", "no")
SHORT = (*COMMON, "--epochs", "1", "--rounds", "1", "--retrain", "1", "--unrolled", "1", "--augmentations", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars as arrays."""
    folder = tmp_path_factory.mktemp("bars")
    for split, first, count in (("train", 0, 32), ("test", 100, 12)):
        labels = np.arange(count) % 3
        images = np.stack([bar("oriented", int(label), first + i, held=False) for i, label in enumerate(labels)])
        classes = np.array(["flat", "rising", "falling"])
        np.savez(folder / f"{split}.npz", images=images, labels=labels, classes=classes)
    return folder


@pytest.fixture(scope="module")
def searched(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search."""
    out = tmp_path_factory.mktemp("search")
    assert main(["augment", "search", str(data), "--out", str(out), "--upper-rate", "50", *SHORT]) == OK
    return out


def test_a_search_writes_a_policy_and_pictures(searched: Path) -> None:
    saved = load_policy(searched / "policy.safetensors")
    assert (saved.policy.steps, len(saved.policy.names)) == (3, 17)
    assert float(saved.policy.logits.detach().abs().max()) > 0
    assert saved.found["data"].startswith("bars")
    assert saved.found["network"] == "wrn-10-1"
    assert {"pie.png", "evolution.png", "samples.png"} <= {path.name for path in searched.iterdir()}


def test_a_search_that_is_done_is_not_done_again_and_other_numbers_are_refused(
    data: Path, searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (searched / "round-01" / "checkpoint.pt").stat().st_mtime_ns
    given = ["augment", "search", str(data), "--out", str(searched), *SHORT]
    assert main([*given, "--upper-rate", "50"]) == OK
    assert (searched / "round-01" / "checkpoint.pt").stat().st_mtime_ns == before
    capsys.readouterr()
    assert main([*given, "--upper-rate", "60"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "belongs to another training" in said
    assert "numbers.upper_rate 60.0, numbers.anchor" in said, "a weaker pull for a faster policy, and nothing else"


def test_photos_of_one_class_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        arrays = dict(np.load(data / f"{split}.npz"))
        np.savez(tmp_path / f"{split}.npz", **{**arrays, "labels": np.ones_like(arrays["labels"])})
    assert main(["augment", "search", str(tmp_path), "--out", str(tmp_path / "out"), *SHORT]) == BAD_INPUT
    assert f"two classes or more to learn from in {tmp_path.name}, found only rising" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--held", "1"], "Expected --held above 0 and below 1"),
        (["--network", "wrn-11-1"], "Expected the depth of a WideResNet"),
        (["--batch", "64"], "A batch of 64 needs as many photos"),
        (["--variant", "no-kl", "--anchor", "1"], "--anchor would have no effect"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--rounds", "0"], "--rounds must be a number greater than 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    options: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["augment", "search", str(data), "--out", str(tmp_path / "out"), *COMMON, *options]) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_evaluation_compares_lines_with_the_first(
    data: Path, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = searched / "policy.safetensors"
    lines = ["trivial-wide-cifar", f"found={file},{file}"]
    given = ["augment", "evaluate", str(data), "--out", str(tmp_path), "--policies", *lines, "--runs", "1"]
    assert main([*given, *COMMON, "--epochs", "0.5"]) == OK
    assert "4 trainings" in capsys.readouterr().out
    told = json.loads((tmp_path / "results.json").read_text())
    assert list(told["lines"]) == ["trivial-wide-cifar", "found"]
    assert [len(line["accuracies"]) for line in told["lines"].values()] == [2, 2]
    assert set(told["gains"]) == {"found"}
    assert "| found | 2 | 2 |" in (tmp_path / "results.md").read_text()
    assert len(list(tmp_path.glob("found/seed-*/measured.json"))) == 2
    # What is there is neither trained nor measured again.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed-*/measured.json")}
    assert main([*given, *COMMON, "--epochs", "0.5"]) == OK
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((tmp_path / "results.json").read_text()) == told


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (["uniform", "uniform"], "Expected --policies with different names"),
        (["trivial-narrow"], "the file of a policy or NAME=FILE,..., found no file trivial-narrow"),
        (["found=missing.safetensors"], "found no file missing.safetensors"),
        (["../../found=missing.safetensors"], "found no file ../../found=missing.safetensors"),
        (["runs/rate=0.1/policy.safetensors"], "found no file runs/rate=0.1/policy.safetensors"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(
    policies: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["augment", "evaluate", str(data), "--out", str(tmp_path / "out"), "--policies", *policies, *COMMON]
    assert main(given) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_lines_are_named_inside_the_folder_of_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rate=1/policy", "x=policy", "inner/here"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_policy(tmp_path / name, Policy.uniform(("Rotate", "Invert")))
    monkeypatch.chdir(tmp_path / "inner")
    evaluation = AugmentEvaluate(data=tmp_path, out=tmp_path / "out")
    given = {"../x=policy": "..-x=policy", "../rate=1/policy": "rate=1-policy", "here": "here", "one=here,here": "one"}
    assert {text: evaluation._line(text).name for text in given} == given
    monkeypatch.chdir(tmp_path)
    assert evaluation._line("x=policy").name == "x=policy", "what is a file is no name of one"


def test_evaluations_of_one_seed_are_paired() -> None:
    easy = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1.0]])
    hard = Outcome("hard", ("a", "b"), np.array([[1, 1, 0, 0], [1, 0, 0, 0.0]]))
    base = Outcome("easy", ("none",), easy)
    assert base.accuracies == [0.75, 0.5, 1.0]
    assert base.mean.mean == pytest.approx(0.75)
    assert hard.over_searches.mean == pytest.approx(0.375)
    gain = hard.gain(base)
    # Both seeds lose a quarter; the third evaluation of the base has no partner.
    assert gain.over_seeds.mean == pytest.approx(-0.25)
    assert gain.over_seeds.low == pytest.approx(gain.over_seeds.high)


def test_every_evaluation_of_a_line_has_a_seed_of_its_own(tmp_path: Path) -> None:
    photos = bars("oriented", 24, 0, held=False)
    learning = LearningNumbers(epochs=0.5, batch=8)
    evaluation = Evaluation(
        tiny_net, photos, photos.photos, tmp_path, learning=learning, classes=("a", "b", "c"), precision="no"
    )
    augmentations = (Augmentation(None), Augmentation("ra"))
    found = evaluation.outcome(Contender("both", augmentations), 2)
    assert found.right.shape == (4, 24)
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [f"seed-{seed}" for seed in range(4)]
    assert found.titles == ("none (flips)", "trivial-ra (flips)")


def test_a_short_training_learns_bars(tmp_path: Path) -> None:
    photos, test = bars("oriented", 90, 0, held=False), bars("oriented", 60, 900, held=False)
    evaluation = Evaluation(
        tiny_net,
        photos,
        test.photos,
        tmp_path,
        learning=LearningNumbers(epochs=12, batch=16),
        classes=("a", "b", "c"),
        precision="no",
    )
    assert evaluation.outcome(Contender("none", (Augmentation(None, flip=False),)), 1).mean.mean > 0.9


def test_trivial_augment_as_published_crops_and_hides() -> None:
    photo = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    photos, seeds = photo.repeat(256, 1, 1, 1), list(range(256))
    plain, whole = Augmentation("ra", flip=False), TrivialWithDefaults("ra", flip=False)
    found = whole(photos, seeds)
    assert torch.equal(found[5:6], whole(photos[5:6], [5]))
    hidden = (found == 0.5).all(1)
    assert float(hidden.float().mean()) > 0.1  # a square of half the side, which may lie partly beyond the edge
    assert float((plain(photos, seeds) == 0.5).all(1).float().mean()) < 0.02
    assert whole.title != plain.title
    # Where TrivialAugment does nothing what is not hidden is the photo, moved by an eighth of its side at most.
    still = (plain(photos, seeds) == photos).flatten(1).all(1)
    moved = torch.stack([photo.roll((y, x), (1, 2)) for y in range(-2, 3) for x in range(-2, 3)])
    apart = (found[still, None] - moved).abs().amax(2)
    fits = ((apart < 1e-5) | hidden[still, None])[..., 2:-2, 2:-2].flatten(2).all(2)
    assert fits.any(1).all()
    assert fits.sum(0).gt(0).sum() > 5, "photos are moved by different amounts"


def test_numbers_are_those_of_the_text() -> None:
    paper = LEARNING["paper"]
    assert (paper.epochs, paper.batch, paper.rate, paper.weight_decay) == (200, 128, 0.1, 0.0005)
    schedule = paper.schedule(50_000, seed=0)
    assert (schedule.steps, schedule.optimizer, schedule.decay, schedule.warmup) == (78_125, "sgd", "cosine", 0.0)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(schedule.steps - 1) < 1e-6
