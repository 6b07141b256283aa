"""A nerfstudio run as a scene: frames, colours, features, and what damaged runs get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from render import Gaussians, InputError
from render.conventions import transform_camera
from render.rasterizer import reference
from render.scene import Scene
from training.import_run import import_run, read_config
from uplift.field import FeatureField

CONFIG = """!!python/object:nerfstudio.engine.trainer.TrainerConfig
method_name: fit3d-small
data: &id001 !!python/object/apply:pathlib.PosixPath
{parts}
pipeline: !!python/object:nerfstudio.pipelines.base_pipeline.VanillaPipelineConfig
  _target: !!python/name:nerfstudio.pipelines.base_pipeline.VanillaPipeline ''
  datamanager: !!python/object:somewhere.Config
    data: *id001
  model: !!python/object:somewhere.Model
    rasterize_mode: classic
    feature_downscale: 4
    grid_shape: !!python/tuple [16, 16, 8]
"""
SCALE = 0.4


def _transform() -> Tensor:
    angle = torch.tensor(0.7, dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[0, 0] = matrix[2, 2] = angle.cos()
    matrix[0, 2], matrix[2, 0] = angle.sin(), -angle.sin()
    matrix[:3, 3] = torch.tensor([0.3, -1.0, 2.0])
    return matrix


def _applied() -> Tensor:
    return torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]], dtype=torch.float64)


def _state(n: int, features: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state: dict[str, Any] = {
        "means": 0.3 * normal(n, 3),
        "quats": normal(n, 4),
        "scales": 0.2 * normal(n, 3) - 2,
        "opacities": normal(n, 1),
        "features_dc": normal(n, 3),
        "features_rest": 0.3 * normal(n, 8, 3),
    }
    state = {f"_model.gauss_params.{name}": value for name, value in state.items()}
    if features:
        state["_model.gauss_params.features"] = normal(n, features)
        state["_model.feature_decoder.weight"] = normal(3, features, 3, 3)
        state["_model.feature_decoder.bias"] = normal(3)
        info = {"name": "rgb", "dimension": 3, "fingerprint": "f", "licence": None, "state": {}}
        state["_model._extra_state"] = info
    return state


def _make_run(folder: Path, *, applied: bool = False, features: int = 0, edit: Any = None) -> tuple[Path, Path]:
    from PIL import Image

    data, run = folder / "data", folder / "run"
    (data / "images").mkdir(parents=True)
    (run / "nerfstudio_models").mkdir(parents=True)
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(data / "images" / "a.png")
    pose = np.eye(4)
    pose[2, 3] = 3.0
    meta: dict[str, Any] = {"camera_model": "OPENCV", "fl_x": 30.0, "fl_y": 30.0, "cx": 16.0, "cy": 12.0}
    meta |= {"w": 32, "h": 24, "frames": [{"file_path": "images/a.png", "transform_matrix": pose.tolist()}]}
    own = _transform()
    if applied:
        meta["applied_transform"] = _applied().tolist()
        square = torch.eye(4, dtype=torch.float64)
        square[:3] = _applied()
        own = own @ square
    (data / "transforms.json").write_text(json.dumps(meta))
    (run / "dataparser_transforms.json").write_text(json.dumps({"transform": own[:3].tolist(), "scale": SCALE}))
    parts = "\n".join(f"- {part}" for part in data.parts)
    (run / "config.yml").write_text(CONFIG.replace("{parts}", parts))
    state = _state(200, features)
    if edit is not None:
        edit(state)
    torch.save({"step": 9, "pipeline": state}, run / "nerfstudio_models" / "step-000000009.ckpt")
    return run, data


def _model_gaussians(state: dict[str, Any]) -> Gaussians:
    p = {key.removeprefix("_model.gauss_params."): value for key, value in state.items()}
    return Gaussians(
        p["means"],
        p["quats"],
        p["scales"].exp(),
        p["opacities"].sigmoid()[:, 0],
        torch.cat([p["features_dc"][:, None], p["features_rest"]], 1),
    )


@pytest.mark.parametrize("applied", [False, True])
def test_the_scene_seen_from_transforms_json_equals_the_run_seen_from_its_own_frame(
    tmp_path: Path, applied: bool
) -> None:
    run, _ = _make_run(tmp_path, applied=applied)
    import_run(run, tmp_path / "scene")
    scene = Scene.open(tmp_path / "scene")
    similarity = torch.diag(torch.tensor([SCALE, SCALE, SCALE, 1.0], dtype=torch.float64)) @ _transform()
    camera = scene.views[0].camera
    moved = transform_camera(camera.to(dtype=torch.float64), similarity).to(dtype=torch.float32)
    theirs = reference.rasterize(_model_gaussians(_state(200, 0)), moved).values
    ours = reference.rasterize(scene.gaussians, camera).values
    assert theirs.std() > 0.05
    assert (ours - theirs).abs().quantile(0.999) < 1e-3


def test_the_learned_features_become_a_field_with_their_decoder(tmp_path: Path) -> None:
    run, _ = _make_run(tmp_path, features=5)
    import_run(run, tmp_path / "scene")
    scene = Scene.open(tmp_path / "scene")
    learned = FeatureField.load(scene.fields["learned-rgb"], n=len(scene.gaussians))
    state = _state(200, 5)
    seen = learned.weights > 0
    assert seen.any()
    torch.testing.assert_close(learned.values[seen], state["_model.gauss_params.features"][seen], atol=2e-3, rtol=1e-3)
    assert torch.equal(learned.tensors["decoder.weight"], state["_model.feature_decoder.weight"])
    assert learned.metadata["decoder"]["photo_pixels_per_pixel"] == 4


def test_a_config_is_read_without_executing_it(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    text = f"pipeline: {{}}\nx: !!python/object/apply:os.mkdir ['{marker}']\n"
    (tmp_path / "config.yml").write_text(text)
    assert read_config(tmp_path / "config.yml")["x"] == [str(marker)]
    assert not marker.exists()


def _nan_mean(state: dict[str, Any]) -> None:
    state["_model.gauss_params.means"][3, 1] = torch.nan


def _no_gaussians(state: dict[str, Any]) -> None:
    for name, value in state.items():
        state[name] = value[:0]


def _not_gaussians(state: dict[str, Any]) -> None:
    state.clear()


@pytest.mark.parametrize(
    ("edit", "said"),
    [(_nan_mean, "means hold NaN"), (_no_gaussians, "zero Gaussians"), (_not_gaussians, "no Gaussians")],
)
def test_unusable_runs_are_a_sentence_and_leave_no_scene(tmp_path: Path, edit: Any, said: str) -> None:
    run, _ = _make_run(tmp_path, edit=edit)
    with pytest.raises(InputError, match=said):
        import_run(run, tmp_path / "scene")
    assert not (tmp_path / "scene").exists()


def test_missing_parts_of_a_run_are_a_sentence(tmp_path: Path) -> None:
    run, data = _make_run(tmp_path)
    with pytest.raises(InputError, match="config"):
        import_run(tmp_path / "nowhere", tmp_path / "scene")
    (data / "images" / "a.png").rename(data / "b.png")
    with pytest.raises(InputError, match=r"1 of 1 photos.*a\.png"):
        import_run(run, tmp_path / "scene")
    (data / "b.png").rename(data / "images" / "a.png")
    checkpoint = run / "nerfstudio_models" / "step-000000009.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        import_run(run, tmp_path / "scene")
    checkpoint.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        import_run(run, tmp_path / "scene")


def test_an_existing_scene_is_not_overwritten_unasked(tmp_path: Path) -> None:
    run, _ = _make_run(tmp_path)
    import_run(run, tmp_path / "scene")
    before = (tmp_path / "scene" / "gaussians.ply").read_bytes()
    with pytest.raises(InputError, match="overwrite"):
        import_run(run, tmp_path / "scene")
    assert (tmp_path / "scene" / "gaussians.ply").read_bytes() == before
    import_run(run, tmp_path / "scene", overwrite=True)


def test_degree_zero_colours_are_logits_as_in_splatfacto(tmp_path: Path) -> None:
    def drop_rest(state: dict[str, Any]) -> None:
        state["_model.gauss_params.features_rest"] = state["_model.gauss_params.features_rest"][:, :0]

    run, _ = _make_run(tmp_path, edit=drop_rest)
    import_run(run, tmp_path / "scene")
    colours = 0.28209479177387814 * Scene.open(tmp_path / "scene").gaussians.sh[:, 0] + 0.5
    expected = torch.sigmoid(_state(200, 0)["_model.gauss_params.features_dc"])
    torch.testing.assert_close(colours, expected, atol=1e-5, rtol=1e-5)
