"""A nerfstudio run becomes a scene folder in the frame of the ``transforms.json`` that it was trained on.

Only files are read (``config.yml`` as plain data, the checkpoint with ``weights_only``): nothing of
nerfstudio is imported, and nothing in a run is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render import Gaussians, InputError, lift_views_
from render.conventions import transform_gaussians
from render.progress import Progress, silent
from render.readers import read_transforms
from render.readers.capture import Capture
from render.scene import write_scene
from training.capture import transforms_file
from uplift.field import FeatureField

if TYPE_CHECKING:
    from jaxtyping import Float

CONFIG = "config.yml"
DATAPARSER = "dataparser_transforms.json"
PARAMETERS = "_model.gauss_params."
# What nerfstudio assumes was done to poses beside an old COLMAP project that does not say.
OLD_COLMAP_TRANSFORM = ((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, -1, 0))
SH_C0 = 0.28209479177387814
VIEWS_AT_ONCE = 4


def import_run(
    run: Path, scene: Path, *, overwrite: bool = False, link: bool = False, progress: Progress = silent
) -> None:
    """Write the scene folder of a ``fit3d`` or ``splatfacto`` run, features included where it has any.

    nerfstudio's orientation, centring and scaling are undone, spherical harmonics rotated along.  Learned
    features become the field ``learned-ENCODER`` with their decoder and the encoder's fitted state.

    Args:
        run: The folder with ``config.yml`` that ``ns-train`` wrote, or that file.
        scene: The folder to make.
        overwrite: Replace a scene that exists.
        link: Share photo files with the run instead of copying them, where the file system can.
        progress: Told of photos and of views.

    Raises:
        InputError: not a run, of another method, its photos or checkpoint are gone, or ``scene`` exists.
    """
    run = run.parent if run.name == CONFIG else run
    config = read_config(run / CONFIG)
    state = _latest_checkpoint(run)
    capture, data = _capture(config, run)
    similarity = to_transforms_frame(run, capture.transforms, data)
    gaussians = transform_gaussians(_gaussians(state, config), similarity)
    missing = [photo for photo in capture.photos if not photo.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(capture.photos)} photos of the run are gone, the first is {missing[0]}."
        )

    def write_field(folder: Path) -> None:
        learned = _learned_field(state, config, gaussians, capture, progress)
        if learned is not None:
            learned.save(folder / "fields" / f"learned-{learned.encoder}.safetensors")

    write_scene(
        scene,
        gaussians,
        capture.transforms,
        capture.photos,
        points=None if capture.points is None else capture.points(),
        attachments=capture.attachments,
        finish=write_field,
        overwrite=overwrite,
        link=link,
        progress=progress,
    )


def read_config(path: Path) -> dict[str, Any]:
    """A ``config.yml`` of nerfstudio as plain data: its Python objects become dictionaries and lists.

    Raises:
        InputError: no such file, or not a configuration.
    """
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """Builds no Python object."""

    def plain(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", plain)
    if not path.is_file():
        raise InputError(f"Expected the {CONFIG} of a nerfstudio run at {path}, found nothing.")
    try:
        config = yaml.load(path.read_text("utf8"), Loader=PlainLoader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a configuration: {error}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("pipeline"), dict):
        raise InputError(f"{path} is not the configuration of a nerfstudio run.")
    return config


def to_transforms_frame(run: Path, transforms: Mapping[str, Any], data: Path) -> Float[Tensor, "4 4"]:
    """The similarity from nerfstudio's frame back to that of ``transforms.json``; float64.

    nerfstudio stores ``x_model = scale * (T A x_original)`` with its own orientation and centring ``T`` and
    the ``applied_transform`` ``A``; poses in ``transforms.json`` are already ``A x_original``.

    Raises:
        InputError: the run does not tell its transform.
    """
    path = run / DATAPARSER
    if not path.is_file():
        raise InputError(f"The run {run} lacks {DATAPARSER}, which ns-train writes when training begins.")
    stored = json.loads(path.read_text("utf8"))
    applied = transforms.get("applied_transform")
    if applied is None and (data / "colmap" / "sparse" / "0").exists():
        applied = OLD_COLMAP_TRANSFORM
    own = _square(stored["transform"]) @ np.linalg.inv(_square(np.eye(4)[:3] if applied is None else applied))
    scale = float(stored["scale"]) / float(transforms.get("applied_scale", 1.0))
    return torch.from_numpy(np.linalg.inv(own) @ np.diag([1 / scale, 1 / scale, 1 / scale, 1.0]))


def _square(rows: Any) -> Float[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    matrix[:3] = np.asarray(rows, np.float64)[:3]
    return matrix


def _latest_checkpoint(run: Path) -> dict[str, Any]:
    """The model's state of the last checkpoint, keys without wrappers."""
    folder = run / "nerfstudio_models"
    found = sorted(folder.glob("step-*.ckpt"))
    if not found:
        raise InputError(f"The run {run} has no checkpoint in {folder}; train it first.")
    # splatfacto's schedulers leave numpy numbers in its checkpoints.
    numpy_types: list[Any] = [np.dtype, np.dtypes.Float64DType, type(np.float64(0).__reduce__()[0])]
    try:
        with torch.serialization.safe_globals(numpy_types):
            checkpoint = torch.load(found[-1], map_location="cpu", weights_only=True)
        state = checkpoint["pipeline"]
    except (RuntimeError, EOFError, KeyError, OSError, ValueError) as error:
        raise InputError(f"{found[-1]} is damaged or not a checkpoint of nerfstudio: {error}.") from error
    return {key.replace("_model.module.", "_model."): value for key, value in state.items()}


