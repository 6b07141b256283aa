"""Files of networks that were trained for a task, and of students that are encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from render.errors import InputError
from training.distillation.specific.models import ModelSpec, TaskModel, VitModel, build_model
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder, TrainableEncoder
from uplift.encoders.checkpoints import load_strictly
from uplift.encoders.distilled import Distilled, joined_licences, plain_student
from uplift.encoders.files import part_of, read_parts, save_parts, whole
from uplift.encoders.untrained import has_architecture, make_blank

MODEL, ENCODER = "model.safetensors", "encoder.safetensors"
KIND, FORMAT = "task network", 2  # 1 had the rates of a DeepLabv3 for large photos at every side
PREFIX = "model."  # begins the names of the tensors in a file
COMMAND = "fit3d distill task"


def save_model(path: str | Path, model: TaskModel, classes: Sequence[str], training: Mapping[str, Any]) -> None:
    """Write a network as safetensors with a JSON header; of a frozen transformer the head alone.

    Args:
        path: The file.
        model: Trained.
        classes: Names of what it tells apart.
        training: How it was made; JSON values.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    header: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "spec": model.spec.json(),
        "classes": list(classes),
        "training": dict(training),
    }
    if isinstance(model, VitModel):
        base = model.base[0]
        header["encoder"] = {"name": base.name, "options": base.options(), "weights": base.weights_hash()}
    save_parts(path, {PREFIX: model.state_dict()}, header)


def load_model(
    path: str | Path, *, weights: str | Path | None = None, device: torch.device | None = None
) -> tuple[TaskModel, tuple[str, ...]]:
    """A network that :func:`save_model` wrote, and the names of its classes.

    Args:
        path: The file.
        weights: Of the frozen transformer that it stands on; None = that encoder's own.
        device: Where it computes; None = the CPU.

    Raises:
        InputError: no such file, damaged, or the frozen transformer has other weights.
    """
    path, device = Path(path), device or torch.device("cpu")
    tensors, header = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    with whole(path, COMMAND):
        spec = ModelSpec(**header["spec"])
        encoder = None if spec.convolutional else _encoder(path, spec, header["encoder"], weights, device)
        # The weights are in the file, however they came into being.
        model = build_model(replace(spec, scratch=False), encoder=encoder, device=device)
        model.spec = spec
        load_strictly(model, part_of(tensors, PREFIX), spec.name, path)
        return model, tuple(header["classes"])


def restore(path: str | Path, model: TaskModel) -> None:
    """Give a network that stands on the same encoder the weights that :func:`save_model` wrote.

    Args:
        path: The file.
        model: The network as it began; it is changed.

    Raises:
        InputError: no such file, damaged, or of another network.
    """
    path = Path(path)
    tensors, _ = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    with whole(path, COMMAND):
        load_strictly(model, part_of(tensors, PREFIX), model.spec.name, path)


def save_encoder(path: str | Path, model: VitModel, teacher: TaskModel | None, training: Mapping[str, Any]) -> None:
    """Write a trained transformer without its head, as ``distilled:FILE`` reads it.

    Args:
        path: The file.
        model: Trained.
        teacher: That taught it; its licence has to be heeded.
        training: How it was made; JSON values.

    Raises:
        InputError: it is frozen.
        OSError: the disk is full, or the folder cannot be written.
    """
    if model.network is None:
        raise InputError(f"{model.spec.name} was not trained, its head alone was; use the encoder as it is.")
    origins: list[Encoder] = [] if model.spec.scratch else [model.base[0]]
    if isinstance(teacher, VitModel) and not teacher.spec.scratch:
        origins.append(teacher.base[0])
    made = Distilled(model.network.state_dict(), joined_licences(origins), training=training)
    made.save(path, plain_student(model.base[0]))


def _encoder(
    path: Path, spec: ModelSpec, about: Mapping[str, Any], weights: str | Path | None, device: torch.device
) -> TrainableEncoder:
    name, options = str(about["name"]), about["options"]
    if not spec.frozen and has_architecture(name):
        return make_blank(name, device, **options)
    encoder = load_encoder(name, weights, device, options=options)
    if not isinstance(encoder, TrainableEncoder):
        raise InputError(f"{path} stands on {name}, expected a vision transformer; make it again with {COMMAND}.")
    if spec.frozen and encoder.weights_hash() != about["weights"]:
        raise InputError(
            f"{path} stands on {name} with the weights {str(about['weights'])[:12]}, found "
            f"{str(encoder.weights_hash())[:12]}; give those weights."
        )
    return encoder
