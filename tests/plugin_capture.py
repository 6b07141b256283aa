"""A tiny procedural capture, and fit3d-small cut down to it, for the tests of the plugin."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

WIDTH, HEIGHT, PHOTOS = 48, 40, 9


def write_capture(folder: Path, *, missing: tuple[int, ...] = (), pose_edit: Any = None) -> Path:
    """A textured wall of points seen from an arc: photos, distorted intrinsics, sparse points."""
    from PIL import Image

    from render.ply import Points, save_points

    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    points = generator.uniform(-1, 1, (400, 3)) * [1.4, 1.2, 0.2]
    colours = (127 + 120 * np.sin(4 * points)).astype(np.uint8)
    frames = []
    for i in range(PHOTOS):
        angle = 0.08 * (i - PHOTOS // 2)
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = pose[:3, 2] * 3.0
        photo = _picture(points, colours, pose)
        if i not in missing:
            Image.fromarray(photo).save(folder / "images" / f"{i:02d}.png")
        if pose_edit is not None and i == 3:
            pose_edit(pose)
        frames.append({"file_path": f"images/{i:02d}.png", "transform_matrix": pose.tolist()})
    meta = {"camera_model": "OPENCV", "fl_x": 44.0, "fl_y": 44.0, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    meta |= {"k1": 0.03, "k2": 0.0, "p1": 0.0, "p2": 0.0, "w": WIDTH, "h": HEIGHT}
    content = {**meta, "ply_file_path": "sparse_pc.ply", "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    positions = torch.from_numpy(points.astype(np.float32))
    save_points(folder / "sparse_pc.ply", Points(positions, torch.from_numpy(colours)))
    return folder


def _picture(points: np.ndarray, colours: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Every pixel takes the colour of the projected point nearest to it."""
    from scipy.spatial import cKDTree

    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = np.stack([44 * local[:, 0] / -local[:, 2], 44 * -local[:, 1] / -local[:, 2]], 1)
    pixels += [WIDTH / 2, HEIGHT / 2]
    grid = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), -1).reshape(-1, 2)
    return colours[cKDTree(pixels).query(grid)[1]].reshape(HEIGHT, WIDTH, 3)


def tiny_config(data: Path, output: Path, *, encoder: str = "none", steps: int = 30) -> Any:
    """``fit3d-small`` for that capture: a few hundred Gaussians, densified within a few steps."""
    from training.nerfstudio_plugin.methods import fit3d_small

    config = copy.deepcopy(fit3d_small.config)
    config.machine.device_type = "cpu"
    config.machine.seed = 7
    config.output_dir = output
    config.timestamp = encoder
    config.max_num_iterations = steps
    config.data = data
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.data = data
    manager.encoder = encoder
    manager.feature_cache = output / "maps"
    manager.seed_pixels = 100
    model.feature_dim = 8
    model.feature_every = 1
    model.warmup_length = 5
    model.refine_every = 5
    model.stop_split_at = 26
    model.reset_alpha_every = 100
    model.resolution_schedule = 10
    model.max_gaussians = 700
    return config


def train(config: Any) -> Any:
    """What ``ns-train`` does with a configuration; returns the trainer."""
    from nerfstudio.utils import writer

    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    writer.GLOBAL_BUFFER.clear()
    config.save_config()
    from nerfstudio.scripts.train import _set_random_seed

    _set_random_seed(config.machine.seed)
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return trainer
