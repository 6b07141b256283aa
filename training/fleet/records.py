"""What was done to a scene, with which settings, and what it took: one JSON file for each scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from render.errors import InputError
from render.files import atomic_file


@dataclass(frozen=True)
class Done:
    """A stage that is done.

    Attributes:
        fingerprint: Of everything that its result depends on.
        seconds: From start to end.
        cpu: Seconds of all processors.
        peak: Largest memory of a process, in bytes.
        resumed_from: Step from which an interrupted fit went on; its costs are of the rest alone.
    """

    fingerprint: str
    seconds: float
    cpu: float
    peak: int
    resumed_from: int | None = None


@dataclass(frozen=True)
class Record:
    """The stages of a scene that are done, by name.

    Attributes:
        source: What the scene was made of.
        stages: In the order in which they were done.
        begun: The fingerprint of every stage that was ever begun: what lies there may be replaced.
    """

    source: str
    stages: Mapping[str, Done] = field(default_factory=dict)
    begun: Mapping[str, str] = field(default_factory=dict)

    def with_begun(self, name: str, fingerprint: str) -> Record:
        """The record of a stage that is about to begin."""
        return replace(self, begun={**self.begun, name: fingerprint})

    def with_stage(self, name: str, done: Done) -> Record:
        """The record with one stage more, or another."""
        return replace(self, stages={**{k: v for k, v in self.stages.items() if k != name}, name: done})

    def save(self, path: Path) -> None:
        """Write at once or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path, source: str) -> Record:
        """Read a record; an empty one where there is none.

        Raises:
            InputError: the file is damaged, or of a scene of that name made of another source.
        """
        if not path.is_file():
            return Record(source)
        try:
            content = json.loads(path.read_text("utf-8"))
            stages = {name: Done(**done) for name, done in content["stages"].items()}
            begun = {str(name): str(fingerprint) for name, fingerprint in content["begun"].items()}
            found = str(content["source"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged or not a record of fit3d fit-scenes; remove it.") from error
        if found != source:
            raise InputError(
                f"{path} is the record of {found}, not of {source}; rename one of the folders, or give another --out."
            )
        return Record(found, stages, begun)
