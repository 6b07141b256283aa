"""``fit3d pretrain mask3d``: an encoder that learns from masked photos and depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import GIGABYTE, progress_bars, say, size, wrote

if TYPE_CHECKING:
    import torch

    from training.pretraining.mask3d.running import Start
    from training.pretraining.mask3d.settings import Masking, Numbers, Shape


@dataclass(frozen=True)
class PretrainMask3D:
    """Pretrain a vision transformer on single photos with depth, without poses or labels (Mask3D).

    A part of the patches keeps its colours, another one its depth; from both the depth of the whole photo is told, and
    so the colour encoder learns what it has to know of shapes.  Writes OUT/encoder.safetensors: use it as the encoder
    mask3d:OUT/encoder.safetensors in any command.  Beside it are the log, TensorBoard's files and pictures of kept
    colours, kept depth, what is told and what is true: near is red, what is hidden grey, what is not known black.  An
    interrupted pretraining goes on where its last checkpoint was.  Several GPUs share the photos of a step: `accelerate
    launch -m app pretrain mask3d ...`.

    Orders of pretrainings (table 16) are runs: with --reconstruct colour it is a masked autoencoder of colours (MAE),
    with --init mask3d:RUN/encoder.safetensors one goes on from the other, and --reconstruct both does both at once.
    """

    frames: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of photos with depth: rooms; captures whose transforms.json names depths; scenes that ScanNet's tools
    export (SCENE/color, SCENE/depth); images/NAME.jpg beside depths/NAME.png, or NAME.jpg beside NAME_depth.png."""
    out: Path
    """Folder of the pretraining: checkpoint, log, pictures, and in the end the encoder."""
    init: str | None = None
    """Encoder whose weights it begins with, such as mae-base, tiny-dino or mask3d:FILE; without one random ones."""
    init_weights: Path | None = None
    """File with those weights; without it they are downloaded, or bundled."""
    encoder: str | None = None
    """From nothing: whose architecture, such as plain-vit (the default), tiny-dino or timm:vit_base_patch16_224."""
    scale: Literal["small", "paper"] = "small"
    """Numbers for a processor and some thousand photos (AdamW at 0.001, batch 32, 40 epochs, crops of 96x128), or those
    of the paper (SGD at 0.1, times 0.99 every 1000 steps, batch 128, 100 epochs, whole photos of 240x320)."""
    reconstruct: Literal["depth", "colour", "both"] = "depth"
    """What is told of all patches; colour alone is MAE."""
    keep_colour: float | None = None
    """Part of the patches whose colours are kept; by default 0.2, of MAE 0.25."""
    keep_depth: float | None = None
    """Part of the patches whose depth is kept, never the same ones as long as there are enough; by default 0.2, of MAE
    0.  With --keep-colour 1 --keep-depth 0 depth is predicted from the photo."""
    loss_on: Literal["all", "hidden"] | None = None
    """All patches, or those alone of which what is told was not shown; by default all, of MAE hidden ones."""
    normalize: Literal["both", "target", "none"] | None = None
    """Whether patches are compared by shape alone, without mean and deviation: prediction and target (the default), the
    target's alone (MAE), or neither."""
    depth_blocks: int | None = None
    """Blocks of the encoder of depth patches; by default 2, at the paper's scale as many as the colour encoder has."""
    decoder_width: int | None = None
    """Channels of the decoder; by default 128, at the paper's scale 512."""
    decoder_blocks: int | None = None
    """Its blocks; by default 2, at the paper's scale 8."""
    size: tuple[int, int] | None = None
    """Height and width of what is seen, in pixels."""
    augment: Literal["crops", "flips", "none"] | None = None
    """Parts of photos mirrored half of the time, whole photos mirrored, or whole photos as they are."""
    augmentation: str | None = None
    """Change the colours of photos: a file of fit3d augment search, uniform, trivial-ra or trivial-wide.  Of these
    nothing that moves pixels is drawn, whose depth would stay."""
    every: int = 1
    """Take every so-many-th photo of a room, capture or scene (the paper: 25)."""
    depth_unit: float = 0.001
    """Metres that a value of 1 means in depth maps of folders and ScanNet's scenes."""
    validation: tuple[Path, ...] = ()
    """Folders of photos with depth that are not trained on, for figures and pictures."""
    epochs: float | None = None
    """How often a photo is seen on average."""
    batch: int | None = None
    """Photos of a step."""
    rate: float | None = None
    """Learning rate."""
    weight_decay: float | None = None
    """Of matrices."""
    accumulate: int | None = None
    """Work on a batch in so many parts, one after the other, to need less memory."""
    photo_memory: float = 2.0
    """Gigabytes for decoded photos, which are then read once; in each process."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass."""
    seed: int = 0
    """Of weights, batches, crops and patches."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Pretrain and write."""
        import torch

        from render.progress import silent
        from training.augmentation import augmentation_of
        from training.loop import place
        from training.pretraining.mask3d.frames import open_frames
        from training.pretraining.mask3d.running import pretrain

        self._check()
        augmentation = None if self.augmentation is None else augmentation_of(self.augmentation).still()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        photos = open_frames(self.frames, every=self.every, unit=self.depth_unit)
        held = open_frames(self.validation, every=self.every, unit=self.depth_unit) if self.validation else []
        start, numbers = self._start(at.device), self._numbers()
        if at.main:
            if start.licence:
                say(f"{start.name}: the licence of the weights is {start.licence}")
            begun = "from nothing" if start.name is None else f"begins as {start.name}"
            say(f"{start.encoder.name}, {begun}; {len(photos)} photos with depth, {numbers.steps(len(photos))} steps")
            say(f"memory: up to {size(self.photo_memory * GIGABYTE)} for photos")
        with progress_bars() as bars:
            path, figures = pretrain(
                start,
                photos,
                self.out,
                scale=self.scale,
                numbers=numbers,
                masking=self._masking(),
                shape=self._shape(),
                validation=held,
                augmentation=augmentation,
                photo_memory=int(self.photo_memory * GIGABYTE),
                seed=self.seed,
                precision=self.precision,
                device=self.device,
                progress=bars if at.main else silent,
            )
        if not at.main:
            return
        if figures:
            say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        wrote(path)

    def _start(self, device: torch.device) -> Start:
        from training.pretraining.mask3d.running import from_encoder, from_nothing

        if self.init is None:
            return from_nothing(self.encoder or "plain-vit", device, seed=self.seed)
        return from_encoder(self.init, self.init_weights, device)

    def _masking(self) -> Masking:
        from app.scenes import asked_for
        from training.pretraining.mask3d.settings import MAE, Masking

        usual = MAE if self.reconstruct == "colour" else Masking(reconstruct=self.reconstruct)
        given = {
            "colour": self.keep_colour,
            "depth": self.keep_depth,
            "loss_on": self.loss_on,
            "normalize": self.normalize,
        }
        return replace(usual, **asked_for(given))

    def _numbers(self) -> Numbers:
        from app.scenes import asked_for
        from training.pretraining.mask3d.settings import NUMBERS

        given = {
            "size": self.size,
            "augment": self.augment,
            "epochs": self.epochs,
            "batch": self.batch,
            "rate": self.rate,
            "weight_decay": self.weight_decay,
            "accumulate": self.accumulate,
        }
        return replace(NUMBERS[self.scale], **asked_for(given))

    def _shape(self) -> Shape:
        from app.scenes import asked_for
        from training.pretraining.mask3d.settings import SHAPES

        given = {"depth_blocks": self.depth_blocks, "width": self.decoder_width, "blocks": self.decoder_blocks}
        return replace(SHAPES[self.scale], **asked_for(given))

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        if not self.frames:
            raise InputError("A pretraining needs photos with depth: give folders of them.")
        if self.init is not None and self.encoder is not None:
            raise InputError(
                f"--init {self.init} says the architecture too; leave --encoder out, or --init to begin from nothing."
            )
        if self.init is None and self.init_weights is not None:
            raise InputError(f"Expected --init with the encoder that {self.init_weights} belongs to; found none.")
        check_positive(
            {
                "--every": self.every,
                "--depth-unit": self.depth_unit,
                "--epochs": self.epochs,
                "--size": None if self.size is None else min(self.size),
                "--batch": self.batch,
                "--rate": self.rate,
                "--accumulate": self.accumulate,
                "--depth-blocks": self.depth_blocks,
                "--decoder-width": self.decoder_width,
                "--decoder-blocks": self.decoder_blocks,
                "--photo-memory": self.photo_memory,
                "--threads": self.threads,
            }
        )
        self._masking()
