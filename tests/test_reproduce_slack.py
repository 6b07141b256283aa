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
from training.augmentation import POOLS, Policy
from training.augmentation.evaluation import Outcome
from training.loop import CHECKPOINT
from training.reproduction.slack import jobs_left, open_slack, planned
from training.reproduction.slack.plan import GIVEN, Plan
from training.reproduction.slack.results import QUESTIONS, Results

TINY = Plan(
    network="wrn-10-1",
    variants=("slack", "mu"),
    searches=1,
    runs=1,
    learning=SHORT["learning"],
    pretraining=SHORT["learning"],
    numbers=replace(SHORT["numbers"], rounds=1),
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
    for part in ("table 3.1", "Verdicts", "Policies", "Costs", "SLACK, only how strong", "search: slack"):
        assert part in text, part
    found = json.loads((done / "results.json").read_text())
    assert list(found["lines"]) == [*GIVEN, "slack", "mu"]
    assert found["missing"] == []
    assert {answer["verdict"] for answer in found["answers"]} == {"not told apart"}, (
        "of one evaluation nothing is known"
    )
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    assert {"pie-0.png", "evolution-0.png"} <= {path.name for path in done.iterdir()}
    assert [path.parent.name for path in done.glob(f"**/{CHECKPOINT}")] == ["seed-0"], "all but the pretraining's go"
    mu = found["policies"]["mu"][0]
    assert max(mu["shares"]) == pytest.approx(1 / 17)
    assert max(abs(bound - 0.75) for bound in mu["bounds"]) > 0


def test_what_is_done_is_not_done_again_and_other_numbers_are_refused(done: Path, data: Path) -> None:
    assert jobs_left(open_slack(TINY, data / "cifar10", done)) == []
    more = jobs_left(open_slack(replace(TINY, searches=2), data / "cifar10", done))
    assert [job.name for job in more[:3]] == ["pretraining 1", "search slack 1", "search mu 1"]
    assert len(more) == 3 + len(TINY.lines)
    assert more[1].after == ("pretraining 1",)
    assert {job.name: job.after for job in more}["mu 1"] == ("search mu 1",)
    assert pickle.dumps(more), "they travel to other processes"
    with pytest.raises(InputError, match="other settings"):
        jobs_left(open_slack(replace(TINY, network="wrn-10-2"), data / "cifar10", done))


def test_the_data_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "slack", str(tmp_path / "out"), "--data", str(tmp_path)]) == BAD_INPUT
    assert "with cifar10 in it" in capsys.readouterr().err


def test_plans_are_shorter_by_their_effort() -> None:
    whole, half, quick = planned(), planned(effort=0.5), planned(quick=True)
    assert half.learning.epochs == whole.learning.epochs / 2
    assert half.numbers.unrolled == whole.numbers.unrolled // 2
    assert quick.photos is not None
    assert whole.numbers.anchor * whole.numbers.upper_rate == pytest.approx(0.02)
    assert planned(searches=5).json() == whole.json(), "more of them do not change the others"
    with pytest.raises(InputError, match="searches and runs of 1 or more"):
        planned(runs=0)


def test_what_is_clearly_better_is_said_to_be(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    plan = planned()
    chances = {"slack": 0.8, "uniform": 0.6, "none": 0.6}
    lines = {
        name: Outcome(name, (name,), (random.random((6, 400)) < chances.get(name, 0.7)).astype(float))
        for name in plan.lines
    }
    begun = Policy.uniform(POOLS["cifar"])
    ended = Policy(begun.names, torch.randn(3, 17, generator=torch.Generator().manual_seed(0)), begun.bounds.detach())
    policies = {"slack": [[begun, ended]]}
    found = Results(plan, (5000, 400), lines, policies, {}, ())
    assert {(a.one, a.other): a.verdict for a in found.answers}[("slack", "uniform")] == "better"
    assert len(found.answers) == sum(len(question.pairs) for question in QUESTIONS)
    text = "\n".join(table.markdown() for table in tables_of(found))
    assert all(TITLES[line] in text for line in plan.lines)
    assert [path.name for path in save_pictures(tmp_path, found)] == ["pie-0.png", "evolution-0.png"]
