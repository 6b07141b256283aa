"""What a masked pretraining leaves, and the fine-tunings that tell what it is worth."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.commands.augment_search import AugmentSearch
from app.commands.pretrain_detect import PretrainDetect
from app.commands.pretrain_mask3d import PretrainMask3D
from app.commands.pretrain_segment import PretrainSegment
from app.main import BAD_INPUT, OK, main
from render.errors import InputError
from tests.pretrained import NUMBERS, SCHEDULE, SHAPE, SIDE, TASKS, Blocks, detecting, frames, make_task, segmented
from tests.pretrained import tiny_encoder as blank
from tests.small_rooms import small_room
from tests.taught import small_data
from tests.test_encoders import photo
from tests.test_loop import logged
from tests.test_loop_processes import LAUNCH, ROOT
from tests.tiny_models import TINY_VIT
from training.augmentation.search import SEARCH
from training.loop import CHECKPOINT, train
from training.pretraining.detection.data import LEAST, RoomThings, Scene
from training.pretraining.detection.model import SimplePyramid, ThingDetector
from training.pretraining.detection.task import DETECTION, average_precisions
from training.pretraining.mask3d.export import export
from training.pretraining.mask3d.running import frames_for, from_encoder, from_nothing
from training.pretraining.mask3d.settings import NUMBERS as MASKED
from training.pretraining.segmentation import TUNING, FineHead, TuningNumbers, decoder_of, fine_tune
from uplift.encoders import load_encoder
from uplift.encoders.distilled import Distilled, plain_student
from uplift.encoders.finetuned import FineTuned, trainable
from uplift.encoders.mask3d import Mask3DEncoder, Pretrained, load_decoder, plain_vit
from uplift.encoders.masked import PatchDecoder
from uplift.encoders.untrained import make_blank

CPU = torch.device("cpu")
COMMANDED = ("--batch", "2", "--device", "cpu", "--threads", "1")


def decoder(dimension: int, seed: int = 1) -> PatchDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchDecoder(dimension, SHAPE.width, SHAPE.blocks)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ViT with weights of its own."""
    file = tmp_path_factory.mktemp("made") / "encoder.safetensors"
    encoder = make_blank(TINY_VIT, CPU, seed=5)
    Pretrained(encoder.network.state_dict(), decoder(64), "some licence", {"note": "a test"}).save(file, encoder)
    return file


def test_the_file_is_the_encoder_of_colours_alone(path: Path) -> None:
    made, found = make_blank(TINY_VIT, CPU, seed=5), load_encoder(f"mask3d:{path}", device="cpu")
    assert isinstance(found, Mask3DEncoder)
    assert (found.licence, found.dimension, found.patch) == ("some licence", 64, 16)
    image = photo(2, 40, 52)
    torch.testing.assert_close(found.encode(image), made.encode(image), rtol=0, atol=0)
    other = make_blank(TINY_VIT, CPU, seed=6)
    assert not torch.allclose(found.encode(image), other.encode(image))
    assert found.fingerprint() != made.fingerprint()
    own = found.copied()
    with torch.no_grad():
        next(own.network.parameters()).add_(1)
    torch.testing.assert_close(found.encode(image), made.encode(image), rtol=0, atol=0)
    assert own.weights_hash() != found.weights_hash()
    told = load_decoder(path, CPU)
    torch.testing.assert_close(told.state_dict(), decoder(64).state_dict())
    plain = plain_vit(found)
    assert plain.name == TINY_VIT
    assert plain.weights_hash() == made.weights_hash()


def test_the_file_goes_where_other_encoders_go(path: Path, tmp_path: Path) -> None:
    found = load_encoder(f"mask3d:{path}", None, "cpu", options={"window": 32, "stride": 16})
    assert isinstance(found, Mask3DEncoder)
    assert found.options() == {"window": 32, "stride": 16}
    image = photo(2, 40, 52)
    Distilled(found.network.state_dict()).save(tmp_path / "d.safetensors", plain_student(found))
    distilled = load_encoder(f"distilled:{tmp_path}/d.safetensors", device="cpu")
    torch.testing.assert_close(distilled.encode(image), found.encode(image))
    FineTuned(found.copied().network.state_dict(), assembly="alone").save(tmp_path / "t.safetensors", trainable(found))
    torch.testing.assert_close(
        load_encoder(f"fit3d:{tmp_path}/t.safetensors", device="cpu").encode(image), found.encode(image)
    )
    start = from_encoder(f"mask3d:{path}", None, CPU)
    assert start.licence == "some licence"
    assert start.name == f"mask3d:{path.resolve()}"
    assert start.encoder.weights_hash() == make_blank(TINY_VIT, CPU, seed=5).weights_hash()
    with pytest.raises(InputError, match="cannot be pretrained with masks"):
        plain_vit(load_encoder(f"fit3d:{tmp_path}/t.safetensors@added", device="cpu"))  # type: ignore[arg-type]


