"""``fit3d reproduce fit3d`` in miniature."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from app.commands import reproduce_fit3d
from app.main import main
from render.gaussians import Gaussians
from render.progress import Progress
from tests.test_probing_data import camvid, capture
from training.fleet import Machine
from training.reproduction.fit3d import Job, Places, Plan, ablations, carry, run_jobs
from training.reproduction.fit3d.sizes import memory_needed
from uplift.encoders.base import TrainableEncoder
from uplift.field import FeatureField

MINIATURE = {"rooms": 2, "test_rooms": 2, "validation_rooms": 2, "views": 3, "width": 96, "height": 64}
MINIATURE |= {"gaussians": 600, "weak_steps": 2, "epochs": 2, "batch": 2, "probe_steps": 3, "probe_batch": 64}

# Rows of ablations that are the main table's, and how the fine-tuned features alone would be assembled.
SAME = ("concatenated", "2 epochs", "fine-tuning", "made again every epoch", "fine-tuned alone")
# What ns-train and fit3d import leave, without their work: the room with the field that lies in it.
STAND_IN = """
    import json, pathlib, shutil, sys
    name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
    def option(flag):
        return arguments[arguments.index(flag) + 1]
    if name == "ns-train":
        run = pathlib.Path(option("--output-dir")) / option("--experiment-name") / arguments[0] / option("--timestamp")
        (run / "nerfstudio_models").mkdir(parents=True)
        steps, dimension = int(option("--max-num-iterations")), option("--pipeline.model.feature-dim")
        content = {"pipeline": {}, "max_num_iterations": steps, "data": option("--data")}
        (run / "config.yml").write_text(json.dumps(content))
        (run / "nerfstudio_models" / f"step-{steps - 1:09d}.ckpt").write_text("")
        print(arguments[0], dimension, "channels", steps, "steps")
    else:
        run, scene = map(pathlib.Path, arguments[1:3])
        shutil.copytree(json.loads((run / "config.yml").read_text())["data"], scene)
