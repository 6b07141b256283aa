"""A real capture from photos to Gaussians to lifted features, with the programs a person runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
STEPS = 400  # a fifth of the preset


def run(*arguments: object) -> str:
    """Run a program of this environment and return all it said."""
    program, *rest = (str(argument) for argument in arguments)
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *rest],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def figure(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match, text[-2000:]
    return float(match[1])


@pytest.fixture(scope="module")
def scene(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("fox")
    said = run(
        "ns-train",
        "fit3d-small",
        *("--data", shared / "data" / "fox", "--output-dir", folder / "out", "--timestamp", "t"),
        *("--max-num-iterations", STEPS),
    )
    run("fit3d", "import", folder / "out" / "fox" / "fit3d-small" / "t", folder / "scene")
    return folder / "scene", figure(r"psnr ([\d.]+)", said)


def test_a_short_fit_renders_held_out_photos(scene: tuple[Path, float]) -> None:
    assert scene[1] > 24


def test_lifted_colours_render_held_out_photos_and_refining_sharpens_them(scene: tuple[Path, float]) -> None:
    lift = ("fit3d", "lift", scene[0], "--encoder", "rgb", "--hold-out", 8)
    mean = figure(r"PSNR ([\d.]+) dB", run(*lift, "--name", "mean"))
    refined = figure(r"PSNR ([\d.]+) dB", run(*lift, "--refine", 3))
    assert mean > 20
    assert refined > mean + 1


def test_lifted_descriptors_explain_held_out_photos(scene: tuple[Path, float]) -> None:
    said = run("fit3d", "lift", scene[0], "--encoder", "dense-descriptors", "--hold-out", 8)
    assert figure(r"([\d.]+)% of the variance explained", said) > 70


@pytest.mark.parametrize(
    ("prompt", "file", "least"), [("--scribbles", "scribble_0014.png", 0.88), ("--mask", "0014.png", 0.86)]
)
def test_marks_on_one_photo_select_the_fox_in_the_others(
    scene: tuple[Path, float], shared: Path, tmp_path: Path, prompt: str, file: str, least: float
) -> None:
    masks = shared / "data" / "fox" / "masks"
    if not (scene[0] / "fields" / "colours.safetensors").exists():
        run("fit3d", "lift", scene[0], "--encoder", "rgb", "--name", "colours")
    name = prompt.strip("-")
    marks = ("--view", "0014", prompt, masks / file)
    run("fit3d", "segment", scene[0], "--field", "colours", *marks, "--name", name)
    run("fit3d", "masks", scene[0], name, "--out", tmp_path / "masks")
    found = []
    for view in ("0002", "0008", "0021", "0026", "0030"):
        drawn, truth = (np.asarray(Image.open(folder / f"{view}.png")) > 127 for folder in (tmp_path / "masks", masks))
        found.append((drawn & truth).sum() / (drawn | truth).sum())
    assert np.mean(found) > least, found
