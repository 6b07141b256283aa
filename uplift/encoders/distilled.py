"""``distilled:FILE``: a student that teachers made (DUNE; Sariyildiz et al. 2025), and what it says in their spaces.

The file holds the whole network, so that no other weights are needed, and the projectors that were kept:
``distilled:FILE@TEACHER`` gives the features of that teacher as the student tells them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders.base import Encoder, Tokens, TrainableEncoder
from uplift.encoders.checkpoints import hash_of, load_strictly
from uplift.encoders.files import part_of, read_parts, save_parts, whole
from uplift.encoders.finetuned import trainable
from uplift.encoders.projectors import ProjectorKind, TeacherSpace, layers_of, make_projector
from uplift.encoders.registry import load_encoder
from uplift.encoders.untrained import has_architecture, make_blank

if TYPE_CHECKING:
    from jaxtyping import Float

PREFIX = "distilled:"
FORMAT = 2
KIND = "distilled encoder"
NETWORK, SPACE = "network.", "space{}."  # begin the names of the tensors in a file
COMMAND = "fit3d distill"


@dataclass(frozen=True, eq=False)
class Kept:
    """A projector that outlives the training.

    Attributes:
        space: The projector and the teacher's statistics.
        projector: Which kind of projector.
        teacher: Whose space it is.
    """

    space: TeacherSpace
    projector: ProjectorKind
    teacher: Encoder

    def about(self, name: str) -> dict[str, Any]:
        """What a file says of it, by which it is made again; JSON values."""
        return {
            "name": name,
            "projector": self.projector,
            "rungs": self.space.projector.rungs,
            "hidden": list(self.space.projector.hidden),
            "dimension": self.teacher.dimension,
            "whole": self.space.has_whole,
            "metric": self.teacher.metric,
            "encoder": self.teacher.name,
            "options": self.teacher.options(),
            "weights": self.teacher.weights_hash(),
            "texts": hasattr(self.teacher, "encode_text"),
        }


@dataclass(frozen=True, eq=False)
class Distilled:
    """What a distillation made: what travels in a file.

    Attributes:
        network: State of the student's network.
        licence: Of the weights: :func:`joined_licences` of all that they were made from.
        kept: Projectors by the names of their teachers.
        training: How it was made; JSON values.
    """

    network: Mapping[str, Tensor]
    licence: str | None = None
    kept: Mapping[str, Kept] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, student: TrainableEncoder) -> None:
        """Write a safetensors file in full precision.

        Args:
            path: The file.
            student: An encoder of the same architecture; its weights do not matter.

        Raises:
            InputError: the student's features are a teacher's.
            OSError: the disk is full, or the folder cannot be written.
        """
        plain = plain_student(student)
        spaces = {SPACE.format(i): one.space.state_dict() for i, one in enumerate(self.kept.values())}
        header = {
            "format": FORMAT,
            "kind": KIND,
            "encoder": plain.name,
            "options": plain.options(),
            "dimension": plain.dimension,
            "licence": self.licence,
            "teachers": [one.about(name) for name, one in self.kept.items()],
            "training": dict(self.training),
        }
        save_parts(path, {NETWORK: self.network, **spaces}, header)


class DistilledEncoder(TrainableEncoder):
    """Features of a student, or what its kept projector makes of them in the space of a teacher.

    Attributes:
        student: An encoder of the student's architecture, with its weights.
        teacher: Whose features these are; None = the student's own.
    """

    def __init__(
        self,
        name: str,
        student: TrainableEncoder,
        *,
        licence: str | None = None,
        teacher: str | None = None,
        space: TeacherSpace | None = None,
        dimension: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            name: As the registry calls it.
            student: With the student's weights; it is frozen.
            licence: Of the weights.
            teacher: Whose features are given; None = the student's own.
            space: The projector of that teacher.
            dimension: Channels of that teacher.
        """
        self.name, self.student, self.teacher, self.licence = name, student, teacher, licence
        self.patch, self.window, self.stride = student.patch, student.window, student.stride
        self.dimension = student.dimension if dimension is None else dimension
        parts = {"student": student.network, **({} if space is None else {"space": space.to(student.device)})}
        self._parts = nn.ModuleDict(parts).eval().requires_grad_(False)
        self._hash: str | None = hash_of(self.network)

    @property
    def network(self) -> nn.Module:
        """The student's network; with a projector both."""
        return self._parts if self.teacher is not None else self.student.network

    def copied(self) -> Self:
        """An encoder of its own, whose networks have the same weights and may be trained."""
        result = copy(self)
        result.student = self.student.copied()
        own = {name: deepcopy(one) for name, one in self._parts.items() if name != "student"}
        result._parts = nn.ModuleDict({"student": result.student.network, **own}).requires_grad_(True)
        result._hash = None  # of weights that will change
        return result

    def tokens(self, pixels: Float[Tensor, "b 3 h w"]) -> Tokens:
        """Tokens of photos with values in [0, 1]; differentiable, float32."""
        if self.teacher is None:
            return self.student.tokens(pixels)
        space = cast(TeacherSpace, self._parts["space"])
        found = space(layers_of(self.student, pixels, space.projector))
        return Tokens(*(None if one is None else one.to(torch.float32) for one in found))

    def layers(self, pixels: Float[Tensor, "b 3 h w"], count: int = 4, *, normed: bool = True) -> list[Tokens]:
        """Outputs of ``count`` evenly spaced blocks of the student.

        Raises:
            InputError: the network has fewer blocks, or the features are a teacher's: the last block alone has them.
        """
        if self.teacher is None:
            return self.student.layers(pixels, count, normed=normed)
        if count > 1 or not normed:
            raise InputError(
                f"{self.name} has the teacher's features after the last block alone; leave @ and what follows."
            )
        return [self.tokens(pixels)]

    def weights_hash(self) -> str:
        """SHA-256 of the weights, a projector's among them."""
        return self._hash or hash_of(self.network)

    def options(self) -> dict[str, Any]:
        """Those of the student's architecture."""
        return self.student.options()

    def settings(self) -> dict[str, Any]:
        """Those of the student's architecture, and the teacher whose features are given."""
        return {**self.student.settings(), "student": self.student.name, "teacher": self.teacher}

    def fingerprint(self) -> str:
        """Hash of settings and weights: where the file lies changes no map."""
        parts = [PREFIX, self.settings(), self.weights_hash()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class ReadingEncoder(DistilledEncoder):
    """A student's features in the space of a teacher that reads texts; the teacher is loaded when it is to read."""

    _about: Mapping[str, Any]
    _weights: Path | None = None
    _reader: Any = None

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "q c"]:
        """Embeddings of texts by the teacher, of length 1.

        Raises:
            InputError: the teacher is out of reach, or has other weights than the one that taught.
        """
        found: Tensor = self._teacher().encode_text(list(texts))
        return found

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """What the teacher has to say about texts, such as which words it never saw; often nothing."""
        remarks = getattr(self._teacher(), "remarks", None)
        return [] if remarks is None else list(remarks(list(texts)))

    def _teacher(self) -> Any:
        if self._reader is None:
            name = str(self._about["encoder"])
            reader = load_encoder(name, self._weights, self.device, options=self._about["options"])
            found, expected = str(reader.weights_hash()), str(self._about["weights"])
            if found != expected:
                raise InputError(
                    f"{self.name} learned from {name} with the weights {expected[:12]}, found {found[:12]}: give those "
                    "weights with --weights FILE."
                )
            self._reader = reader
        return self._reader


