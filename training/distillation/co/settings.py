"""What a co-distillation is, but for its teachers, photos and schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from render.errors import InputError
from training.augmentation import Augmentation
from uplift.encoders.projectors import PROJECTORS, RUNGS, ProjectorKind

Sharing: TypeAlias = Literal["none", "generic", "full"]
"""Which photos a teacher's projector learns from: its own, those and generic ones, or all."""
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
Augment: TypeAlias = Literal["crops", "flips"]
"""Random resized crops, half of them mirrored; or whole photos, half of them mirrored, which teachers see once."""
AUGMENTS: tuple[Augment, ...] = get_args(Augment)
SMALLEST_CROP = 0.32  # of a photo's area, as DINOv2 draws global crops
BATCH = 16
DROP = 0.5  # how often a teacher that is not the worst is dropped (UNIC)


@dataclass(frozen=True)
class Settings:
    """What is trained, and on what is seen of photos.

    The texts leave augmentation to UNIC, whose training is public.  Colours vary as there.  What differs: crops take
    0.32 to 1 of a photo (UNIC: from 0.08, DUNE's released training: from 0.4), the student's blocks are never left out
    (UNIC: one time of ten, stochastic depth), projectors begin with PyTorch's own random weights (UNIC: normal ones of
    deviation 0.02, cut off), and the training loop clips gradients to a norm of 3 unless its schedule says otherwise
    (UNIC: never).  The schedule is the caller's; DUNE's released one warms up for a fifth of the steps and has betas of
    0.9 and 0.99.

    Attributes:
        sharing: Whose photos a projector learns from.
        projector: Of which kind.
        rungs: Of a ladder; None = 4.
        stages: Sides of what the student sees as ``SIDE:SHARE`` of the steps; none = its window throughout.
        augment: Crops, or whole photos, of which teachers' outputs are computed once and kept.
        crop_scale: Smallest part of a photo's area in a crop; None = 0.32.
        colours: Whether the colours of crops vary, for teachers and student alike; None = in crops.  Those of whole
            photos do not, since teachers see these once.
        augmentation: What takes the place of varying colours, for teachers and student alike, such as a policy.  It
            changes crops after they were mirrored.
        batch: Photos of a step.
        drop: How often a teacher that is not the worst for a photo is dropped.

    Raises:
        InputError: a value is out of range, or has no effect beside the others.
    """

    sharing: Sharing = "full"
    projector: ProjectorKind = "transformer"
    rungs: int | None = None
    stages: tuple[str, ...] = ()
    augment: Augment = "crops"
    crop_scale: float | None = None
    colours: bool | None = None
    augmentation: Augmentation | None = None
    batch: int = BATCH
    drop: float = DROP

    def __post_init__(self) -> None:
        for name, known in (("sharing", SHARINGS), ("projector", PROJECTORS), ("augment", AUGMENTS)):
            if getattr(self, name) not in known:
                raise InputError(f"Expected {name} to be {', '.join(known)}; found {getattr(self, name)!r}.")
        if self.batch < 1:
            raise InputError(f"Co-distillation needs a batch of 1 or more, found {self.batch}.")
        if not 0 <= self.drop <= 1:
            raise InputError(f"A teacher is dropped with a probability from 0 to 1, found {self.drop:g}.")
        if self.crop_scale is not None and not 0 < self.crop_scale <= 1:
            raise InputError(f"Crops take parts from above 0 to 1 of a photo, found {self.crop_scale:g}.")
        if self.rungs is not None and self.rungs < 1:
            raise InputError(f"A ladder has 1 rung or more, found {self.rungs}.")
        if self.rungs is not None and self.projector != "ladder":
            raise InputError(f"A ladder has rungs, found {self.rungs} of a {self.projector} projector; leave them out.")
        if self.augmentation is not None and self.colours is not None:
            raise InputError("Another augmentation takes the place of colours that vary; say nothing of these.")
        if self.augment != "crops":
            for what, given in (
                ("a crop scale", self.crop_scale is not None),
                ("other colours", bool(self.colours)),
                ("another augmentation", self.augmentation is not None),
            ):
                if given:
                    raise InputError(f"Whole photos (flips) have no crops, found {what}; leave it out, or take crops.")

    @property
    def least(self) -> float:
        """The smallest part of a photo's area in a crop."""
        return SMALLEST_CROP if self.crop_scale is None else self.crop_scale

    @property
    def recolours(self) -> bool:
        """Whether colours vary."""
        if self.augmentation is not None:
            return False
        return self.augment == "crops" if self.colours is None else self.colours

    @property
    def ladder(self) -> int:
        """Rungs, if there is a ladder."""
        return RUNGS if self.rungs is None else self.rungs