"""


def run(out: Path, *options: str) -> int:
    return main(
        [
            "reproduce",
            "fit3d",
            str(out),
            "--quick",
            *([] if "--processes" in options else ["--processes", "1"]),
            *options,
        ]
    )


def written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("figures.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of one seed, done."""
    out = tmp_path_factory.mktemp("reproduction") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_fit3d, "QUICK", MINIATURE)
        assert run(out, "--seeds", "1") == 0
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that the test may change."""
    monkeypatch.setattr(reproduce_fit3d, "QUICK", MINIATURE)
    return Path(shutil.copytree(done, tmp_path / "out"))


def test_rows_differences_claims_costs_and_figures_are_written(done: Path) -> None:
    text = (done / "results.md").read_text()
    for part in (
        "tiny-dino on unseen rooms",
        "weak on unseen rooms",
        "original + fine-tuned on blurred",
        "Claims",
        "Costs",
    ):
        assert part in text
    found = json.loads((done / "results.json").read_text())
    for encoder in ("tiny-dino", "weak"):
        rooms = found["encoders"][encoder]["rooms"]
        assert list(rooms["rows"]) == ["original", "twice", "fine-tuned", "blurred", "lifted"]
        for row in rooms["rows"].values():
            assert {"miou", "aacc", "rmse", "absrel", "inconsistency"} <= set(row["figures"])
        original, twice, tuned, _, lifted = (row["seeds"]["inconsistency"][0] for row in rooms["rows"].values())
        assert original == twice
        assert tuned != original
        assert lifted < original, "views agree once features were lifted"
        assert [claim["asked"] for claim in rooms["claims"]] == [0.005, 0.003, 0.2]
        assert (done / f"features-{encoder}.png").is_file()
    assert any(stage.startswith("stage II, 1000 steps") for stage in found["costs"])
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    # Stages shared this process: the peak of a later one would be the largest of all before.
    assert [stage for stage, cost in found["costs"].items() if "peak" in cost] == ["making a room and its Gaussians"]


def test_given_again_nothing_is_done_again_and_more_seeds_add_to_it(out: Path) -> None:
    before, first = written(out), json.loads((out / "results.json").read_text())
    assert run(out, "--seeds", "1") == 0
    assert written(out) == before
    assert json.loads((out / "results.json").read_text()) == first
    assert run(out, "--seeds", "2", "--encoders", "tiny-dino") == 0
    after = written(out)
    assert {name: after[name] for name in before} == before
    rows = json.loads((out / "results.json").read_text())["encoders"]["tiny-dino"]["rooms"]["rows"]
    seeds = rows["fine-tuned"]["seeds"]["miou"]
    assert len(seeds) == 2
    assert seeds[0] == first["encoders"]["tiny-dino"]["rooms"]["rows"]["fine-tuned"]["seeds"]["miou"][0]


def test_what_is_missing_is_made_again_as_it_was(out: Path) -> None:
    first = json.loads((out / "results.json").read_text())["encoders"]["tiny-dino"]["rooms"]["rows"]
    shutil.rmtree(out / "figures" / "measured" / "tiny-dino" / "rooms" / "fine-tuned")
    shutil.rmtree(out / "figures" / "tuned" / "tiny-dino" / "lifted")
    shutil.rmtree(out / "tuned" / "tiny-dino" / "lifted-0")
    shutil.rmtree(out / "rooms" / "test" / "test-00021")
    kept = written(out)
    assert run(out, "--seeds", "1") == 0
    now = written(out)
    assert {name: now[name] for name in kept} == kept
    again = json.loads((out / "results.json").read_text())["encoders"]["tiny-dino"]["rooms"]["rows"]
    assert again["fine-tuned"]["seeds"]["miou"] == pytest.approx(first["fine-tuned"]["seeds"]["miou"], abs=1e-6)


def test_what_an_interruption_left_costs_nothing(out: Path) -> None:
    plan = Plan(**MINIATURE)  # type: ignore[arg-type]
    store = Places(out, plan).store()
    shutil.rmtree(out / "figures" / "costs")
    shutil.rmtree(Places(out, plan).room_folders("train")[0] / "transports")
    carry(out, plan, "train", 0, 2)
    carry(out, plan, "test", 0, 2)
    train, test = (store.get(name) or {} for name in ("costs/transports-train-0", "costs/transports-test-0"))
    assert (train["scenes"], test["scenes"], test["seconds"]) == (1, 0, 0.0)
    assert 0 < train["seconds"] < 60


@pytest.mark.parametrize(("asked", "jobs", "expected"), [(None, 10, 3), (2, 10, 2), (8, 10, 8), (8, 2.5, 2), (8, 0, 1)])
def test_no_more_jobs_run_at_a_time_than_memory_allows(
    asked: int | None, jobs: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = int(jobs * memory_needed(Plan()))
    monkeypatch.setattr("training.fleet.this_machine", lambda **_: Machine(memory, 3))
    assert reproduce_fit3d.ReproduceFit3d(Path("out"), processes=asked)._at_once(Plan()) == expected


def learned_field(room: Path, encoder: TrainableEncoder) -> None:
    """Put a field as ``fit3d import`` makes it of a run into a room."""
    generator, count = torch.Generator().manual_seed(0), len(Gaussians.load(room / "gaussians.ply"))
    weight = torch.randn(encoder.dimension, 8, 3, 3, generator=generator)
    FeatureField(
        torch.rand(count, 8, generator=generator),
        torch.ones(count),
        encoder.name,
        {"fingerprint": encoder.fingerprint(), "decoder": {"kernel": 3, "photo_pixels_per_pixel": 4}},
        {"decoder.weight": weight, "decoder.bias": torch.zeros(encoder.dimension)},
    ).save(room / "fields" / f"learned-{encoder.name}.safetensors")


def test_ablations_and_other_photos_are_added_by_jobs_that_travel_to_other_processes(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("DIMENSIONS", (32,)), ("PAPER_DIMENSION", 32), ("EPOCHS", (2,))):
        monkeypatch.setattr(ablations, name, value)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ns-train", "fit3d"):
        (programs / name).write_text(f"#!{sys.executable} -I\n{textwrap.dedent(STAND_IN)}")
        (programs / name).chmod(0o755)
    monkeypatch.setattr("training.fleet.running.program", lambda name: str(programs / name))
    places = Places(out, Plan(**MINIATURE))  # type: ignore[arg-type]
    learned_field(places.room_folders("train")[0], places.encoder("tiny-dino"))
    camvid(tmp_path / "shared" / "data" / "camvid")
    capture(tmp_path / "shared" / "data" / "rgbd_kitchen")
    before = written(out)
    options = ["--seeds", "1", "--encoders", "tiny-dino", "--elsewhere", str(tmp_path / "shared")]
    options += ["--ablations", "--learned-rooms", "1", "--learned-steps", "7", "--processes", "2"]

    def one_after_the_other(jobs: list[Job], processes: int, progress: Progress) -> None:
        """As they would reach two processes, each of which would load all libraries first."""
        assert processes == 2
        run_jobs(pickle.loads(pickle.dumps(jobs)), 1, progress)  # noqa: S301  written here

    monkeypatch.setattr("training.reproduction.fit3d.run_jobs", one_after_the_other)
    monkeypatch.setattr("training.fleet.this_machine", lambda **_: Machine(10**12, 2))
    assert run(out, *options) == 0
    after = written(out)
    assert {name: after[name] for name in before} == before
    logs = out / "learned" / "32" / "logs" / "train-01000"
    assert "fit3d-small 32 channels 7 steps" in (logs / "fit.log").read_text()
    found = json.loads((out / "results.json").read_text())
    tables = {title.split("FiT3D, ")[1].strip(")"): rows for title, rows in found["ablations"].items()}
    rows_of = {"table 5": 3, "table 6": 2, "table 7": 4, "table 8": 1, "algorithm 1": 4}
    assert {table: len(rows) for table, rows in tables.items()} == rows_of
    main_row = found["encoders"]["tiny-dino"]["rooms"]["rows"]["fine-tuned"]
    for rows in tables.values():
        for row in rows:
            own = row["figures"]["inconsistency"]["mean"]
            assert {"miou", "macc", "aacc"} <= set(row["figures"])
            assert (own == main_row["figures"]["inconsistency"]["mean"]) == (row["title"] in SAME), row["title"]
    adapter, tuned = tables["table 6"][1]["figures"], main_row["figures"]
    gap = found["ablations_differences"]["adapter - fine-tuning"]["miou"]["over_groups"]["mean"]
    assert gap == pytest.approx(adapter["miou"]["mean"] - tuned["miou"]["mean"])
    rows = {data: found["encoders"]["tiny-dino"][data]["rows"] for data in ("camvid", "rgbd_kitchen")}
    assert all(list(of) == ["original", "twice", "fine-tuned", "blurred"] for of in rows.values())
    assert "miou" in rows["camvid"]["fine-tuned"]["figures"]
    assert "rmse" in rows["rgbd_kitchen"]["fine-tuned"]["figures"]
    assert found["costs"]["stage I: ns-train fit3d of a room, 32 channels"]["peak"] > 0


def test_other_settings_need_another_folder(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, "--seeds", "1", "--rate", "0.5") == 2
    assert "made with other settings (rate)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--test-rooms", "1"], "test rooms from 2"),
        (["--encoders", "weak", "weak"], "different --encoders"),
        (["--ablations", "--encoders", "weak"], "--ablations are of tiny-dino"),
        (["--elsewhere", "nowhere"], "Expected a folder that holds data/camvid"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(out, *options) == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_a_weak_encoder_that_is_not_there_is_missed_in_a_sentence(tmp_path: Path) -> None:
    from render.errors import InputError

    with pytest.raises(InputError, match="weak encoder is not at"):
        Places(tmp_path, Plan()).encoder("weak")
