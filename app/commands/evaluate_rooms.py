"""``fit3d evaluate rooms``: scribbles, texts and linear probes on rooms that ``fit3d rooms`` made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.commands.evaluate_benchmarks import Figured, Figures, say_skipped
from app.console import progress_bars, say, show, wrote

if TYPE_CHECKING:
    from app.result_tables import ResultTable
    from render.progress import Progress
    from training.probing import FeatureSource, ProbeData, ProbePhoto, Task
    from training.rooms.reading import RoomScene
    from uplift.evaluation.shared_scene import SharedScene
    from uplift.evaluation.store import FigureStore

Part = Literal["scribbles", "text", "probes"]
RESULTS = "results.md"
TASKS: tuple[Task, ...] = ("segmentation", "depth")
PROTOCOL = 2  # figures of other probes are not mixed with them


@dataclass(frozen=True, kw_only=True)
class EvaluateRooms(Figured):
    """Rooms: things from scribbles, texts, and linear probes; means and standard deviations over the rooms.

    Scribbles: every thing that some photo shows on at least 0.5 % of its pixels is marked there and scored in
    others that show it (0.2 % of the pixels, and a tenth of what the marked one shows).  Texts: every query of a
    room, by LERF's localization protocol in all photos that show its answer, and by the overlap of masks in some.
    Probes: one linear layer for classes and one for depth, learned from the photos of --train; wider photos of the
    measured rooms are shrunk to their width.
    """

    rooms: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of rooms, or folders that hold such; of the split test for figures that mean something."""
    train: tuple[Path, ...] = ()
    """The same for the photos that probes learn from, of the split train."""
    parts: tuple[Part, ...] = ("scribbles", "text", "probes")
    """What to measure."""
    encoders: tuple[str, ...] = ("tiny-dino", "dense-descriptors", "tiny-dino-untrained", "rgb")
    """Encoders of the features, for scribbles and probes."""
    variants: tuple[str, ...] = (
        "geometry only",
        "single view",
        "uplifting",
        "uplifting + diffusion",
        "random walker",
        "default",
    )
    """The columns for scribbles; an unknown name lists all."""
    text_encoder: str = "tiny-clip"
    """Encoder that texts are compared with."""
    structure: str = "tiny-dino"
    """Encoder of the features that guide the diffusion of relevancies."""
    sam: str | None = None
    """File with weights of Segment Anything, or the name tiny-sam; without, what needs it is left out."""
    weights: dict[str, Path] = field(default_factory=dict)
    """Files of weights by encoder, such as: tiny-dino runs/tiny-dino.safetensors."""
    views: int = 8
    """Photos that a thing is scored in, at most, evenly spaced among those that show it; and about so many of a
    room, evenly spaced, in which texts are masked."""
    train_photos: int = 300
    """Photos that probes learn from, at most; evenly spaced over all."""
    draw: bool = False
    """Write masks and heat maps, too: some hundred files for each room."""

    def run(self) -> None:
        """Measure, print and write."""
        from app.result_tables import write_markdown
        from uplift.evaluation.runs import choose_variants

        self._check()
        choose_variants(self.variants)
        rooms = self._opened()
        hashes = self._hashes()
        with progress_bars() as progress:
            train = self._train_photos(rooms) if "probes" in self.parts else None
            store, jobs = self._store(rooms, hashes, train)
            store.check(jobs)
            done: dict[str, Figures] = {}
            for room in rooms:
                done |= self._measure(room, store, progress)
            if train is not None:
                done |= self._probe(rooms, train, store, progress)
        say_skipped([figures for figures in done.values() if "skipped" in figures])
        tables = self._tables(rooms, done)
        for table in tables:
            show(table.rich())
        write_markdown(self.out / RESULTS, "Figures on rooms", tables)
        wrote(self.out / RESULTS)
        wrote(store.finish(done))

    def _check(self) -> None:
        from render.errors import InputError

        if not self.parts or not self.encoders or min(self.views, self.train_photos) < 1:
            raise InputError(
                "Expected at least one of --parts and --encoders, and --views and --train-photos of at least 1, found "
                f"{len(self.parts)}, {len(self.encoders)}, {self.views} and {self.train_photos}."
            )
        if "probes" in self.parts and not self.train:
            raise InputError("Probes learn from other rooms: give --train, or leave probes out of --parts.")
        if "probes" not in self.parts and self.train:
            raise InputError("--train is what probes learn from, and --parts leaves them out; drop one of the two.")

    def _opened(self) -> list[RoomScene]:
        """The rooms to measure; with Gaussians and photos."""
        rooms = opened_rooms(self.rooms)
        for room in rooms:
            room.scene.require_photos()
            if {"scribbles", "text"} & set(self.parts):
                room.scene.gaussians  # noqa: B018  whoever has none is told before any work
        seen = sorted({room.split for room in rooms} - {"test"})
        if seen:
            say(f"rooms of the split {', '.join(seen)} are measured: bundled encoders may have learned from them")
        return rooms

    def _hashes(self) -> dict[str, str | None]:
        """Digests of the weights of all encoders that will be needed; whichever cannot be had is told at once."""
        from render.errors import InputError
        from uplift.encoders import load_encoder

        names = [*self.encoders] if {"scribbles", "probes"} & set(self.parts) else []
        names += [self.text_encoder, self.structure] if "text" in self.parts else []
        unused = sorted(set(self.weights) - set(names))
        if unused:
            raise InputError(f"--weights names {', '.join(unused)}, which is not among the encoders that are measured.")
        weights = self.weights
        return {n: load_encoder(n, weights.get(n), self.device).weights_hash() for n in dict.fromkeys(names)}

    def _train_photos(self, rooms: Sequence[RoomScene]) -> list[ProbePhoto]:
        """What probes learn from, which must be of other rooms."""
        from training.probing.data.rooms import check_apart, room_photos

        train = opened_rooms(self.train)
        check_apart(train, rooms)
        return room_photos(train, self.train_photos)

    def _store(
        self, rooms: Sequence[RoomScene], hashes: Mapping[str, str | None], train: Sequence[ProbePhoto] | None
    ) -> tuple[FigureStore, list[str]]:
        """The store, and all jobs; figures of a job depend on what they were made of alone."""
        from uplift.evaluation.store import files_digest

        inputs: dict[str, dict[str, Any]] = {}
        files = {room.path.name: files_digest(_files(room)) for room in rooms}
        for room in files:
            if "scribbles" in self.parts:
                for encoder in self.encoders:
                    rows = [v.name for v in self._variants_of(encoder)]
                    common = {"rows": rows, "views": self.views, "sam": str(self.sam)}
                    inputs[_scribbles(room, encoder)] = {"files": files[room], "weights": hashes[encoder], **common}
            if "text" in self.parts:
                names = [self.text_encoder, self.structure]
                found = {"encoders": names, "weights": [hashes[name] for name in names]}
                found |= {"sam": str(self.sam), "views": self.views}
                inputs[_text(room)] = {"files": files[room], **found}
        if train is not None:
            learned = _photos_digest(train)
            for encoder in self.encoders:
                tests = {"files": files, "train": learned, "protocol": PROTOCOL}
                inputs[_probe(encoder)] = {"weights": hashes[encoder], **tests}
        return self.store(inputs, benchmark="rooms"), list(inputs)

    def _variants_of(self, encoder: str) -> list[Any]:
        """What does not depend on the features is measured with the first encoder alone."""
        from uplift.evaluation.runs import choose_variants

        first = encoder == self.encoders[0]
        return [variant for variant in choose_variants(self.variants) if variant.of_features or first]

    def _measure(self, room: RoomScene, store: FigureStore, progress: Progress) -> dict[str, Figures]:
        """Scribbles and texts of one room, as far as they are still to do."""
        from uplift.evaluation.runs import sam_predictor
        from uplift.evaluation.shared_scene import SharedScene

        name = room.path.name
        jobs = [_scribbles(name, encoder) for encoder in self.encoders] if "scribbles" in self.parts else []
        jobs += [_text(name)] if "text" in self.parts else []
        done = {job: figures for job in jobs if (figures := store.get(job)) is not None}
        if len(done) == len(jobs):
            return done
        shared = SharedScene(room.scene, weights=self.weights, device=self.device, seed=self.seed, progress=progress)
        sam = sam_predictor(self.sam, shared.gaussians.device)
        for job in jobs:
            if job in done:
                continue
            pictures = store.path(job) if self.draw else None
            if job == _text(name):
                done[job] = self._texts(room, shared, sam, pictures, progress)
            else:
                encoder = next(e for e in self.encoders if _scribbles(name, e) == job)
                done[job] = self._things(room, encoder, shared, sam, pictures, progress)
            store.put(job, done[job])
        return done

    def _things(
        self, room: RoomScene, encoder: str, shared: SharedScene, sam: Any, pictures: Path | None, progress: Progress
    ) -> Figures:
        from training.rooms.measuring import measure_things
        from training.rooms.tasks import Enough, thing_tasks
        from uplift.evaluation.scribbles import draw_scribbles

        things = thing_tasks(room, lambda mask: draw_scribbles(mask, seed=self.seed), Enough(views=self.views))
        return measure_things(
            things,
            shared.setting(encoder, sam),
            self._variants_of(encoder),
            ceiling=encoder == self.encoders[0],
            pictures=pictures,
            progress=progress,
        )

    def _texts(
        self, room: RoomScene, shared: SharedScene, sam: Any, pictures: Path | None, progress: Progress
    ) -> Figures:
        from training.rooms.measuring import measure_texts
        from training.rooms.tasks import Enough

        searcher = shared.searcher(self.text_encoder, self.structure)
        enough = Enough(views=self.views)
        return measure_texts(room, searcher, enough=enough, sam=sam, pictures=pictures, progress=progress)

    def _probe(
        self, rooms: Sequence[RoomScene], train: Sequence[ProbePhoto], store: FigureStore, progress: Progress
    ) -> dict[str, Figures]:
        """The linear probes of every encoder."""
        from training.probing import EncoderSource, ProbeData
        from training.probing.data.rooms import room_photos
        from uplift.encoders import load_encoder
        from uplift.maps import FeatureMapCache, default_map_folder

        found: dict[str, Figures] = {}
        width = train[0].image().shape[1]
        data = ProbeData("rooms", train, room_photos(rooms, width=width), classes=rooms[0].class_names)
        for name in self.encoders:
            figures = store.get(_probe(name))
            if figures is None:
                encoder = load_encoder(name, self.weights.get(name), self.device)
                source = EncoderSource(encoder, FeatureMapCache(default_map_folder()))
                figures = self._probed(data, source, progress)
                store.put(_probe(name), figures)
            found[_probe(name)] = figures
        return found

    def _probed(self, data: ProbeData, source: FeatureSource, progress: Progress) -> Figures:
        """Figures of classes and depth by room."""
        from render.devices import resolve_device
        from training.probing import ProbeSettings, run_probe

        figures: Figures = {}
        for task in TASKS:
            scores = run_probe(
                data,
                task,
                source,
                seeds=(self.seed,),
                settings=ProbeSettings(),
                device=resolve_device(self.device),
                progress=progress,
            ).scores
            for group in scores.groups:
                figures[group] = figures.get(group, {}) | scores.of_group(group)
        return figures

    def _tables(self, rooms: Sequence[RoomScene], done: Mapping[str, Figures]) -> list[ResultTable]:
        from app import room_tables
        from uplift.evaluation.segmentation import TOLERANCE

        names = [room.path.name for room in rooms]
        tables: list[ResultTable] = []
        if "scribbles" in self.parts:
            by = {e: {name: done[_scribbles(name, e)] for name in names} for e in self.encoders}
            title = f"Scribbles: IoU in percent over at most {self.views} other photos of a thing"
            tables.append(room_tables.scribble_table(title, by))
            title = f"The same, pixels within {TOLERANCE:g} px of the true border not counted"
            tables.append(room_tables.scribble_table(title, by, key="iou_tolerant"))
            title = f"Scribbles with {self.encoders[0]}: IoU in percent by category"
            tables.append(room_tables.category_table(title, by[self.encoders[0]]))
        if "text" in self.parts:
            texts = {name: done[_text(name)] for name in names}
            title = f"Texts with {self.text_encoder}: the most relevant pixel is right, percent"
            tables.append(room_tables.text_table(title, texts, key="accuracy"))
            along = f"diffusion along {self.structure}"
            title = f"Texts with {self.text_encoder}, {along}: IoU of masks in about {self.views} photos, percent"
            tables.append(room_tables.text_table(title, texts, key="iou"))
        if "probes" in self.parts:
            title = "Linear probes"
            tables.append(room_tables.probe_table(title, {e: done[_probe(e)] for e in self.encoders}))
        return tables