def make_distilled(name: str, weights: Path | None, device: torch.device, **options: Any) -> DistilledEncoder:
    """The encoder ``distilled:FILE`` or ``distilled:FILE@TEACHER``.

    Args:
        name: As the person typed it.
        weights: Those of a teacher that reads texts, where it needs any; a student's are in the file.
        device: Where it computes.
        options: ``window`` and ``stride`` instead of those that it was made with.

    Raises:
        InputError: no such file, damaged, the projector of that teacher was not kept, or weights are not needed.
    """
    path, teacher = _taken_apart(name)
    tensors, header = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    with whole(path, COMMAND):
        known = {str(one["name"]): (index, one) for index, one in enumerate(header["teachers"])}
        if teacher is not None and teacher not in known:
            raise InputError(
                f"{path} has no projector of {teacher!r}, it has {', '.join(known) or 'none'}; keep it when "
                "the student is made."
            )
        about = None if teacher is None else known[teacher][1]
        if weights is not None and (about is None or not about["texts"]):
            raise InputError(f"{path} holds all weights that it needs, found {weights}; leave the weights out.")
        student = _student(header, device, options)
        load_strictly(student.network, part_of(tensors, NETWORK), student.name, path)
        full = PREFIX + str(path.resolve())
        if teacher is None or about is None:
            return DistilledEncoder(full, student, licence=header["licence"])
        space = _space(about, student.dimension)
        load_strictly(space, part_of(tensors, SPACE.format(known[teacher][0])), f"the projector of {teacher}", path)
        kind = ReadingEncoder if about["texts"] else DistilledEncoder
        found = kind(
            f"{full}@{teacher}",
            student,
            licence=header["licence"],
            teacher=teacher,
            space=space,
            dimension=int(about["dimension"]),
        )
        found.metric = about["metric"]
        if isinstance(found, ReadingEncoder):
            found._about, found._weights = about, weights
        return found


