"""Policies as files: safetensors with the logits and bounds, and a JSON header that says what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from render.errors import InputError
from training.augmentation.policy import Policy
from uplift.field import read_safetensors, write_safetensors

KIND = "augmentation policy"


class SavedPolicy(NamedTuple):
    """What a file has.

    Attributes:
        policy: As it was saved.
        found: How it was found, JSON values.
    """

    policy: Policy
    found: dict[str, Any]


def save_policy(path: str | Path, policy: Policy, found: Mapping[str, Any] | None = None) -> None:
    """Write a policy, atomically.

    Args:
        path: Of a ``.safetensors`` file.
        policy: What is saved; it is not changed.
        found: How it was found: data, network, seeds, figures; JSON values.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
        InputError: ``path`` is a folder, or lies below a file.
    """
    tensors = {"logits": policy.logits, "bounds": policy.bounds}
    plain = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {
        "kind": KIND,
        "names": list(policy.names),
        "steps": policy.steps,
        "deviation": policy.deviation,
        "found": dict(found or {}),
    }
    write_safetensors(path, plain, header)


def load_policy(path: str | Path) -> SavedPolicy:
    """Read what :func:`save_policy` wrote.

    Raises:
        InputError: no such file, damaged, something else, or of transformations that are not known.
    """
    tensors, header = read_safetensors(path)
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise InputError(f"{path} is no augmentation policy; expected a file that `fit3d augment search` wrote.")
    try:
        policy = Policy(header["names"], tensors["logits"], tensors["bounds"], deviation=header["deviation"])
        if policy.steps != header["steps"]:
            raise InputError(f"its header says {header['steps']} steps, its logits have {policy.steps}.")
        return SavedPolicy(policy, dict(header["found"]))
    except InputError as error:
        raise InputError(f"{path} is damaged, or of a newer fit3d: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: its header lacks or misstates {error}; find the policy again.") from error
