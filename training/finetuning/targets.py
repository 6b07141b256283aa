"""What a network is fine-tuned to say: features that all views of a scene agree on, and controls that are not that.

All targets are maps on the grid of a view's patches, with a mask of the patches that have one (FiT3D, section 3.2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import lifting_matrix, rasterize
from training.finetuning.measures import blurred, matching_width
from training.finetuning.scenes import Forward, TunedScenes
from training.finetuning.transport import LEAST_COVERAGE, LEAST_FROM_OTHERS, Transport, pixels_of_nodes
from training.nerfstudio_plugin.targets import resize_map
from uplift.evaluation.store import files_digest
from uplift.field import FeatureField
from uplift.lifting import lift

if TYPE_CHECKING:
    from jaxtyping import Float

TargetKind: TypeAlias = Literal["lifted", "rendered", "learned", "blurred", "own-view"]
"""Lifted by one matrix, lifted and rendered on the fly, learned by ``ns-train fit3d``, or a control: blurred."""
KINDS: tuple[TargetKind, ...] = get_args(TargetKind)
VIEWS_TO_MEASURE = 64  # that the width of a blur is fitted on
LEARNED = "learned-"  # begins the names of the fields that ns-train fit3d learned


class Target(NamedTuple):
    """What a network shall say of a view.

    Attributes:
        features: ``[gh, gw, c]`` float32 on the CPU.
        mask: The patches that have a target; ``[gh, gw]`` bool.
    """

    features: Tensor
    mask: Tensor


class Targets(ABC):
    """Targets of the views of some scenes.

    Attributes:
        kind: Their name.
        scenes: Whose views they are of.
        follows: Whether they depend on the network that :meth:`prepare` is given.
    """

    kind: TargetKind
    follows = True

    def __init__(self, scenes: TunedScenes) -> None:
        self.scenes = scenes

    @abstractmethod
    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Make the targets that follow from what a network says of the photos."""

    @abstractmethod
    def of(self, scene: int, view: int) -> Target:
        """The target of a view; :meth:`prepare` comes first."""

    def identity(self) -> dict[str, Any]:
        """What a training depends on beside their kind and the scenes; JSON values by name."""
        return {}


class LiftedTargets(Targets):
    """Features carried to the Gaussians and back by the scene's matrix; kept in half precision."""

    kind: TargetKind = "lifted"

    def __init__(self, scenes: TunedScenes) -> None:
        super().__init__(scenes)
        self._features: list[Tensor] = []
        self._masks: list[Tensor] = []
        self._rows: list[list[slice]] = []

    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Apply every scene's matrix to what the network says of it."""
        count = len(self.scenes.scenes)
        features, self._masks, self._rows = [], [], []
        for scene in range(count):
            progress(scene, count, "making targets")
            transport = self.scenes.transport(scene)
            said = self.scenes.tokens(scene, forward)
            features.append(self._carried(said, transport).to("cpu", torch.float16))
            self._masks.append(transport.mask())
            self._rows.append([transport.rows(view) for view in range(len(transport.grids))])
        self._features = features
        progress(count, count, "making targets")

    def of(self, scene: int, view: int) -> Target:
        """The target of a view."""
        if not self._features:
            raise InputError("Targets must be prepared before they are asked for.")
        rows, grid = self._rows[scene][view], self.scenes.grids[scene][view]
        features = self._features[scene][rows].to(torch.float32)
        return Target(features.reshape(*grid, -1), self._masks[scene][rows].reshape(grid))

    def _carried(self, said: Float[Tensor, "p c"], transport: Transport) -> Float[Tensor, "p c"]:
        return transport.apply(said)


class OwnViewTargets(LiftedTargets):
    """Control: the matrix without what comes from other views, so that nothing is learned from several views."""

    kind: TargetKind = "own-view"

    def _carried(self, said: Float[Tensor, "p c"], transport: Transport) -> Float[Tensor, "p c"]:
        return transport.own_view().apply(said)