def _capture(config: Mapping[str, Any], run: Path) -> tuple[Capture, Path]:
    manager = config["pipeline"].get("datamanager", {})
    parts = manager.get("data") or config.get("data") or manager.get("dataparser", {}).get("data")
    if not parts:
        raise InputError(f"{run / CONFIG} does not tell where the photos are.")
    data = Path(*parts) if isinstance(parts, list) else Path(parts)
    path = transforms_file(data)
    if path is None:
        raise InputError(
            f"The run was trained on {data}; expected a transforms.json there (relative paths start at the "
            "folder where ns-train was called)."
        )
    return read_transforms(path), path.parent


def _gaussians(state: Mapping[str, Any], config: Mapping[str, Any]) -> Gaussians:
    parts = ("means", "quats", "scales", "opacities", "features_dc", "features_rest")
    missing = [name for name in parts if PARAMETERS + name not in state]
    if missing:
        raise InputError(
            f"The run of {config.get('method_name')} has no Gaussians ({', '.join(missing)}); expected one of "
            "fit3d, fit3d-small or splatfacto."
        )
    if config["pipeline"].get("model", {}).get("rasterize_mode", "classic") != "classic":
        raise InputError(
            "The run was trained with rasterize_mode antialiased, which changes how Gaussians look and has no "
            "place in a scene; train it in the classic mode."
        )
    p = {name: state[PARAMETERS + name].float() for name in parts}
    if len(p["means"]) == 0:
        raise InputError("The run has zero Gaussians; train it again with more seeds.")
    bad = [name for name, value in p.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise InputError(f"The run's {', '.join(bad)} hold NaN or infinite values; the training diverged.")
    dc = p["features_dc"]
    if p["features_rest"].shape[1] == 0:  # splatfacto's convention: without view dependence they are logits
        dc = (torch.sigmoid(dc) - 0.5) / SH_C0
    return Gaussians(
        means=p["means"],
        quats=torch.nn.functional.normalize(p["quats"], dim=-1),
        scales=torch.exp(p["scales"]),
        opacities=torch.sigmoid(p["opacities"]).squeeze(-1),
        sh=torch.cat([dc[:, None, :], p["features_rest"]], 1),
    )


def _learned_field(
    state: Mapping[str, Any],
    config: Mapping[str, Any],
    gaussians: Gaussians,
    capture: Capture,
    progress: Progress,
) -> FeatureField | None:
    """The features of the Gaussians with what decodes them; None if the run learned none."""
    if PARAMETERS + "features" not in state:
        return None
    weights = torch.zeros(len(gaussians))
    sums = torch.zeros(len(gaussians), 1)
    cameras = [view.camera for view in capture.views]
    for start in range(0, len(cameras), VIEWS_AT_ONCE):
        progress(start, len(cameras), "weighing Gaussians")
        some = cameras[start : start + VIEWS_AT_ONCE]
        lift_views_(sums, weights, gaussians, some, [torch.zeros(1, 1, 1)] * len(some))
    progress(len(cameras), len(cameras), "weighing Gaussians")
    info = state["_model._extra_state"]
    values = state[PARAMETERS + "features"].float()
    return FeatureField(
        values=torch.where(weights[:, None] > 0, values, torch.zeros_like(values)),
        weights=weights,
        encoder=info["name"],
        metadata={
            "fingerprint": info["fingerprint"],
            "licence": info["licence"],
            "learned": True,
            "decoder": {
                "kernel": 3,
                "padding": "replicate",
                "photo_pixels_per_pixel": config["pipeline"]["model"].get("feature_downscale", 1),
            },
        },
        tensors={
            "decoder.weight": state["_model.feature_decoder.weight"].float(),
            "decoder.bias": state["_model.feature_decoder.bias"].float(),
            **{f"encoder.{name}": tensor for name, tensor in info["state"].items()},
        },
    )
