"""Text queries: relevancies of Gaussians, selections, places and masks (LUDVIG, sections 5.4.2 and C.1.4)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize
from render.scene import Scene
from render.views import View
from uplift._text_scores import READERS, Kind, TextEncoder, TextScores, text_encoder
from uplift.encoders.distilled import teacher_of
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS, NeighbourGraph
from uplift.random_walker import Walkers
from uplift.relevancy import CANONICAL, TEMPERATURE, most_relevant_pixel, relevancies, relevant
from uplift.sam_masks import MaskPredictor, average_masks, set_image
from uplift.selection import BOUNDARY, Selection
from uplift.thresholds import histogram, otsu_threshold

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy import ndarray

__all__ = ["CANONICAL", "Searcher", "TextEncoder", "reads_texts", "relevancies", "text_encoder"]

# What may be relevant, as a share of the maximum, before Otsu's method looks at it.
TAU = {"raw": 0.8, "diffused": 0.0}
TAU_SAM = {"raw": 0.93, "diffused for SAM": 0.01}
SAM_REPEATS = 20
STEPS = 5  # of diffusion; the power method goes on to leave the object for the densest corner of the graph

Method = Literal["random-walker", "diffusion"]
Parts = Literal["all", "largest", "best"]


def reads_texts(encoder: str) -> bool:
    """Whether the encoder of that name, as fields tell it, has a text side."""
    return (teacher_of(encoder) or encoder).startswith(READERS)


class Searcher:
    """Finds in a scene what texts name: prepare once, ask many times.

    A text's scores are its relevancies (C.2), or these refined along the graph: the highest relevancies say which
    Gaussians to start from, and the object is covered along similar features of a second field.  Two ways: the
    random walker (Grady 2006) with the least relevant Gaussians as background, whose boundary is one half in
    every scene, and the diffusion of C.1.4.  In every method ``diffusion`` says whether to refine and ``method`` how
    (None = as the searcher was made), and ``negatives`` are own phrases beside the canonical ones.  One text gives
    one result, a list a list.
    """

    def __init__(
        self,
        scene: Scene | Gaussians,
        field: FeatureField,
        encoder: TextEncoder | None = None,
        *,
        weights: str | Path | None = None,
        negatives: Sequence[str] = CANONICAL,
        temperature: float = TEMPERATURE,
        structure: FeatureField | None = None,
        graph: NeighbourGraph | None = None,
        walkers: Callable[[], Walkers] | None = None,
        method: Method = "random-walker",
        neighbours: int = NEIGHBOURS,
        steps: int = STEPS,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        """Keep the features as fp16; a graph is built when it is first needed.

        Args:
            scene: The scene, or its Gaussians.
            field: Features of an encoder with a text side (CLIP).
            encoder: That encoder; None = loaded by the field's name.
            weights: Its weights, a local file, if it is loaded.
            negatives: Canonical phrases that every text is compared with.
            temperature: T of (C.2).
            structure: The field whose features guide refinement, such as DINOv2's; None = ``field`` itself.
            graph: A graph, with the features of ``structure`` or none yet; None = built.
            walkers: Gives the solvers on a graph with the features of ``structure`` that others use too, instead of
                a graph; called when they are first needed.
            method: How relevancies are refined.
            neighbours: k of that graph.
            steps: T of the diffusion.
            seed: Of the rows that a unary term is fitted on, and of SAM's points.
            progress: Told while a graph is built and along diffusion.

        Raises:
            InputError: there is no negative, the fields or the graph belong to other Gaussians, or the field's encoder
                has no text side or cannot be loaded.
        """
        self.gaussians = scene if isinstance(scene, Gaussians) else scene.gaussians
        n = len(self.gaussians)
        for given in (field, structure):
            if given is not None:
                given.check(n)
        if graph is not None and graph.n != n:
            raise InputError(f"The graph has {graph.n} Gaussians, but the scene has {n}; build it again.")
        self.negatives = tuple(_asked(negatives))
        self._method = method
        self._seed = seed
        self._encoder = text_encoder(field, weights, self.gaussians.device) if encoder is None else encoder
        self._texts = TextScores(
            self.gaussians,
            field,
            self._encoder,
            field if structure is None else structure,
            graph,
            walkers,
            temperature=temperature,
            neighbours=neighbours,
            steps=steps,
            seed=seed,
            progress=progress,
        )

    def prepare(self, *, diffusion: bool = True) -> Searcher:
        """Do what the first text would wait for: load the encoder to the end, and build graph and solver to refine.

        Raises:
            InputError: the encoder's texts do not have the field's channels.
        """
        refined = diffusion and self._method == "random-walker"
        self._texts.prepare(self.negatives, refined=refined)
        return self

    def remarks(self, texts: str | list[str], *, negatives: Sequence[str] = ()) -> list[str]:
        """What the encoder has to say about texts and own negatives, such as which words it never saw; often nothing.

        Raises:
            InputError: a text is empty.
        """
        remarks = getattr(self._encoder, "remarks", None)  # few encoders know their words
        return [] if remarks is None else list(remarks([*_asked(texts), *negatives]))

    def relevancy(
        self, texts: str | list[str], *, negatives: Sequence[str] = ()
    ) -> Float[Tensor, " n"] | Float[Tensor, "n q"]:
        """Relevancy (C.2) of every Gaussian; ``[n]`` for one text, ``[n, q]`` for a list; 0 = never seen.

        Args:
            texts: What to look for.

        Raises:
            InputError: a text is empty, or the encoder's texts do not have the field's channels.
        """
        return self.scores(texts, diffusion=False, negatives=negatives)

    def scores(
        self,
        texts: str | list[str],
        *,
        diffusion: bool = True,
        method: Method | None = None,
        for_sam: bool = False,
        negatives: Sequence[str] = (),
    ) -> Float[Tensor, " n"] | Float[Tensor, "n q"]:
        """What selections are cut from: relevancies, the random walker's probabilities, or diffused relevancies
        scaled to a maximum of 1.

        Args:
            texts: What to look for.
            for_sam: Diffused with the bandwidth that suits points for Segment Anything.

        Returns:
            ``[n]`` for one text, ``[n, q]`` for a list; 0 = never seen.

        Raises:
            InputError: see :meth:`relevancy`.
        """
        columns = self._texts.columns(_asked(texts), self._kind(diffusion, method, for_sam), self._against(negatives))
        return columns[0] if isinstance(texts, str) else torch.stack(columns, dim=1)

    def histogram(
        self,
        text: str,
        *,
        diffusion: bool = True,
        method: Method | None = None,
        bins: int = 64,
        negatives: Sequence[str] = (),
    ) -> tuple[ndarray, ndarray]:
        """Counts ``[bins]`` and edges ``[bins + 1]`` of a text's scores over the Gaussians that were seen.

        Raises:
            InputError: see :meth:`relevancy`; or no Gaussian was seen.
        """
        return histogram(
            self.scores(text, diffusion=diffusion, method=method, negatives=negatives)[self._texts.seen], bins
        )

    @overload
    def select(
        self,
        texts: str,
        *,
        diffusion: bool = True,
        method: Method | None = None,
        threshold: float | None = None,
        parts: Parts = "all",
        negatives: Sequence[str] = (),
    ) -> Selection: ...

    @overload
    def select(
        self,
        texts: list[str],
        *,
        diffusion: bool = True,
        method: Method | None = None,
        threshold: float | None = None,
        parts: Parts = "all",
        negatives: Sequence[str] = (),
    ) -> list[Selection]: ...

    def select(
        self,
        texts: str | list[str],
        *,
        diffusion: bool = True,
        method: Method | None = None,
        threshold: float | None = None,
        parts: Parts = "all",
        negatives: Sequence[str] = (),
    ) -> Selection | list[Selection]:
        """Select in 3D.

        Args:
            texts: What to look for.
            threshold: In the unit of :meth:`scores`; None = one half for the random walker, else Otsu's, which
                looks above 0.8 of the maximum at raw relevancies.  ``about["threshold"]`` reports it.
            parts: ``largest`` keeps the largest connected part, ``best`` the one with the highest score.

        Raises:
            InputError: see :meth:`relevancy`.
        """
        kind, against = self._kind(diffusion, method), self._against(negatives)
        asked = _asked(texts)
        columns = self._texts.columns(asked, kind, against)
        found = [
            self._selection(text, column, kind, against, threshold, parts)
            for text, column in zip(asked, columns, strict=True)
        ]
        return found[0] if isinstance(texts, str) else found

    def render(
        self,
        camera: View | Camera,
        texts: str | list[str],
        *,
        diffusion: bool = False,
        method: Method | None = None,
        negatives: Sequence[str] = (),
    ) -> Float[Tensor, "h w"] | Float[Tensor, "h w q"]:
        """Scores seen by a camera or in the undistorted view; ``[h, w]`` for one text, ``[h, w, q]`` for a list.

        Raises:
            InputError: see :meth:`relevancy`.
        """
        camera = camera.camera if isinstance(camera, View) else camera
        scores = self.scores(texts, diffusion=diffusion, method=method, negatives=negatives)
        drawn = self._draw(camera, [scores] if isinstance(texts, str) else list(scores.unbind(1)))
        return drawn[..., 0] if isinstance(texts, str) else drawn

    @overload
    def localize(
        self,
        view: View,
        texts: str,
        *,
        diffusion: bool = False,
        method: Method | None = None,
        negatives: Sequence[str] = (),
    ) -> tuple[float, float, float]: ...

    @overload
    def localize(
        self,
        view: View,
        texts: list[str],
        *,
        diffusion: bool = False,
        method: Method | None = None,
        negatives: Sequence[str] = (),
    ) -> list[tuple[float, float, float]]: ...

    def localize(
        self,
        view: View,
        texts: str | list[str],
        *,
        diffusion: bool = False,
        method: Method | None = None,
        negatives: Sequence[str] = (),
    ) -> tuple[float, float, float] | list[tuple[float, float, float]]:
        """Where a photo shows a text: the pixel of the largest rendered score after a 5x5 mean filter (C.1.4.1).

        Returns:
            x, y in pixels of the photo file, centres at half-integers, and the smoothed score.

        Raises:
            InputError: see :meth:`relevancy`.
        """
        drawn = self.render(view, _asked(texts), diffusion=diffusion, method=method, negatives=negatives)
        places = []
        for image in drawn.unbind(2):
            column, row, score = most_relevant_pixel(image)
            x, y = view.distort_points(np.array([[column + 0.5, row + 0.5]]))[0]
            places.append((float(x), float(y), score))
        return places[0] if isinstance(texts, str) else places

    @overload
    def mask_in(
        self,
        view: View,
        texts: str,
        *,
        sam: MaskPredictor | None = None,
        diffusion: bool = True,
        method: Method | None = None,
        protocol: Literal["2d", "3d"] = "2d",
        negatives: Sequence[str] = (),
    ) -> Bool[ndarray, "H W"]: ...

    @overload
    def mask_in(
        self,
        view: View,
        texts: list[str],
        *,
        sam: MaskPredictor | None = None,
        diffusion: bool = True,
        method: Method | None = None,
        protocol: Literal["2d", "3d"] = "2d",
        negatives: Sequence[str] = (),
    ) -> list[Bool[ndarray, "H W"]]: ...

    def mask_in(
        self,
        view: View,
        texts: str | list[str],
        *,
        sam: MaskPredictor | None = None,
        diffusion: bool = True,
        method: Method | None = None,
        protocol: Literal["2d", "3d"] = "2d",
        negatives: Sequence[str] = (),
    ) -> Bool[ndarray, "H W"] | list[Bool[ndarray, "H W"]]:
        """Pixels of a photo that show a text, at the size of its file (C.1.4.2).

        Args:
            view: The photo.
            texts: What to look for.
            sam: A predictor that is given points where scores are high; its masks make the answer.
            protocol: 2d thresholds rendered scores, 3d renders the selection and thresholds that.

        Raises:
            InputError: see :meth:`relevancy`; or a predictor is given for the 3d protocol.
        """
        if sam is not None and protocol == "3d":
            raise InputError("The 3d protocol renders selections and uses no predictor; leave sam out, or take 2d.")
        asked = _asked(texts)
        if protocol == "3d":
            found = self.select(asked, diffusion=diffusion, method=method, negatives=negatives)
            columns = [selection.binary().scores for selection in found]
            masks = [_above(image) for image in self._draw(view.covering_camera, columns).unbind(2)]
        else:
            kind = self._kind(diffusion, method, sam is not None)
            columns = self._texts.columns(asked, kind, self._against(negatives))
            camera = view.covering_camera if sam is None else view.camera
            taus = TAU if sam is None else TAU_SAM
            masks = [_cut(image, kind, taus)[0] for image in self._draw(camera, columns).unbind(2)]
        arrays = [mask.cpu().numpy() for mask in masks]
        if sam is not None:
            arrays = self._sam_masks(sam, view, arrays)
        photos = [view.to_photo(array) for array in arrays]
        return photos[0] if isinstance(texts, str) else photos

    @property
    def graph(self) -> NeighbourGraph:
        """The graph along which relevancies are refined, with the structure field's features."""
        return self._texts.graph

    def _kind(self, diffusion: bool, method: Method | None, for_sam: bool = False) -> Kind:
        if not diffusion:
            return "raw"
        if (method or self._method) == "random-walker":
            return "random walker"
        return "diffused for SAM" if for_sam else "diffused"

    def _against(self, negatives: Sequence[str]) -> tuple[str, ...]:
        """Canonical phrases and own negatives."""
        return tuple(dict.fromkeys([*self.negatives, *(_asked(negatives) if negatives else ())]))

    def _selection(
        self,
        text: str,
        scores: Float[Tensor, " n"],
        kind: Kind,
        negatives: tuple[str, ...],
        threshold: float | None,
        parts: Parts,
    ) -> Selection:
        seen = self._texts.seen
        mask = torch.zeros_like(seen)
        if threshold is None:
            mask[seen], threshold, how = _cut(scores[seen], kind, TAU)
        else:
            mask, how = (scores > threshold) & seen, "given"
        about = {
            "method": "text",
            **self._texts.about(text, kind, negatives),
            "threshold": threshold,
            "threshold_by": how,
            "parts": parts,
        }
        selection = Selection.from_mask(mask, about)
        if parts == "all" or not bool(mask.any()):
            return selection
        found_parts = selection.components(self.graph)
        best = 0 if parts == "largest" else int(found_parts.labels[torch.where(mask, scores, -1.0).argmax()])
        counts = {"of_parts": len(found_parts), "share_of_largest": found_parts.largest_share}
        return Selection.from_mask(found_parts.labels == best, about | counts)

    def _draw(self, camera: Camera, columns: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, "h w q"]:
        with torch.no_grad():
            return rasterize(self.gaussians, camera, torch.stack(list(columns), dim=1)).values

    def _sam_masks(self, sam: MaskPredictor, view: View, masks: list[ndarray]) -> list[Bool[ndarray, "h w"]]:
        """Masks of a predictor that is given points of each mask; empty ones stay empty.

        The paper draws points from the q percent of pixels with the highest scores, q the share of the mask:
        these are the mask's own pixels, which a threshold of the scores made.
        """
        if any(mask.any() for mask in masks):
            set_image(sam, view)
        found = []
        for mask in masks:
            if mask.any():
                random = np.random.default_rng((self._seed, zlib.crc32(view.name.encode())))
                average = average_masks(sam, mask, repeats=SAM_REPEATS, random=random)[..., 0]
                mask = _above(torch.from_numpy(average)).numpy()
            found.append(mask)
        return found


def _cut(scores: Float[Tensor, "..."], kind: Kind, taus: Mapping[str, float]) -> tuple[Bool[Tensor, "..."], float, str]:
    """The mask, the threshold in the unit of the scores, and how it was found."""
    if kind == "random walker":
        return scores > BOUNDARY, BOUNDARY, "as probable as the background"
    mask, threshold = relevant(scores, taus[kind])
    return mask, threshold, f"Otsu above {taus[kind]:g} of the maximum"


def _above(scores: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Above Otsu's threshold; above one half where all scores are the same."""
    constant = bool(scores.max() == scores.min())
    return scores > (BOUNDARY if constant else otsu_threshold(scores))


def _asked(texts: str | Sequence[str]) -> list[str]:
    asked = [texts] if isinstance(texts, str) else list(texts)
    if not asked or not all(text.strip() for text in asked):
        raise InputError(
            f"A query needs words, found {asked if len(asked) != 1 else asked[0]!r}; say what to look for."
        )
    return asked
