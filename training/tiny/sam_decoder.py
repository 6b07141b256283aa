"""Segment Anything's mask decoder for the prompts of several photos at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    from uplift.encoders.tiny_sam import MaskDecoder


def decode(
    decoder: MaskDecoder,
    embeddings: Float[Tensor, "b c h w"],
    positions: Float[Tensor, "1 c h w"],
    sparse: Float[Tensor, "n t c"],
    dense: Float[Tensor, "n c h w"],
) -> tuple[Float[Tensor, "n k H W"], Float[Tensor, "n k"]]:
    """What ``MaskDecoder.predict_masks`` computes, which takes one photo at a time.

    Channels lie last throughout, so that the two upsamplings (whose kernels do not overlap) are products of
    matrices: on a processor this is twice as fast.

    Args:
        decoder: Its weights are used as they are.
        embeddings: Of ``b`` photos.
        positions: ``PromptEncoder.get_dense_pe()``.
        sparse: Tokens of the prompts, ``n / b`` for each photo, photo after photo.
        dense: The prompts' other embedding.

    Returns:
        Logits of all ``k`` masks at four times the size of the embedding, and their predicted overlaps.
    """
    n = len(sparse)
    b, c, h, w = embeddings.shape
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own[None].expand(n, -1, -1), sparse], 1)
    rows = embeddings.permute(0, 2, 3, 1)[:, None] + dense.permute(0, 2, 3, 1).unflatten(0, (b, -1))
    around = positions.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).expand(n, -1, -1, -1)
    said, rows = decoder.transformer(rows.reshape(n, h, w, c).permute(0, 3, 1, 2), around, tokens)
    first, norm, bend, second, bend_again = decoder.output_upscaling
    x = _upsampled(first, rows)
    x = bend(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = bend_again(_upsampled(second, x))
    k = decoder.num_mask_tokens
    weights = torch.stack([decoder.output_hypernetworks_mlps[i](said[:, 1 + i]) for i in range(k)], 2)
    masks = (x.flatten(1, 3) @ weights).reshape(n, h, w, 2, 2, 2, 2, k)
    masks = masks.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(n, k, 4 * h, 4 * w)
    return masks, decoder.iou_prediction_head(said[:, 0])


def _upsampled(convolution: nn.Module, x: Float[Tensor, "... c"]) -> Float[Tensor, "... 4 d"]:
    """A transposed convolution of side and stride 2: the four pixels that come of each, in an axis of their own."""
    weight, bias = convolution.weight, convolution.bias
    flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
    return F.linear(x, flat, bias.repeat(4)).unflatten(-1, (4, -1))
