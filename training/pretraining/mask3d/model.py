"""Two encoders that see different patches of a frame, and a decoder that tells of all (Mask3D, figure 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from training.pretraining.mask3d.losses import in_patches, standardized
from training.pretraining.mask3d.seeing import Kept, Shown, draw_kept
from training.pretraining.mask3d.settings import Masking, Shape
from training.pretraining.unread import freeze_unread
from training.randomness import seeded
from uplift.encoders.masked import Blocks, PatchDecoder, plainly_attending, set_positions, sine_cosine
from uplift.encoders.vit import ViTEncoder

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MASK_DEVIATION = 0.02  # of the mask token as it begins
DEPTH_PLANES = 2  # depth, and where it is known
COLOURS = 3
TRIED = 4  # patches along each side of what is looked at to find parameters that nothing depends on


class MaskedModel(nn.Module):
    """Patches of colours and of depth are encoded apart; the decoder gets one token for each place.

    The bottleneck holds the colours' token where colours were kept, the depth's where depth was, their mean where both
    were (which happens only when more is kept than there are places), and elsewhere the mask token: one vector for all
    places, which is learned.  Positions are told to the depth encoder and to the decoder by sines and cosines; to the
    colour encoder by whatever its architecture has: embeddings, which are sines and cosines too where it begins from
    nothing and are not trained, or turned queries and keys.

    Depth is shown without the mean and deviation of its frame, and beside it where it is known.  Both are of the whole
    frame: the loss, which has moments of patches, gains nothing by it; where nothing is normalized
    (``normalize="none"``) what is shown tells the scale of what is hidden.

    Attributes:
        network: The colour encoder's.
        decoder: What a segmentation may take over.
        masking: What is kept and told.
    """

    def __init__(
        self, encoder: ViTEncoder, masking: Masking, shape: Shape, *, scratch: bool = True, seed: int = 0
    ) -> None:
        """Set up with random weights.

        Args:
            encoder: As it is; it stays so, a copy is trained.
            masking: What is kept and told.
            shape: Of the other parts.
            scratch: The colour encoder begins from nothing, so that its positions may be chosen.
            seed: Of all random weights but the colour encoder's.

        Raises:
            InputError: the decoder's width is no multiple of four.
        """
        super().__init__()
        own = encoder.copied()
        self._own = (own,)  # not a module, and its network is listed below
        self.network, self.masking, self.patch = own.network, masking, own.patch
        area, width = own.patch**2, own.dimension
        if scratch:
            set_positions(own.network)
        with seeded(seed):
            self.decoder = PatchDecoder(width, shape.width, shape.blocks)
            self.hidden = nn.Parameter(MASK_DEVIATION * torch.randn(shape.width))
            tells = {"depth": area, "colour": COLOURS * area}
            told = tells if masking.reconstruct == "both" else {masking.reconstruct: tells[masking.reconstruct]}
            self.heads = nn.ModuleDict({name: nn.Linear(shape.width, size) for name, size in told.items()})
            if masking.depth:
                blocks = len(own.network.blocks) if shape.depth_blocks is None else shape.depth_blocks
                self.depth_embedding = nn.Linear(DEPTH_PLANES * area, width)
                self.depth_encoder = Blocks(width, blocks)
                self.depth_enter = nn.Linear(width, shape.width)
        self.to(own.device)
        if own.device.type == "cpu":
            plainly_attending(self)
        self._freeze_what_nothing_depends_on()

    @property
    def encoder(self) -> ViTEncoder:
        """The colour encoder, which changes with the training."""
        return self._own[0]

    def forward(self, shown: Shown, kept: Kept) -> dict[str, Float[Tensor, "b n p"]]:
        """What is told of all patches, by name: ``depth`` ``[b, n, p]``, ``colour`` ``[b, n, 3 p]`` (red first)."""
        h, w = shown.pixels.shape[2:]
        grid = (h // self.patch, w // self.patch)
        tokens, places = [], []
        if kept.colour.shape[1]:
            tokens.append(self.decoder.enter(self.encoder.tokens_of(shown.pixels, kept.colour)))
            places.append(kept.colour)
        if kept.depth.shape[1]:
            tokens.append(self.depth_enter(self._depth_tokens(shown, kept.depth, grid)))
            places.append(kept.depth)
        full = self._bottleneck(torch.cat(tokens, 1), torch.cat(places, 1), grid[0] * grid[1])
        decoded = self.decoder.decoded(full, grid)
        return {name: head(decoded).float() for name, head in self.heads.items()}

    def _depth_tokens(self, shown: Shown, kept: Int[Tensor, "b m"], grid: tuple[int, int]) -> Float[Tensor, "b m c"]:
        planes = (standardized(shown.depth, shown.known), shown.known.float())
        patches = torch.cat([in_patches(plane, self.patch) for plane in planes], -1)
        chosen = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        embedded = self.depth_embedding(chosen)
        positions = sine_cosine(grid, embedded.shape[2]).to(embedded)
        found: Tensor = self.depth_encoder(embedded + positions[kept])
        return found

    def _bottleneck(
        self, tokens: Float[Tensor, "b k c"], places: Int[Tensor, "b k"], count: int
    ) -> Float[Tensor, "b n c"]:
        """One token for each place."""
        b, _, c = tokens.shape
        sums = tokens.new_zeros(b, count, c).scatter_add(1, places[..., None].expand(-1, -1, c), tokens)
        found = tokens.new_zeros(b, count).scatter_add(1, places, tokens.new_ones(places.shape))[..., None]
        return torch.where(found > 0, sums / found.clamp_min(1), self.hidden.to(sums))

    def _freeze_what_nothing_depends_on(self) -> None:
        positions = getattr(self.network, "pos_embed", None)
        if positions is not None:
            positions.requires_grad_(False)
        places, side, device = TRIED**2, TRIED * self.patch, self.encoder.device
        pixels = torch.rand(1, COLOURS, side, side, generator=torch.Generator().manual_seed(0)).to(device)
        shown = Shown(pixels, pixels[:, 0] + 1, pixels[:, 0] >= 0)
        chosen = draw_kept(places, *self.masking.counts(places), np.random.default_rng(0))
        kept = Kept(*(torch.from_numpy(one)[None].to(device) for one in chosen))
        freeze_unread(self, lambda: torch.cat([told.flatten() for told in self(shown, kept).values()]))
