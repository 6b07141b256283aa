"""The scenes of a list, what is to be done with them, and how it went."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from training.fleet.sources import kind_of


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder whose features are lifted.

    Attributes:
        name: In the registry.
        field: Name of the field.
        weights: Local file of its weights; None = its own.
        fingerprint: Hash of weights and settings.
        dimension: Channels.
    """

    name: str
    field: str
    weights: Path | None
    fingerprint: str
    dimension: int


@dataclass(frozen=True)
class Settings:
    """What is done with every scene.

    Attributes:
        method: Of ``ns-train``.
        training: More arguments of it.
        learned: The encoder whose features are learned while fitting; None = the method's own.
        encoders: Whose features are lifted.
        lifting: More arguments of ``fit3d lift``.
        refit: Fit Gaussians also where there are some.
        overwrite: Make again what was made with other settings.
        keep_runs: Keep the folders of ``ns-train`` after the import.
        device: auto, cpu or cuda; which GPU is the slot's.
    """

    method: str = "fit3d-small"
    training: tuple[str, ...] = ()
    learned: EncoderChoice | None = None
    encoders: tuple[EncoderChoice, ...] = ()
    lifting: tuple[str, ...] = ()
    refit: bool = False
    overwrite: bool = False
    keep_runs: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class SceneJob:
    """One scene of the list.

    Attributes:
        name: Of the scene; no other has it.
        source: Capture, scene or run.
        out: Folder of the whole list.
        settings: What is done.
        need: How much memory that may take, in bytes.
    """

    name: str
    source: Path
    out: Path
    settings: Settings
    need: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the source is a scene that only gets fields."""
        return kind_of(self.source) == "scene" and not self.settings.refit

    @property
    def scene(self) -> Path:
        """The scene folder that features are lifted in."""
        return self.source if self.in_place else self.out / "scenes" / self.name

    @property
    def record(self) -> Path:
        """What was done, and what it took."""
        return self.out / "records" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """Locked by who works on the scene."""
        return self.record.with_suffix(".lock")

    @property
    def logs(self) -> Path:
        """What the commands said."""
        return self.out / "logs" / self.name

    @property
    def runs(self) -> Path:
        """What fitting leaves, until it is imported."""
        return self.out / "runs" / self.name

    @property
    def run(self) -> Path:
        """The folder of ``ns-train``'s run."""
        return self.runs / self.settings.method / "run"

    @property
    def copy(self) -> Path:
        """A capture of another format, as ``ns-train`` reads it."""
        return self.out / "captures" / self.name


@dataclass(frozen=True)
class Slot:
    """What a job may use.

    Attributes:
        threads: Of the processor; None = all.
        devices: GPUs, as CUDA_VISIBLE_DEVICES says it; None = those that this process sees.
        stop: Set to end the job.
    """

    threads: int | None = None
    devices: str | None = None
    stop: threading.Event | None = None


@dataclass(frozen=True)
class Outcome:
    """How a scene went.

    Attributes:
        name: Of the scene.
        done: The stages that were done now.
        failed: The stage that failed; None if all went well.
        cause: Why it failed, in one line.
        log: What the command said.
    """

    name: str
    done: tuple[str, ...] = ()
    failed: str | None = None
    cause: str = ""
    log: Path | None = None