def test_files_that_are_not_whole_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds all weights that it needs"):
        load_encoder(f"mask3d:{path}", path, "cpu")
    with pytest.raises(InputError, match=r"There is no file .*gone.safetensors"):
        load_encoder(f"mask3d:{tmp_path}/gone.safetensors", device="cpu")
    encoder = make_blank(TINY_VIT, CPU)
    some = dict(list(encoder.network.state_dict().items())[1:])
    Pretrained(some, decoder(64)).save(tmp_path / "less.safetensors", encoder)
    with pytest.raises(InputError, match="1 tensors missing"):
        load_encoder(f"mask3d:{tmp_path}/less.safetensors", device="cpu")
    Distilled(encoder.network.state_dict()).save(tmp_path / "other.safetensors", encoder)
    with pytest.raises(InputError, match="not a pretrained encoder; expected a file that fit3d pretrain mask3d wrote"):
        load_encoder(f"mask3d:{tmp_path}/other.safetensors", device="cpu")


def test_what_was_trained_is_what_is_written(tmp_path: Path) -> None:
    start = from_nothing("tiny-dino", CPU, seed=1)
    assert start.licence is None
    task = make_task(encoder=start.encoder)
    with torch.no_grad():
        next(task.model.network.parameters()).add_(0.1)
        next(task.model.decoder.parameters()).add_(0.1)
    file = export(task, tmp_path, licence="a licence", about={"steps": 3})
    found = load_encoder(f"mask3d:{file}", device="cpu")
    assert isinstance(found, Mask3DEncoder)
    assert found.weights_hash() == task.model.encoder.weights_hash() != start.encoder.weights_hash()
    torch.testing.assert_close(load_decoder(file, CPU).state_dict(), task.model.decoder.state_dict())
    assert found.licence == "a licence"


def test_frames_are_kept_as_large_as_crops_need() -> None:
    photos = frames().photos
    assert frames_for(photos, replace(NUMBERS, least=0.5)).side == 96
    assert frames_for(photos, replace(NUMBERS, augment="flips")).side == 48


def test_interrupted_a_pretraining_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, first, again = (make_task() for _ in range(3))
    train(whole, SCHEDULE, tmp_path / "whole", device="cpu")

    def interrupt(progress: float) -> None:
        if round(progress * SCHEDULE.steps) == 2:
            raise KeyboardInterrupt

    first.after_step = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(first, SCHEDULE, tmp_path / "parts", device="cpu")
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["step"] == 2
    train(again, SCHEDULE, tmp_path / "parts", device="cpu")
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")
    assert {name for line in logged(tmp_path / "whole") for name in line} >= {"depth_loss", "val_depth_loss"}


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *LAUNCH, "-m", "tests.pretrained", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for kind, make in TASKS.items():
        task = make()
        start = flat(task.state_dict())
        train(task, SCHEDULE, tmp_path / "one" / kind, device="cpu")
        one = flat(task.state_dict())
        for rank in range(2):
            two = flat(torch.load(tmp_path / f"{kind}-{rank}.pt", weights_only=True))
            assert float((two - one).norm()) < 0.02 * float((one - start).norm()), kind
        for mine, theirs in zip(logged(tmp_path / kind), logged(tmp_path / "one" / kind), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-2, abs=1e-4)


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in state.values() if tensor.is_floating_point()])


def test_a_head_tells_nodes_within_patches() -> None:
    head = FineHead(4, 3, 2).eval()
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.arange(12.0))
        said = head(torch.zeros(1, 2, 5, 4))
    assert said.shape == (1, 3, 4, 10)
    assert said[0, 1, :2, :2].tolist() == [[4, 5], [6, 7]]
    assert torch.equal(said[0, :, :2, :2], said[0, :, 2:, 8:])
    louder = FineHead(4, 3, 2, gain=16.0).eval()
    louder.load_state_dict({**head.state_dict(), "gain": louder.gain})
    with torch.no_grad():
        assert torch.equal(louder(torch.zeros(1, 2, 5, 4)), 16 * said)