class BlurredTargets(LiftedTargets):
    """The stronger control: a blur of every view's map that goes as far from it as the lifted features do.

    One width serves all scenes: ``|blurred - F|`` equals ``|M F - F|`` on average over views that are spread evenly.

    Attributes:
        width: Standard deviation in patches, None until :meth:`prepare` found it.
    """

    kind: TargetKind = "blurred"
    width: float | None = None

    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Find the width, and blur."""
        count = len(self.scenes.scenes)
        every = max(1, len(self.scenes) // VIEWS_TO_MEASURE)
        chosen = set(self.scenes.index[::every])
        maps, masks, distances, said_all = [], [], [], []
        self._masks, self._rows = [], []
        for scene in range(count):
            progress(scene, count, "making targets")
            transport = self.scenes.transport(scene)
            said = self.scenes.tokens(scene, forward)
            moved = (transport.apply(said) - said).abs().mean(-1)
            self._masks.append(transport.mask())
            self._rows.append([transport.rows(view) for view in range(len(transport.grids))])
            said_all.append(said.to("cpu", torch.float16))
            for view in [v for s, v in chosen if s == scene]:
                rows, grid = transport.rows(view), transport.grids[view]
                maps.append(said[rows].reshape(*grid, -1).cpu())
                masks.append(transport.mask()[rows].reshape(grid))
                distances.append(moved[rows].cpu()[transport.mask()[rows]])
        self.width = matching_width(maps, masks, float(torch.cat(distances).mean()))
        self._features = [self._blurred(said, scene) for scene, said in enumerate(said_all)]
        progress(count, count, "making targets")

    def _blurred(self, said: Float[Tensor, "p c"], scene: int) -> Float[Tensor, "p c"]:
        parts = [
            blurred(said[rows].to(torch.float32).reshape(*grid, -1), self.width or 0.0).flatten(0, 1)
            for rows, grid in zip(self._rows[scene], self.scenes.grids[scene], strict=True)
        ]
        return torch.cat(parts).to(torch.float16)


class RenderedTargets(Targets):
    """Features lifted onto the Gaussians, and rendered on the view's grid whenever they are asked for.

    The same as :class:`LiftedTargets` but for the small entries that its matrix leaves out; slower in the training,
    and for scenes with so many views that their matrices would not fit.  Gaussians and features stay in memory, and
    are moved to the encoder's device to be rendered.
    """

    kind: TargetKind = "rendered"

    def __init__(self, scenes: TunedScenes) -> None:
        super().__init__(scenes)
        self._gaussians = [scenes.gaussians(scene) for scene in range(len(scenes.scenes))]
        self._values: list[Tensor] = []
        self._weights: list[Tensor] = []

    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Lift what the network says of every scene."""
        count = len(self.scenes.scenes)
        self._values, self._weights = [], []
        device = self.scenes.encoder.device
        for scene, gaussians in enumerate(self._gaussians):
            progress(scene, count, "lifting features")
            said = self.scenes.tokens(scene, forward)
            sizes = [gh * gw for gh, gw in self.scenes.grids[scene]]
            maps = [
                part.reshape(*grid, -1) for part, grid in zip(said.split(sizes), self.scenes.grids[scene], strict=True)
            ]
            field = lift(gaussians, self.scenes.scenes[scene].views, maps, device=device)
            self._values.append(field.values.to("cpu", torch.float16))
            self._weights.append(field.weights.cpu())
        progress(count, count, "lifting features")

    @torch.no_grad()
    def of(self, scene: int, view: int) -> Target:
        """Render the target of a view."""
        if not self._values:
            raise InputError("Targets must be prepared before they are asked for.")
        camera, grid = self.scenes.scenes[scene].views[view].camera, self.scenes.grids[scene][view]
        device = self.scenes.encoder.device
        rendered = _on_grid(self._gaussians[scene].to(device), self._weights[scene].to(device), camera, grid)
        features = rendered.average(self._values[scene].to(device, torch.float32))
        return Target(features.reshape(*grid, -1).cpu(), rendered.mask.reshape(grid).cpu())


