"""``fit3d reproduce slack`` in miniature, and what it says of made figures."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.main import BAD_INPUT, OK, main
from app.slack_tables import TITLES, save_pictures, tables_of
from render.errors import InputError
from tests.test_slack_search import _quick_collections as _quick_collections
from tests.turned import SHORT, bar
from training.augmentation import POOLS, Augmentation, Policy, load_policy
from training.augmentation.evaluation import Outcome
from training.augmentation.searching import POLICY
from training.loop import CHECKPOINT
from training.reproduction.slack import jobs_left, open_slack, planned
from training.reproduction.slack.plan import CHANCE, GIVEN, Plan
from training.reproduction.slack.results import QUESTIONS, Results

TINY = Plan(
    network="wrn-10-1",
    variants=("slack", "mu"),
    searches=1,
    runs=1,
    learning=SHORT["learning"],
    pretraining=SHORT["learning"],
    numbers=replace(SHORT["numbers"], rounds=1),
    photos=(None, None),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 in miniature."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cifar10").mkdir()
    for split, first in (("train", 0), ("test", 100)):
        images = np.stack([bar("oriented", i % 3, first + i, held=False) for i in range(18)])
        labels, classes = np.arange(18) % 3, np.array(["flat", "rising", "falling"])
        np.savez(folder / "cifar10" / f"{split}.npz", images=images, labels=labels, classes=classes)
    return folder


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of one search, done."""
    out = tmp_path_factory.mktemp("reproduction") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.reproduction.slack.planned", lambda **_: TINY)
        assert main(["reproduce", "slack", str(out), "--data", str(data), "--processes", "1"]) == OK
    return out


def test_tables_policies_and_pictures_are_written(done: Path) -> None:
    text = (done / "results.md").read_text()
    parts = ("table 3.1", "Verdicts", "What policies say", "Policies", "Re-training", "Costs", "SLACK, only how strong")
    for part in (*parts, "search: slack", "chance, of one search"):
        assert part in text, part
    found = json.loads((done / "results.json").read_text())
    assert list(found["lines"]) == [*GIVEN, CHANCE, "slack", "mu"]
    assert found["missing"] == []
    assert {answer["verdict"] for answer in found["answers"]} == {"not told apart"}, (
        "of one evaluation nothing is known"
    )
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    assert {"pie-0.png", "evolution-0.png"} <= {path.name for path in done.iterdir()}
    assert [path.parent.name for path in done.glob(f"**/{CHECKPOINT}")] == ["seed-0"], "all but the pretraining's go"
    assert found["size"] > 0
    assert set(found["learned"]) == set(found["lines"])
    assert {answer["verdict"] for answer in found["policy_answers"]} == {"not told apart"}
    assert all(0 < loss < 10 for pair in found["policies"]["mu"][0]["held_losses"] for loss in pair)
    mu = found["policies"]["mu"][0]
    assert max(mu["shares"]) == pytest.approx(1 / 17)
    assert max(abs(bound - 0.75) for bound in mu["bounds"]) > 0


def test_what_is_done_is_not_done_again_and_other_numbers_are_refused(done: Path, data: Path) -> None:
    assert jobs_left(open_slack(TINY, data / "cifar10", done)) == []
    more = jobs_left(open_slack(replace(TINY, searches=2), data / "cifar10", done))
    assert [job.name for job in more[:3]] == ["pretraining 1", "search slack 1", "search mu 1"]
    assert len(more) == 3 + len(TINY.lines)
    assert more[1].after == ("pretraining 1",)
    assert [job.name for job in jobs_left(open_slack(replace(TINY, runs=2), data / "cifar10", done))] == [
        f"{line} 0-1" for line in TINY.lines
    ], "further runs are of the same search"
    begun = {job.name: job.after for job in jobs_left(open_slack(TINY, data / "cifar10", done / "elsewhere"))}
    assert begun["search mu 0"] == ("pretraining 0", "speed")
    after = {job.name: job.after for job in more}
    assert (after["mu 1-0"], after["chance 1-0"]) == (("search mu 1",), ("search slack 1",))
    assert pickle.dumps(more), "they travel to other processes"
    with pytest.raises(InputError, match="other settings"):
        jobs_left(open_slack(replace(TINY, network="wrn-10-2"), data / "cifar10", done))