def test_a_head_with_a_gain_learns_faster_and_is_another_training(tmp_path: Path) -> None:
    numbers = TuningNumbers(side=32, batch=4, epochs=5, rate=5e-4, weight_decay=0.0)
    data = small_data("segmentation", 4)

    def tuned(gain: float, folder: str) -> float:
        louder = replace(numbers, head_gain=gain)
        fine_tune(blank(), None, data, tmp_path / folder, scale="small", numbers=louder, finer=2, device="cpu")
        return float(next(line["loss"] for line in reversed(logged(tmp_path / folder)) if "loss" in line))

    assert tuned(16.0, "loud") < 0.8 * tuned(1.0, "plain")
    with pytest.raises(InputError, match="belongs to another training"):
        tuned(1.0, "loud")
    for wrong in (0.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"gain of the head above 0, found {wrong:g}"):
            replace(numbers, head_gain=wrong)


def test_a_decoder_that_is_taken_over_is_trained_and_one_that_is_not_is_not_there(path: Path) -> None:
    own = decoder(32)
    with_it, without = segmented(own), segmented()
    trained = [name for name, p in with_it.model.named_parameters() if p.requires_grad]
    assert any(name.startswith("decoder.") for name in trained)
    assert not any("decoder" in name for name, _ in without.model.named_parameters())
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    patches = blank().tokens(pixels).patches
    model = with_it.model.eval()
    torch.testing.assert_close(model.features(pixels), own(patches), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(without.model.eval().features(pixels), patches, rtol=1e-4, atol=1e-5)
    assert model(pixels).shape == (1, 3, 8, 8)
    pretrained = load_encoder(f"mask3d:{path}", device="cpu")
    taken = decoder_of(pretrained, "auto")
    assert taken is not None
    torch.testing.assert_close(taken.state_dict(), decoder(64).state_dict())
    assert decoder_of(pretrained, "none") is None
    assert decoder_of(blank(), "auto") is None
    new = decoder_of(blank(), "new", seed=2)
    assert new is not None
    assert new.dimension == 32
    with pytest.raises(InputError, match="has no decoder"):
        decoder_of(blank(), "pretrained")


def test_a_segmentation_learns_from_a_share_of_the_photos(tmp_path: Path) -> None:
    numbers = TuningNumbers(side=32, batch=4, epochs=20, rate=5e-3, weight_decay=0.0)
    data = small_data("segmentation", 4)
    asked: list[int] = []
    first = data.train[1]

    def counted() -> np.ndarray:
        asked.append(1)
        return first.image()

    photos = [data.train[0], replace(first, image=counted), *data.train[2:]]
    found = [
        fine_tune(
            blank(), None, replace(data, train=photos), tmp_path / str(share), scale="small", numbers=numbers,
            share=share, finer=2, device="cpu",
        ).figures()["miou"]
        for share in (1.0, 0.5)
    ]  # fmt: skip
    assert float(found[0][0, 0]) > 0.6
    assert logged(tmp_path / "1.0")[-1]["step"] == 2 * logged(tmp_path / "0.5")[-1]["step"] == 20
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match="share of the labels above 0 and up to 1"):
            fine_tune(blank(), None, data, tmp_path, scale="small", numbers=numbers, share=wrong)
    with pytest.raises(InputError, match="multiple of it, found 30"):
        fine_tune(blank(), None, data, tmp_path, scale="small", numbers=replace(numbers, side=30))


def test_things_of_rooms_have_boxes_around_their_masks() -> None:
    room = small_room("train")
    things = RoomThings([room], (64, 64))
    assert len(things) == 3
    assert not {"wall", "floor", "ceiling"} & set(things.names)
    scene, mirrored = things.scene(1), things.scene(1, flipped=True)
    assert len(scene.boxes) > 2
    instances, classes = room.instances("view_001"), room.classes("view_001")
    for mask, box, label in zip(scene.masks, scene.boxes.int().tolist(), scene.labels.tolist(), strict=True):
        inside = mask.numpy() > 0
        assert inside.sum() >= LEAST
        assert len(np.unique(instances[inside])) == 1
        assert {room.class_names[i] for i in np.unique(classes[inside])} == {things.names[label - 1]}
        left, top, right, bottom = box
        assert inside[top:bottom, left:right].sum() == inside.sum()
        assert all(edge.any() for edge in (inside[top], inside[bottom - 1], inside[:, left], inside[:, right - 1]))
    torch.testing.assert_close(mirrored.pixels, scene.pixels.flip(-1))
    torch.testing.assert_close(mirrored.masks, scene.masks.flip(-1))
    torch.testing.assert_close(mirrored.boxes[:, [2, 0]], 64 - scene.boxes[:, [0, 2]])


