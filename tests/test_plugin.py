"""The parts of the nerfstudio plugin."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render import InputError
from tests.plugin_capture import tiny_config, write_capture


def _model(**changes: Any) -> Any:
    from nerfstudio.data.scene_box import SceneBox

    from training.nerfstudio_plugin.model import Fit3DModelConfig

    generator = torch.Generator().manual_seed(0)
    points = torch.rand(150, 3, generator=generator) - 0.5
    colours = (255 * torch.rand(150, 3, generator=generator)).to(torch.uint8)
    encoder = {"name": "rgb", "dimension": 5, "mean": torch.zeros(5), "fingerprint": "f"}
    settings = {"background_color": "black", "feature_dim": 6, "sh_degree": 1, "num_downscales": 0}
    settings |= {"sh_degree_interval": 0, "initial_opacity": 0.5}
    return Fit3DModelConfig(**{**settings, **changes}).setup(
        scene_box=SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
        num_train_data=3,
        seed_points=(points, colours),
        metadata={"encoder": encoder},
        device="cpu",
    )


def _cameras() -> Any:
    from nerfstudio.cameras.cameras import Cameras, CameraType

    pose = torch.eye(4)[None, :3]
    pose[0, 2, 3] = 2.0
    return Cameras(pose, 30.0, 31.0, 17.0, 14.0, 33, 29, camera_type=CameraType.PERSPECTIVE)


def _batch(**more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {"image": torch.rand(29, 33, 3, generator=generator), **more}


def test_ns_train_lists_both_methods() -> None:
    program = Path(sys.executable).with_name("ns-train")
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, timeout=300).stdout
    assert "fit3d-small" in text
    assert "fit3d " in text


def test_the_viewer_binds_the_local_machine_only() -> None:
    from training.nerfstudio_plugin.methods import fit3d, fit3d_small

    assert {m.config.viewer.websocket_host for m in (fit3d, fit3d_small)} == {"127.0.0.1"}
    assert fit3d.config.max_num_iterations == 30_000
    assert fit3d_small.config.pipeline.model.max_gaussians <= 100_000


def test_ns_viewer_keeps_the_host_of_the_run() -> None:
    from nerfstudio.configs.base_config import ViewerConfig

    from training.nerfstudio_plugin.methods import fit3d_small

    config = copy.deepcopy(fit3d_small.config)
    config.viewer = ViewerConfig(websocket_port=7123)
    assert (config.viewer.websocket_host, config.viewer.websocket_port) == ("127.0.0.1", 7123)
    config.viewer = ViewerConfig(websocket_host="10.0.0.1")
    assert config.viewer.websocket_host == "10.0.0.1"


def test_the_feature_loss_moves_features_and_decoder_alone() -> None:
    model = _model()
    model.train()
    batch = _batch(feature_map=torch.rand(7, 9, 5))
    losses = model.get_loss_dict(model.get_outputs(_cameras()), batch)
    losses["feature_loss"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert moved == {"gauss_params.features", "feature_decoder.weight", "feature_decoder.bias"}


def test_the_rgb_loss_leaves_the_features_alone() -> None:
    model = _model()
    model.train()
    losses = model.get_loss_dict(model.get_outputs(_cameras()), _batch())
    assert "feature_loss" not in losses
    losses["main_loss"].backward()
    assert model.gauss_params["features"].grad is None
    assert bool((model.gauss_params["means"].grad != 0).any())


def test_features_do_not_touch_the_global_generator() -> None:
    states = []
    for dimension in (6, 0):
        torch.manual_seed(3)
        model = _model(feature_dim=dimension)
        assert model.has_features == (dimension > 0)
        states.append(torch.random.get_rng_state())
    assert torch.equal(*states)


def test_loading_a_checkpoint_of_another_size_keeps_the_parameters() -> None:
    model, other = _model(), _model()
    before = dict(model.gauss_params.items())
    for name, parameter in other.gauss_params.items():
        other.gauss_params[name] = torch.nn.Parameter(parameter.data[:40] + 1)
    model.load_state_dict(other.state_dict())
    assert all(model.gauss_params[name] is parameter for name, parameter in before.items())
    assert all(torch.equal(model.gauss_params[name], p) for name, p in other.gauss_params.items())


def test_a_model_made_without_encoder_takes_the_features_of_its_checkpoint() -> None:
    trained, bare = _model(), _model(feature_dim=6)
    bare.encoder_info = {}
    del bare.gauss_params["features"], bare.feature_decoder
    bare.load_state_dict(trained.state_dict())
    assert torch.equal(bare.gauss_params["features"], trained.gauss_params["features"])
    assert bare.encoder_info["fingerprint"] == "f"


def test_poses_convert_as_in_nerfstudio() -> None:
    from nerfstudio.models.splatfacto import get_viewmat

    from training.nerfstudio_plugin.cameras import to_camera

    cameras = _cameras()
    view = to_camera(cameras, divide=2)
    original = getattr(get_viewmat, "_torchdynamo_orig_callable", get_viewmat)
    torch.testing.assert_close(view.world_to_camera, original(cameras.camera_to_worlds)[0])
    assert (view.width, view.height, float(view.K[0, 2])) == (16, 14, 8.5)


def test_shrinking_equals_nerfstudios() -> None:
    from nerfstudio.models.splatfacto import resize_image

    from training.nerfstudio_plugin.model import shrink

    image = torch.rand(29, 33, 3)
    torch.testing.assert_close(shrink(image, 2), resize_image(image, 2))


def test_an_empty_crop_renders_the_background() -> None:
    from nerfstudio.data.scene_box import OrientedBox

    model = _model()
    model.eval()
    far = OrientedBox(torch.eye(3), torch.tensor([50.0, 0, 0]), torch.ones(3))
    outputs = model.get_outputs_for_camera(_cameras(), obb_box=far)
    assert set(outputs) >= {"rgb", "depth", "accumulation", "feature_pca"}
    assert float(outputs["rgb"].abs().max()) == 0


def test_antialiased_rendering_is_refused() -> None:
    with pytest.raises(InputError, match="classic"):
        _model(rasterize_mode="antialiased")


def test_opacities_are_reset_when_due_and_not_at_the_start() -> None:
    from training.nerfstudio_plugin.strategy import CappedStrategy

    strategy = CappedStrategy(prune_opa=0.01, reset_every=4, refine_start_iter=100, refine_stop_iter=50)
    params = torch.nn.ParameterDict({"opacities": torch.nn.Parameter(torch.full((5, 1), 2.0))})
    optimizers = {"opacities": torch.optim.Adam([params["opacities"]])}
    params["opacities"].grad = torch.zeros(5, 1)
    optimizers["opacities"].step()
    means2d = type("Gradient", (), {"grad": torch.zeros(1, 5, 2)})()
    info = {"width": 4, "height": 4, "n_cameras": 1, "radii": torch.ones(1, 5, 2)}
    info |= {"gaussian_ids": None, "means2d": means2d}
    state = strategy.initialize_state()
    for step in (1, 2, 3):
        strategy.step_post_backward(params, optimizers, state, step, info)
    assert float(params["opacities"].detach().min()) == 2.0
    strategy.step_post_backward(params, optimizers, state, 4, info)
    assert float(torch.sigmoid(params["opacities"]).max()) == pytest.approx(0.02)


def test_schedules_give_plain_floats_from_first_to_last_rate() -> None:
    from training.nerfstudio_plugin.optimization import FusedAdamConfig, PlainExponentialDecayConfig

    optimizer = FusedAdamConfig(lr=0.1).setup([torch.nn.Parameter(torch.zeros(2))])
    config = PlainExponentialDecayConfig(lr_final=0.001, max_steps=10)
    schedule = config.setup().get_scheduler(optimizer, 0.1)
    assert all(type(rate) is float for rate in schedule.state_dict()["_last_lr"])
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(0.001)


def _nan(pose: np.ndarray) -> None:
    pose[0, 3] = np.nan


def _sheared(pose: np.ndarray) -> None:
    pose[0, 1] += 0.2


@pytest.mark.parametrize("edit", [_nan, _sheared])
def test_unusable_poses_are_named_before_training(tmp_path: Path, edit: Any) -> None:
    from training.capture import check_capture

    write_capture(tmp_path / "capture", pose_edit=edit)
    with pytest.raises(InputError, match="03"):
        check_capture(tmp_path / "capture")


def test_absent_photos_end_ns_train_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_capture(tmp_path / "capture", missing=(0, 2, 3, 4, 5, 7))
    trainer = tiny_config(tmp_path / "capture", tmp_path / "out").setup()
    with pytest.raises(SystemExit) as ended:
        trainer.setup()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "6 of 9 photos" in said
    assert "images/00.png, images/02.png" in said
    assert "images/07.png" not in said
