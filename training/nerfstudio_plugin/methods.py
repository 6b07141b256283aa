"""The methods ``fit3d`` and ``fit3d-small`` of ``ns-train``."""

from __future__ import annotations

from typing import Any

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from render.devices import resolve_device
from training.nerfstudio_plugin.datamanager import Fit3DDataManagerConfig
from training.nerfstudio_plugin.model import Fit3DModelConfig
from training.nerfstudio_plugin.optimization import FusedAdamConfig, PlainExponentialDecayConfig
from training.nerfstudio_plugin.trainer import Fit3DTrainerConfig

LOCAL = "127.0.0.1"
PAPER_STEPS = 30_000
SMALL_STEPS = 2_200


def _group(rate: float, final: float | None = None, steps: int = 0) -> dict[str, Any]:
    schedule = None if final is None else PlainExponentialDecayConfig(lr_final=final, max_steps=steps)
    return {"optimizer": FusedAdamConfig(lr=rate), "scheduler": schedule}


def _optimizers(steps: int, *, faster: float = 1.0) -> dict[str, Any]:
    """Learning rates of Kerbl et al. 2023, ``faster`` times higher for short runs."""
    return {
        "means": _group(1.6e-4 * faster, 1.6e-6 * faster, steps),
        "features_dc": _group(0.0025 * faster, 0.0025, steps),
        "features_rest": _group(0.0025 / 20 * faster),
        "opacities": _group(0.05),
        "scales": _group(0.005 * faster, 0.005, steps),
        "quats": _group(0.001 * faster, 0.001, steps),
        "features": _group(0.01, 0.001, steps),
        "feature_decoder": _group(0.001, 0.0001, steps),
        "camera_opt": _group(1e-4, 5e-7, steps),
        "bilateral_grid": _group(2e-3, 1e-4, steps),
    }


def _dataparser() -> NerfstudioDataParserConfig:
    return NerfstudioDataParserConfig(load_3D_points=True, eval_mode="interval", eval_interval=8)


fit3d = MethodSpecification(
    config=Fit3DTrainerConfig(
        method_name="fit3d",
        steps_per_eval_image=500,
        steps_per_eval_batch=0,
        steps_per_save=2000,
        steps_per_eval_all_images=5000,
        max_num_iterations=PAPER_STEPS,
        machine=MachineConfig(device_type=resolve_device().type),
        mixed_precision=False,
        pipeline=VanillaPipelineConfig(
            datamanager=Fit3DDataManagerConfig(
                dataparser=_dataparser(), cache_images_type="uint8", encoder="dense-descriptors"
            ),
            model=Fit3DModelConfig(background_color="black"),
        ),
        optimizers=_optimizers(PAPER_STEPS),
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, websocket_host=LOCAL),
        vis="viewer+tensorboard",
    ),
    description="Feature Gaussians of FiT3D: 30000 steps, 64-dimensional features.",
)

fit3d_small = MethodSpecification(
    config=Fit3DTrainerConfig(
        method_name="fit3d-small",
        steps_per_eval_image=0,
        steps_per_eval_batch=0,
        steps_per_save=500,
        steps_per_eval_all_images=0,
        max_num_iterations=SMALL_STEPS,
        machine=MachineConfig(device_type=resolve_device().type),
        mixed_precision=False,
        pipeline=VanillaPipelineConfig(
            datamanager=Fit3DDataManagerConfig(dataparser=_dataparser(), cache_images_type="uint8"),
            model=Fit3DModelConfig(
                background_color="black",
                sh_degree=1,
                sh_degree_interval=0,
                num_downscales=1,
                resolution_schedule=600,
                num_random=20_000,
                warmup_length=100,
                refine_every=100,
                stop_split_at=1600,
                stop_screen_size_at=0,
                reset_alpha_every=1000,
                pause_after_reset=0,
                cull_alpha_thresh=0.02,
                densify_grad_thresh=0.0002,
                max_gaussians=100_000,
                feature_downscale=4,
                feature_every=2,
            ),
        ),
        optimizers=_optimizers(SMALL_STEPS, faster=2.0),
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, websocket_host=LOCAL, quit_on_train_completion=True),
        vis="tensorboard",
    ),
    description="The same for CPUs: 2200 steps, half resolution at first, at most 100k Gaussians.",
)
