"""``fit3d probe``: what a small head reads from the features of frozen encoders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.console import progress_bars, say, show, wrote
from training.layouts import Layout

if TYPE_CHECKING:
    from app.result_tables import ResultTable
    from training.probing import Augmenting, DptSettings, FeatureSource, ProbeData, ProbeResult, ProbeSettings

TITLES = {"segmentation": "Semantic segmentation", "depth": "Depth", "classification": "Classification of photos"}
RESULTS, TABLES, TOLD, FEATURES = "results.json", "results.md", "predictions.png", "features.png"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Fit small heads on frozen features of the training photos, and measure them on others (FiT3D, section 3.3).

    Segmentation: batch norm and a linear layer on every patch.  Depth: the same on every patch beside the [CLS] token,
    into 256 bins.  Classification: the same on the [CLS] token.  Features are computed once and kept on disk.  Writes
    OUT/results.json and results.md, and predictions.png and features.png to look at.

    Data are recognised by their files: rooms (train/ROOM, test/ROOM), CamVid, KITTI (Eigen's split), ScanNet,
    ScanNet++, NYUv2, ADE20K, Pascal VOC; a folder SPLIT/images with SPLIT/labels and classes.txt, or SPLIT/depths;
    a capture whose transforms.json names depths; train.npz and test.npz; or train/CLASS and test/CLASS.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the data; of rooms, with --train, those that are measured."""
    out: Path
    """Folder for the results."""
    task: Literal["segmentation", "depth", "classification"] = "segmentation"
    """What is told."""
    encoders: tuple[str, ...] = ("tiny-dino",)
    """Features to compare, the first is what others are compared with.  A + puts several side by side:
    tiny-dino+tiny-dino, tiny-dino+fit3d:runs/a/encoder.safetensors@alone; maps:FOLDER are arrays
    FOLDER/GROUP/NAME.npy [gh, gw, c]."""
    weights: dict[str, Path] = field(default_factory=dict)
    """Files of weights by encoder, such as: tiny-dino runs/tiny-dino.safetensors."""
    layout: Layout = "auto"
    """How the folder is laid out, where its files do not tell."""
    train: tuple[Path, ...] = ()
    """Folders of rooms to learn from."""
    head: Literal["linear", "dpt"] = "linear"
    """linear, or the DPT head on four layers of a vision transformer."""
    seeds: int = 3
    """How many heads are fitted; from them are the means and the intervals."""
    seed: int = 0
    """The first of them."""
    train_photos: int | None = None
    """Learn from so many photos at most, evenly spaced."""
    test_photos: int | None = None
    """Measure so many photos at most, evenly spaced."""
    side: int | None = None
    """Shrink photos until the shorter side has so many pixels (ADE20K's and Pascal VOC's are enlarged, too); by default
    what is usual for the data."""
    steps: int | None = None
    """Steps of fitting a head; by default 600, of a DPT head 300."""
    rate: float | None = None
    """Learning rate; by default 1e-2, for depth 1e-3, of a DPT head 3e-4."""
    batch: int | None = None
    """Patches of a step, by default 4096; of a DPT head photos, 8."""
    width: int = 64
    """Channels of a DPT head; the published one has 256."""
    mean_patch: bool = False
    """Classification: the mean of the patches beside the [CLS] token."""
    augmentation: str | None = None
    """Let heads learn from augmented copies of the training photos: a file of fit3d augment search, trivial-ra,
    trivial-wide, uniform (what a search begins with), or none (mirrors alone).  They are encoded anew every time; for
    depth colours alone are changed."""
    copies: int | None = None
    """With --augmentation: copies of each photo, by default 4."""
    flips: bool = True
    """With --augmentation: mirror copies half of the time, but for depth."""
    memory: float = 2.0
    """Gigabytes of features in memory, at most; of more, every photo gives random patches."""
    show: int = 4
    """Test photos in the pictures, evenly spaced; 0 = no pictures."""
    cache: Path | None = None
    """Folder where features are kept; by default that of all commands."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Fit, measure, print and write."""
        from app.result_tables import write_markdown
        from render.devices import resolve_device
        from render.spacing import evenly_spaced
        from training.probing import DptSettings, ProbeSettings, run_probe

        self._check()
        settings, augmenting = self._settings(), self._augmenting()
        data = self._data()
        sources = self._sources()
        chosen = evenly_spaced(len(data.test), self.show)
        say(f"{data.name}: {len(data.train)} photos to learn from, {len(data.test)} to measure")
        if augmenting is not None:
            count = augmenting.copies * len(data.train)
            say(f"Each encoder sees {count} augmented copies of the former, whose features are not kept.")
        results: list[ProbeResult] = []
        with progress_bars() as progress:
            for source in sources:
                results.append(
                    run_probe(
                        data,
                        self.task,
                        source,
                        head=self.head,
                        seeds=range(self.seed, self.seed + self.seeds),
                        settings=settings if isinstance(settings, ProbeSettings) else None,
                        dpt=settings if isinstance(settings, DptSettings) else None,
                        augmenting=augmenting,
                        show=chosen,
                        device=resolve_device(self.device),
                        progress=progress,
                    )
                )
        tables = self._tables(data, results)
        for table in tables:
            show(table.rich())
        write_markdown(self.out / TABLES, f"Probe of {data.name}", tables)
        wrote(self.out / TABLES)
        self._write(data, results, augmenting)
        if chosen:
            self._draw(data, sources, results, chosen)

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        numbers: dict[str, float | None] = {
            "--train-photos": self.train_photos,
            "--test-photos": self.test_photos,
            "--side": self.side,
        }
        numbers |= {"--steps": self.steps, "--rate": self.rate, "--batch": self.batch, "--seeds": self.seeds}
        check_positive({**numbers, "--width": self.width, "--memory": self.memory, "--copies": self.copies})
        if not self.encoders or len(set(self.encoders)) < len(self.encoders):
            raise InputError(
                f"Expected different --encoders, at least one; found {', '.join(self.encoders) or 'none'}."
            )
        for option, value in (("--show", self.show), ("--seed", self.seed)):
            if value < 0:
                raise InputError(f"{option} must be at least 0, found {value}.")
        if self.augmentation is None and (self.copies is not None or not self.flips):
            raise InputError("--copies and --no-flips are about --augmentation: choose one, or leave them out.")
        if self.augmentation == "none" and (self.task == "depth" or not self.flips):
            raise InputError("--augmentation none only mirrors photos, and not for depth; leave it out.")
        if self.head == "dpt" and self.task == "classification":
            raise InputError("A DPT head tells of pixels; use --head linear for the classification of photos.")
        used = {part.strip() for name in self.encoders for part in name.split("+")}
        unused = sorted(set(self.weights) - used)
        if unused:
            raise InputError(f"--weights names {', '.join(unused)}, which is not among the encoders.")

    def _data(self) -> ProbeData:
        from dataclasses import replace

        from training.probing.data import open_data

        data = open_data(self.data, self.layout, train=self.train).limited(self.train_photos, self.test_photos)
        return (data if self.side is None else replace(data, side=self.side)).for_task(self.task)

    def _sources(self) -> list[FeatureSource]:
        from training.probing import open_source
        from uplift.maps import FeatureMapCache, default_map_folder

        cache = FeatureMapCache(self.cache or default_map_folder())
        return [open_source(name, self.weights, self.device, cache=cache) for name in self.encoders]

    def _settings(self) -> ProbeSettings | DptSettings:
        from app.scenes import asked_for
        from training.probing import DptSettings, ProbeSettings

        known = asked_for({"steps": self.steps, "rate": self.rate, "batch": self.batch})
        if self.head == "dpt":
            return DptSettings(width=self.width, **known)
        return ProbeSettings(memory=self.memory, mean_patch=self.mean_patch, **known)

    def _augmenting(self) -> Augmenting | None:
        from training.augmentation import augmentation_of
        from training.probing.augmented import COPIES, Augmenting

        if self.augmentation is None:
            return None
        augmentation = augmentation_of(self.augmentation, flip=self.flips)
        if self.task == "depth":
            augmentation = augmentation.still()
        return Augmenting(augmentation, COPIES if self.copies is None else self.copies, self.seed)

    def _tables(self, data: ProbeData, results: Sequence[ProbeResult]) -> list[ResultTable]:
        from app.probe_tables import difference_table, figure_table

        head = "DPT head" if self.head == "dpt" else "linear head"
        title = f"{TITLES[self.task]}, {data.name}, {head}, {len(data.test)} photos"
        if self.augmentation is not None:
            title += f", learned from copies by {self.augmentation}"
        tables = [figure_table(title, results)]
        if len(results) > 1:
            tables.append(difference_table(f"How much larger than with {results[0].source}", results))
        return tables

    def _write(self, data: ProbeData, results: Sequence[ProbeResult], augmenting: Augmenting | None) -> None:
        from dataclasses import asdict

        from render.files import atomic_file
        from training.probing import compare, interval_over_seeds
        from training.probing.scores import FIGURES, figures_of

        first = results[0]
        content: dict[str, Any] = {
            "data": {"name": data.name, "train": len(data.train), "test": len(data.test)},
            "task": self.task,
            "head": self.head,
            "settings": asdict(self._settings()),
            "augmentation": None if augmenting is None else [augmenting.augmentation.title, augmenting.copies],
            "results": [],
        }
        for result in results:
            found = figures_of(result.scores)
            entry = result.json()
            entry["intervals"] = {name: interval_over_seeds(values).json() for name, values in found.items()}
            if result is not first:
                gaps = {name: compare(result.scores, first.scores, name).json() for name in FIGURES[self.task]}
                entry["larger_than_first"] = gaps
            content["results"].append(entry)
        with atomic_file(self.out / RESULTS) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        wrote(self.out / RESULTS)

    def _draw(
        self, data: ProbeData, sources: Sequence[FeatureSource], results: Sequence[ProbeResult], chosen: Sequence[int]
    ) -> None:
        from app.pictures import save_picture
        from app.probe_pictures import feature_sheet, prediction_sheet

        if self.task != "classification":
            save_picture(self.out / TOLD, prediction_sheet(data, results))
            wrote(self.out / TOLD)
        save_picture(self.out / FEATURES, feature_sheet(data, sources, chosen))
        wrote(self.out / FEATURES)