def plain_student(encoder: TrainableEncoder) -> TrainableEncoder:
    """The encoder that a file must name to make a student's architecture again.

    Raises:
        InputError: its features are those of a teacher.
    """
    if not isinstance(encoder, DistilledEncoder):
        return encoder
    if encoder.teacher is not None:
        raise InputError(f"{encoder.name} gives a teacher's features; a student is named without @ and what follows.")
    return plain_student(encoder.student)


def joined_licences(encoders: Iterable[Encoder]) -> str | None:
    """The licence of what was made from several encoders: all that they have, for what is made must heed each.

    Args:
        encoders: Teachers, and a student whose weights were there before.
    """
    found = dict.fromkeys(encoder.licence for encoder in encoders if encoder.licence)
    return " and ".join(found) or None


def teacher_of(name: str) -> str | None:
    """Whose features an encoder of that name gives, ``TEACHER`` of ``distilled:FILE@TEACHER``; None for others."""
    if not name.startswith(PREFIX):
        return None
    return _taken_apart(name)[1]


def _taken_apart(name: str) -> tuple[Path, str | None]:
    """File and teacher; names of either may hold an @ themselves."""
    text = name.removeprefix(PREFIX)
    places = [i for i, letter in enumerate(text) if letter == "@"]
    if not places or Path(text).is_file():
        return Path(text), None
    place = next((i for i in places if Path(text[:i]).is_file()), places[-1])
    return Path(text[:place]), text[place + 1 :]


def _student(header: Mapping[str, Any], device: torch.device, options: Mapping[str, Any]) -> TrainableEncoder:
    """An encoder of the student's architecture whose network is its own."""
    name, named = str(header["encoder"]), {**header["options"], **options}
    if has_architecture(name):
        return make_blank(name, device, **named).copied()
    return trainable(load_encoder(name, None, device, options=named)).copied()


def _space(about: Mapping[str, Any], width: int) -> TeacherSpace:
    dimension, has_whole = int(about["dimension"]), bool(about["whole"])
    rungs, hidden = int(about["rungs"]), [int(one) for one in about["hidden"]]
    projector = make_projector(about["projector"], width, dimension, whole=has_whole, rungs=rungs, hidden=hidden)
    blank = (torch.zeros(dimension), torch.ones(dimension))
    return TeacherSpace(projector, patches=blank, whole=blank if has_whole else None)