def test_a_found_policy_is_known_without_its_folder_and_moves_as_fast_as_planned(done: Path, data: Path) -> None:
    opened = open_slack(TINY, data / "cifar10", done)
    store = opened.store()
    kept = load_policy(done / "search" / "slack-0" / POLICY).policy
    assert opened.augmentation("slack", 0, store).title == Augmentation(kept).title
    found = store.get("search/slack-0")
    assert found is not None
    led = found["chance"][0]
    policy = Policy(found["names"], torch.tensor(led["logits"]), torch.tensor(led["bounds"]))
    assert opened.augmentation(CHANCE, 0, store).title == Augmentation(policy).title != Augmentation(kept).title
    for line in ("slack", CHANCE):
        with pytest.raises(InputError, match=f"a policy of search 1 of {line}"):
            opened.augmentation(line, 1, store)
    speed = store.get("speed")
    assert speed is not None
    assert opened.numbers(store) == TINY.numbers.at_speed(TINY.speed, speed["size"], 17)
    assert opened.search("slack", 0, TINY.numbers, done / "unused")._photos.labels == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("option", ["--searches", "--runs", "--effort"])
def test_numbers_that_are_not_above_0_are_refused(
    option: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "slack", str(tmp_path / "out"), "--data", str(data), option, "0"]) == BAD_INPUT
    assert f"{option} must be a number greater than 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_data_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "slack", str(tmp_path / "out"), "--data", str(tmp_path)]) == BAD_INPUT
    assert "with cifar10 in it" in capsys.readouterr().err


def test_plans_are_shorter_by_their_effort() -> None:
    whole, half, quick = planned(), planned(effort=0.5), planned(quick=True)
    assert half.learning.epochs == whole.learning.epochs / 2
    assert half.numbers == replace(whole.numbers, rounds=2), "a round is what its rates are made for"
    assert (whole.photos, quick.photos) == ((1000, None), (120, 40))
    assert planned(searches=7, runs=3).json() == whole.json(), "more of them do not change the others"
    with pytest.raises(InputError, match="searches and runs of 1 or more"):
        planned(runs=0)


def test_what_is_clearly_better_is_said_to_be(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    plan = planned()
    chances = {"slack": 0.8, "uniform": 0.6, "none": 0.6, "chance": 0.6}
    lines = {
        name: Outcome(name, (name,) * 5, (random.random((5, 400)) < chances.get(name, 0.7)).astype(float))
        for name in plan.lines
    }
    lines["pi"] = replace(lines["slack"], name="pi")
    begun = Policy.uniform(POOLS["cifar"])
    noise = torch.randn(5, 3, 17, generator=torch.Generator().manual_seed(0))
    ends = [Policy(begun.names, 0.1 * one, begun.bounds.detach()) for one in noise]
    discarded = torch.tensor([name == "Invert" for name in begun.names])
    away = [Policy(begun.names, one.logits - 2.0 * discarded, begun.bounds.detach()) for one in ends]
    searches = {"slack": [[begun, one] for one in away], "no-kl": [[begun, one] for one in ends]}
    by_luck = {name: [[one] for one in ends] for name in searches}
    losses = {name: [[(2.0, 1.9)]] * 5 for name in searches}
    learned = dict.fromkeys(plan.lines, 0.9)
    found = Results(plan, (1000, 400), lines, learned, searches, by_luck, losses, 0.2, {}, ())
    answers = {(a.one, a.other): a for a in found.answers}
    better = answers["slack", "uniform"]
    assert better.verdict == "better"
    assert answers["slack", "chance"].verdict == "better"
    assert answers["chance", "uniform"].verdict == "not told apart"
    assert better.least is not None
    assert better.least < better.better.over_seeds.mean
    assert answers["slack", "pi"].verdict == "as good"
    assert answers["slack", "trivial-wide-cifar"].verdict == "better"
    said = {(a.text.split()[1], a.variant): a.verdict for a in found.policy_answers}
    assert said["Invert", "slack"] == "less"
    others = ("Solarize", "Cutout", "Rotate")
    assert {said[name, "slack"] for name in others} == {"not told apart"}, "all are drawn more where one is not"
    assert {said[name, "no-kl"] for name in ("Invert", *others)} == {"not told apart"}
    assert said["a", "slack"] == "more"
    assert said["a", "no-kl"] == "not told apart"
    assert len(found.answers) == sum(len(question.pairs) for question in QUESTIONS)
    text = "\n".join(table.markdown() for table in tables_of(found))
    assert all(TITLES[line] in text for line in plan.lines)
    few = replace(found, policies={"slack": searches["slack"][:1]})
    assert [path.name for path in save_pictures(tmp_path, few)] == ["pie-0.png", "evolution-0.png"]