def opened_rooms(paths: Sequence[Path]) -> list[RoomScene]:
    """Rooms, given by their folders or by folders that hold them.

    Raises:
        InputError: there are none, two have one name, or one is damaged.
    """
    from render.errors import InputError
    from training.rooms.reading import RoomScene
    from training.rooms.writing import ROOM

    folders: list[Path] = []
    for path in paths:
        inner = [path] if (path / ROOM).is_file() else sorted(child.parent for child in path.glob(f"*/{ROOM}"))
        if not inner:
            raise InputError(f"Expected rooms at {path}, found none; make some with: fit3d rooms {path}")
        folders += inner
    names = [folder.resolve().name for folder in folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"The room {twice[0]} is given twice; give each once.")
    return [RoomScene.open(folder.resolve()) for folder in folders]


def _files(room: RoomScene) -> list[Path]:
    """What the figures of a room depend on."""
    fixed = [room.path / "room.json", room.path / "transforms.json", room.scene.gaussians_path]
    kinds = [sorted((room.path / kind).glob("*.png")) for kind in ("images", "instances", "classes", "depth")]
    return [file for file in fixed if file.is_file()] + [file for files in kinds for file in files]


def _photos_digest(photos: Sequence[ProbePhoto]) -> str:
    """SHA-256 of photos and what is known of them."""
    digest = hashlib.sha256()
    for photo in photos:
        for read in (photo.image, photo.classes, photo.depth):
            digest.update(b"" if read is None else read().tobytes())
    return digest.hexdigest()


def _scribbles(room: str, encoder: str) -> str:
    from uplift.evaluation.store import plain_name

    return f"{room}/scribbles-{plain_name(encoder)}"


def _text(room: str) -> str:
    return f"{room}/text"


def _probe(encoder: str) -> str:
    from uplift.evaluation.store import plain_name

    return f"probes/{plain_name(encoder)}"