def test_a_pyramid_has_four_scales_of_the_last_map() -> None:
    maps = SimplePyramid(32, 8)(torch.rand(2, 4, 6, 32))
    assert [tuple(values.shape) for values in maps.values()] == [
        (2, 8, 16, 24),
        (2, 8, 8, 12),
        (2, 8, 4, 6),
        (2, 8, 2, 3),
    ]
    with pytest.raises(InputError, match="multiples of 16 pixels, found 40 x 48"):
        ThingDetector(blank(), 2, (40, 48))


def test_losses_of_a_photo_do_not_depend_on_its_batch() -> None:
    task = detecting()
    scenes, seeds = [Blocks().scene(i) for i in range(3)], [5, 6, 7]
    state = torch.random.get_rng_state()
    together = task.model.losses(scenes, seeds)
    assert set(together) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.randn(3)
    alone = task.model.losses(scenes[1:2], seeds[1:2])
    for name, values in alone.items():
        torch.testing.assert_close(values[0], together[name][1], rtol=1e-4, atol=1e-5)
    other = task.model.losses(scenes[1:2], [99])
    assert any(not torch.allclose(other[name], alone[name]) for name in alone)
    empty = Scene(scenes[0].pixels, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, SIDE, SIDE))
    assert all(bool(values.isfinite().all()) for values in task.model.losses([empty], [1]).values())


class Knowing(ThingDetector):
    """Says what is true of some photos, and something else of the others."""

    def __init__(self, right: Sequence[int]) -> None:
        torch.nn.Module.__init__(self)
        self.right, self.asked = right, 0

    def detect(self, pixels: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        scene = Blocks().scene(self.asked)
        labels = scene.labels if self.asked in self.right else scene.labels.flip(0)
        self.asked += 1
        masks = scene.masks[:, None].float()
        return [{"boxes": scene.boxes, "labels": labels, "scores": torch.tensor([0.9, 0.8]), "masks": masks}]


def test_precisions_are_those_of_what_is_told() -> None:
    things = Blocks()
    whole = average_precisions(Knowing(range(4)), things)
    assert set(whole) == {f"{kind}_{short}" for kind in ("box", "mask") for short in ("ap", "ap50", "ap75")}
    assert all(value == pytest.approx(1) for value in whole.values())
    assert all(0.3 < value < 0.8 for value in average_precisions(Knowing([0, 1]), things).values())


def test_a_detector_learns_and_draws(tmp_path: Path) -> None:
    task = detecting(validation=Blocks(1))
    schedule = replace(SCHEDULE, steps=16, rate=5e-3, decay="constant", picture_every=16, save_every=1e9)
    figures = train(task, schedule, tmp_path, device="cpu")
    losses = [line["loss"] for line in logged(tmp_path) if "loss" in line]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]
    assert set(figures) >= {"box_ap", "mask_ap50"}
    assert len(list((tmp_path / "pictures").glob("things-*.png"))) == 2


