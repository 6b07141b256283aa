"""Training, resuming, evaluating, exporting and importing a tiny run, on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from render import rasterize
from render.scene import Scene
from tests.plugin_capture import tiny_config, train, write_capture
from training.import_run import import_run

pytestmark = pytest.mark.slow
SHARED = ("means", "scales", "quats", "opacities", "features_dc", "features_rest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("plugin") / "capture").parent


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    return train(tiny_config(folder / "capture", folder / "out"))


@pytest.fixture(scope="module")
def featured(folder: Path) -> Any:
    return train(tiny_config(folder / "capture", folder / "out", encoder="dense-descriptors"))


def _run(trainer: Any) -> Path:
    return trainer.config.get_base_dir()


def _evaluated(trainer: Any) -> dict[str, float]:
    return trainer.pipeline.get_average_eval_image_metrics()


def test_a_short_run_densifies_up_to_its_cap(plain: Any) -> None:
    assert 600 < plain.pipeline.model.num_points <= 700


def test_training_with_and_without_features_gives_the_same_gaussians(plain: Any, featured: Any) -> None:
    theirs, ours = plain.pipeline.model.gauss_params, featured.pipeline.model.gauss_params
    assert ours["features"].shape == (len(ours["means"]), 8)
    assert all(torch.equal(theirs[name], ours[name]) for name in SHARED)


def test_features_beat_the_mean_feature_on_held_out_photos(featured: Any) -> None:
    metrics = _evaluated(featured)
    assert metrics["feature_l1"] < 0.95 * metrics["feature_l1_of_mean"]


def test_the_checkpoint_loads_with_weights_only(featured: Any) -> None:
    (checkpoint,) = (_run(featured) / "nerfstudio_models").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["step"] == 29


def test_a_resumed_training_goes_on_changing_the_gaussians(folder: Path, featured: Any) -> None:
    config = tiny_config(folder / "capture", folder / "out", encoder="dense-descriptors", steps=5)
    config.timestamp = "resumed"
    config.load_dir = _run(featured) / "nerfstudio_models"
    resumed = train(config)
    assert resumed.step == 34
    before, after = featured.pipeline.model.gauss_params, resumed.pipeline.model.gauss_params
    assert before["means"].shape == after["means"].shape
    assert all(not torch.equal(before[name], after[name]) for name in (*SHARED, "features"))


@pytest.mark.parametrize(
    "change",
    [
        {"use_bilateral_grid": True, "background_color": "random"},
        {"use_scale_regularization": True, "sh_degree": 0},
        {"random_init": True, "num_random": 300, "random_scale": 2.0, "sh_degree": 3},
    ],
)
def test_splatfactos_options_train(folder: Path, change: dict[str, Any]) -> None:
    config = tiny_config(folder / "capture", folder / "out", steps=12)
    config.timestamp = "-".join(change)
    config.pipeline.model.camera_optimizer.mode = "SO3xR3"
    for name, value in change.items():
        setattr(config.pipeline.model, name, value)
    assert np.isfinite(_evaluated(train(config))["psnr"])


def test_ctrl_c_ends_with_a_sentence_and_keeps_the_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.nerfstudio_plugin.trainer import Fit3DTrainer

    def interrupted(self: Any, step: int) -> Any:
        if step == 12:
            raise KeyboardInterrupt
        return original(self, step)

    original = Fit3DTrainer.train_iteration
    monkeypatch.setattr(Fit3DTrainer, "train_iteration", interrupted)
    config = tiny_config(folder / "capture", folder / "out", steps=20)
    config.timestamp, config.steps_per_save = "interrupted", 10
    with pytest.raises(SystemExit) as ended:
        train(config)
    assert ended.value.code == 130
    assert "Stopped at step 12" in capsys.readouterr().err
    (checkpoint,) = (config.get_base_dir() / "nerfstudio_models").iterdir()
    assert torch.load(checkpoint, weights_only=True)["step"] == 10


def test_ns_eval_gives_what_training_reported(folder: Path, featured: Any) -> None:
    from nerfstudio.scripts.eval import ComputePSNR

    ComputePSNR(load_config=_run(featured) / "config.yml", output_path=folder / "eval.json").main()
    found = json.loads((folder / "eval.json").read_text())["results"]
    expected = _evaluated(featured)
    for name in ("psnr", "ssim", "feature_l1", "feature_l1_of_mean"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)


def test_ns_export_writes_every_gaussian(folder: Path, featured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from render import Gaussians

    # The exporter imports Open3D for its meshes; where its system libraries are missing any module will do.
    monkeypatch.setitem(sys.modules, "open3d", ModuleType("open3d"))
    from nerfstudio.scripts.exporter import ExportGaussianSplat

    ExportGaussianSplat(load_config=_run(featured) / "config.yml", output_dir=folder / "export").main()
    exported = Gaussians.load(folder / "export" / "splat.ply")
    torch.testing.assert_close(exported.means, featured.pipeline.model.means.detach())


def test_ns_render_writes_rgb_depth_and_feature_colours(folder: Path, featured: Any) -> None:
    from nerfstudio.scripts.render import DatasetRender

    DatasetRender(load_config=_run(featured) / "config.yml", output_path=folder / "renders").main()
    for name in ("rgb", "depth", "feature_pca"):
        assert len(list((folder / "renders" / "test" / name).rglob("*.jpg"))) == 2


def test_the_imported_scene_scores_as_nerfstudio_evaluates(folder: Path, featured: Any) -> None:
    import_run(_run(featured), folder / "scene")
    scene = Scene.open(folder / "scene")
    assert scene.check() == []
    scores = []
    with torch.no_grad():
        for view in scene.views[::8]:
            photo = torch.from_numpy(view.image()).float() / 255
            error = rasterize(scene.gaussians, view.camera).values.clamp(0, 1) - photo
            scores.append(-10 * float(torch.log10(error.square().mean())))
    assert np.mean(scores) == pytest.approx(_evaluated(featured)["psnr"], abs=0.02)
    assert "learned-dense-descriptors" in scene.fields


def test_the_basis_of_the_feature_colours_stays_until_it_is_refreshed(featured: Any) -> None:
    model = featured.pipeline.model
    model.eval()
    cameras = featured.pipeline.datamanager.eval_dataset.cameras
    first = model.get_outputs_for_camera(cameras[0:1])["feature_pca"]
    assert first.shape[-1] == 3
    assert first.std() > 0.01
    basis = model._basis
    model.get_outputs_for_camera(cameras[1:2])
    assert model._basis is basis
    assert torch.equal(model.get_outputs_for_camera(cameras[0:1])["feature_pca"], first)
    model.refresh_colours.cb_hook(model.refresh_colours)
    model.get_outputs_for_camera(cameras[0:1])
    assert model._basis is not basis