class LearnedTargets(Targets):
    """Features that ``ns-train fit3d`` learned, rendered and decoded by the scene's own decoder (FiT3D, stage I).

    They are those of the network as it was; Gaussians and features stay in memory, and are moved to the encoder's
    device to be rendered.
    """

    kind: TargetKind = "learned"
    follows = False

    def __init__(self, scenes: TunedScenes) -> None:
        """Read the field ``learned-ENCODER`` of every scene.

        Raises:
            InputError: a scene has none, it has no decoder, or another encoder's features were learned.
        """
        super().__init__(scenes)
        self._gaussians = [scenes.gaussians(scene) for scene in range(len(scenes.scenes))]
        self._fields = [self._field(scene) for scene in range(len(scenes.scenes))]
        self._masks: dict[tuple[int, int], np.ndarray] = {}  # of views that were asked for, eight patches a byte

    def prepare(self, forward: Forward, progress: Progress = silent) -> None:
        """Nothing: the targets were learned before."""

    @torch.no_grad()
    def of(self, scene: int, view: int) -> Target:
        """Render and decode the target of a view, resized to its grid."""
        camera, grid = self.scenes.scenes[scene].views[view].camera, self.scenes.grids[scene][view]
        gaussians, field = self._gaussians[scene].to(self.scenes.encoder.device), self._fields[scene]
        decoded = decoded_features(gaussians, field, camera)
        if (scene, view) not in self._masks:
            mask = _on_grid(gaussians, field.weights.to(gaussians.device), camera, grid).mask
            self._masks[scene, view] = np.packbits(mask.cpu().numpy())
        mask = torch.from_numpy(np.unpackbits(self._masks[scene, view], count=grid[0] * grid[1]).astype(bool))
        return Target(resize_map(decoded, *grid).cpu(), mask.reshape(grid))

    def identity(self) -> dict[str, Any]:
        """The fields: they may be learned again under the same names."""
        name = LEARNED + self.scenes.encoder.name
        return {"fields": files_digest(scene.fields[name] for scene in self.scenes.scenes)}

    def _field(self, scene: int) -> FeatureField:
        encoder, one = self.scenes.encoder, self.scenes.scenes[scene]
        name = LEARNED + encoder.name
        path = one.fields.get(name)
        if path is None:
            raise InputError(
                f"{one.path} has no field {name}: fit it with `ns-train fit3d` and that encoder, and import the run."
            )
        field = FeatureField.load(path, len(self._gaussians[scene]))
        weight = field.tensors.get("decoder.weight")
        if weight is None or weight.shape[:2] != (encoder.dimension, field.dimension):
            raise InputError(
                f"{path} has no decoder from {field.dimension} to {encoder.dimension} channels; import the run again."
            )
        if field.fingerprint is not None and field.fingerprint != encoder.fingerprint():
            raise InputError(
                f"The features of {path} were learned from {field.encoder} with the fingerprint "
                f"{field.fingerprint[:12]}, found {encoder.fingerprint()[:12]}: give the same weights."
            )
        return field


def decoded_features(gaussians: Gaussians, field: FeatureField, camera: Camera) -> Float[Tensor, "h w c"]:
    """Render learned features and decode them as they were trained to be (FiT3D, section 3.1).

    Args:
        gaussians: The scene.
        field: A field ``learned-ENCODER``.
        camera: At the photo's size; the result is as much smaller as the training had it.
    """
    info: Mapping[str, Any] = field.metadata.get("decoder", {})
    divide = int(info.get("photo_pixels_per_pixel", 1))
    small = camera.resized(max(camera.width // divide, 1), max(camera.height // divide, 1))
    blended = rasterize(gaussians, small, values=field.values.to(gaussians.means)).values.permute(2, 0, 1)[None]
    weight, bias = (field.tensors[f"decoder.{name}"].to(blended) for name in ("weight", "bias"))
    reach = weight.shape[-1] // 2
    padded = torch.nn.functional.pad(blended, (reach,) * 4, mode=str(info.get("padding", "replicate")))
    return torch.nn.functional.conv2d(padded, weight, bias)[0].permute(1, 2, 0)


def make_targets(kind: TargetKind, scenes: TunedScenes) -> Targets:
    """Targets by name; they still have to be prepared.

    Raises:
        InputError: unknown name, or scenes that lack what is needed.
    """
    classes = (LiftedTargets, RenderedTargets, LearnedTargets, BlurredTargets, OwnViewTargets)
    makers: dict[str, type[Targets]] = {made.kind: made for made in classes}
    if kind not in makers:
        raise InputError(f"Targets are {', '.join(makers)}; found {kind!r}.")
    return makers[kind](scenes)


class _OnGrid(NamedTuple):
    """What a view's patches show of the Gaussians: matrix ``[p, n]``, light ``[p]``, and which have a target."""

    matrix: Tensor
    light: Tensor
    mask: Tensor

    def average(self, values: Float[Tensor, "n c"]) -> Float[Tensor, "p c"]:
        found: Tensor = (self.matrix @ values) / self.light.clamp_min(1e-12)[:, None]
        return found


def _on_grid(gaussians: Gaussians, weights: Float[Tensor, " n"], camera: Camera, grid: tuple[int, int]) -> _OnGrid:
    """One view on its grid, given what all views see of each Gaussian together."""
    matrix = lifting_matrix(gaussians, camera, grid)
    own = matrix.sum(1, keepdim=True).to_dense()[:, 0] / weights.clamp_min(1e-12)
    transposed = matrix.to_sparse_coo().T
    light = transposed @ torch.ones_like(weights)
    foreign = 1 - (transposed @ own) / light.clamp_min(1e-12)
    coverage = light / torch.from_numpy(pixels_of_nodes(camera, grid)).to(light)
    return _OnGrid(transposed, light, (coverage >= LEAST_COVERAGE) & (foreign >= LEAST_FROM_OTHERS))