def test_the_commands_pretrain_and_fine_tune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_room, test_room = (str(small_room(split).path.parent) for split in ("train", "test"))
    made = tmp_path / "mask3d"
    small = ("--size", "32", "32", "--epochs", "0.7", "--depth-blocks", "1", "--decoder-blocks", "1")
    arguments = ["pretrain", "mask3d", train_room, "--out", str(made), "--encoder", TINY_VIT, *small, *COMMANDED]
    assert main([*arguments, "--validation", test_room]) == OK
    said = capsys.readouterr().out
    assert f"{TINY_VIT}, from nothing; 3 photos with depth, 1 steps" in said
    assert "depth_loss" in said
    assert len(list((made / "pictures").glob("depth-*.png"))) >= 2
    encoder = f"mask3d:{made}/encoder.safetensors"
    augmented = ("--augmentation", "trivial-ra")
    colours = ["--reconstruct", "colour", "--init", encoder]
    again = ["pretrain", "mask3d", train_room, "--out", str(tmp_path / "mae"), *colours, *small, *COMMANDED]
    assert main([*again, *augmented]) == OK
    assert f"begins as {encoder}" in capsys.readouterr().out
    about = [load_header(folder)["training"] for folder in (made, tmp_path / "mae")]
    assert [one["masking"]["reconstruct"] for one in about] == ["depth", "colour"]
    assert about[1]["masking"] == {
        "colour": 0.25, "depth": 0.0, "reconstruct": "colour", "loss_on": "hidden", "normalize": "target",
    }  # fmt: skip
    assert about[1]["init"] == encoder
    tuned = ["--encoder", encoder, "--epochs", "0.7", "--seeds", "2", *COMMANDED]
    segment = ["pretrain", "segment", test_room, "--train", train_room, "--out", str(tmp_path / "s"), *tuned]
    assert main([*segment, "--side", "32", "--test-photos", "1", *augmented]) == OK
    found = json.loads((tmp_path / "s/results.json").read_text())
    assert len(found["figures"]["miou"]) == 2
    assert found["about"]["augmentation"] == "trivial-ra (flips)"
    assert "±" in (tmp_path / "s/results.md").read_text()
    detect = ["pretrain", "detect", train_room, test_room, "--out", str(tmp_path / "d"), *tuned]
    assert main([*detect, "--seeds", "1", "--size", "64", "64", "--width", "8", *augmented]) == OK
    found = json.loads((tmp_path / "d/results.json").read_text())
    assert len(found["figures"]["mask_ap"]) == 1
    assert found["about"]["augmentation"] == "trivial-ra (still)"
    assert len(list((tmp_path / "d/seed-0/pictures").glob("things-*.png"))) == 2


def load_header(folder: Path) -> dict[str, Any]:
    from uplift.field import read_safetensors

    return read_safetensors(folder / "encoder.safetensors")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mask3d", "gone", "--init", "tiny-dino", "--encoder", "tiny-dino"], "says the architecture too"),
        (["mask3d", "gone", "--init-weights", "x"], "Expected --init with the encoder"),
        (["mask3d", "gone", "--keep-colour", "2"], "from 0 to 1"),
        (["mask3d", "gone", "--rate", "0"], "--rate must be a number greater than 0"),
        (["mask3d", "gone"], "Expected a folder of photos with depth at gone"),
        (["mask3d", "gone", "--augmentation", "policy"], "found no file policy"),
        (["segment", "gone", "--augmentation", "policy"], "found no file policy"),
        (["detect", "gone", "gone", "--augmentation", "policy"], "found no file policy"),
        (["segment", "gone", "--share", "0"], "Expected --share above 0"),
        (["segment", "gone", "--scratch", "--weights", "x"], "takes no weights"),
        (["detect", "gone", "gone", "--scratch", "--weights", "x"], "takes no weights"),
        (["detect", "gone", "gone"], "Expected rooms at gone"),
        (["mask3d", "gone", "--size", "0", "64"], "--size must be a number greater than 0"),
        (["detect", "gone", "gone", "--size", "64", "0"], "--size must be a number greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]) == BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["mask3d gone", "segment gone", "detect gone gone"])
def test_a_file_where_a_folder_is_to_be_is_kept(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out, said in ((file, f"Expected a folder at {file}, found a file."), (file / "in", f"found a file at {file}.")):
        assert main(["pretrain", *command.split(), "--out", str(out)]) == BAD_INPUT
        assert said in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "numbers"), [(PretrainMask3D, MASKED), (PretrainSegment, TUNING), (PretrainDetect, DETECTION)]
)
def test_help_has_the_numbers_that_are_used(command: type, numbers: dict[str, Any]) -> None:
    text = " ".join(inspect.getsource(command).split())
    small, paper = text.partition("Numbers for a processor")[2].partition('"""')[0].split("or those of")
    for one, part in ((numbers["small"], small), (numbers["paper"], paper)):
        extent = f"{one.side} pixels" if isinstance(one, TuningNumbers) else "{}x{}".format(*one.size)
        for said in (f"at {one.rate:g}", f"batch {one.batch}", f"{one.epochs:g} epochs", extent):
            assert said in part


def test_help_has_the_numbers_of_a_search() -> None:
    small, text = SEARCH["small"], " ".join(inspect.getsource(AugmentSearch).split())
    steps = f"{small.rounds} rounds of {small.retrain} steps of re-training and {small.unrolled} that learn the policy"
    drawn = f"{small.batch} photos, {small.augmentations} augmentations"
    assert f"{steps}, {drawn}, rates of {small.rate:g} and {small.upper_rate:g}" in text
