"""Segment Anything's mask decoder for the prompts of several photos at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    from uplift.encoders.tiny_sam import MaskDecoder, PromptEncoder

SOFTER = 0.25  # labels, tokens and the photo's content beside positions
LISTENS = 6.0  # by how many logits a token of a mask attends to points rather than to others
PEAK = 2.0  # how sharply attention begins to look at points


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
    masks = _drawn(decoder, said, rows, (h, w), None)
    return masks, decoder.iou_prediction_head(said[:, 0])


def decode_apart(
    decoder: MaskDecoder,
    embeddings: Float[Tensor, "b c h w"],
    positions: Float[Tensor, "1 c h w"],
    sparse: Float[Tensor, "n t c"],
    dense: Float[Tensor, "1 c"],
    quarter: int | None = None,
) -> tuple[Float[Tensor, "n k H W"], Float[Tensor, "n k"]]:
    """What :func:`decode` computes where the photo is not told of the prompts: the attention from image to tokens adds
    nothing.

    All prompts of a photo then share one upsampled embedding, and each costs little more than a product of it with
    the weights that its tokens give.

    Args:
        decoder: Its weights are used as they are.
        embeddings: Of ``b`` photos.
        positions: ``PromptEncoder.get_dense_pe()``.
        sparse: Tokens of the prompts, ``n / b`` for each photo, photo after photo.
        dense: The embedding of a prompt without a mask, the same in all cells.
        quarter: Compute only these cells: of each square of four the upper left, upper right, lower left, lower
            right one, 0 to 3.  None = all.

    Returns:
        Logits of all ``k`` masks at four times the size of the embedding (twice for a quarter), and their predicted
        overlaps.
    """
    n = len(sparse)
    b, _, h, w = embeddings.shape
    transformer = decoder.transformer
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own[None].expand(n, -1, -1), sparse], 1)
    t = tokens.shape[1]
    rows = embeddings.flatten(2).transpose(1, 2) + dense[:, None]
    around = positions.flatten(2).transpose(1, 2)
    said = tokens

    def seen(attention: nn.Module, queries: Tensor) -> Tensor:
        """What the tokens of all prompts find in their photos."""
        found: Tensor = attention(q=queries.reshape(b, -1, queries.shape[-1]), k=rows + around, v=rows)
        return found.reshape(n, t, -1)

    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            said = layer.self_attn(q=said, k=said, v=said)
        else:
            said = said + layer.self_attn(q=said + tokens, k=said + tokens, v=said)
        said = layer.norm1(said)
        said = layer.norm2(said + seen(layer.cross_attn_token_to_image, said + tokens))
        said = layer.norm3(said + layer.mlp(said))
        rows = layer.norm4(rows)
    said = transformer.norm_final_attn(said + seen(transformer.final_attn_token_to_image, said + tokens))
    return _drawn(decoder, said, rows, (h, w), quarter), decoder.iou_prediction_head(said[:, 0])


def _drawn(
    decoder: MaskDecoder,
    said: Float[Tensor, "n t c"],
    rows: Float[Tensor, "b cells c"],
    grid: tuple[int, int],
    quarter: int | None,
) -> Float[Tensor, "n k H W"]:
    """Masks from the tokens' and the photos' final embeddings, ``n / b`` prompts of each photo."""
    first, norm, bend, second, bend_again = decoder.output_upscaling
    x = _upsampled(first, rows, None)
    x = bend(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = bend_again(_upsampled(second, x, quarter))
    n, b, k, (h, w) = len(said), len(rows), decoder.num_mask_tokens, grid
    weights = torch.stack([decoder.output_hypernetworks_mlps[i](said[:, 1 + i]) for i in range(k)], 1)
    fine = 2 if quarter is None else 1
    masks = weights.reshape(b, -1, weights.shape[-1]) @ x.flatten(1, 3).transpose(1, 2)
    masks = masks.reshape(n, k, h, w, 2, 2, fine, fine)
    return masks.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(n, k, 2 * fine * h, 2 * fine * w)


def _upsampled(convolution: nn.Module, x: Float[Tensor, "... c"], quarter: int | None) -> Float[Tensor, "... m d"]:
    """A transposed convolution of side and stride 2: the four pixels that come of each, in an axis of their own, or
    one of them."""
    weight, bias = convolution.weight, convolution.bias
    flat = weight.permute(2, 3, 1, 0)
    flat = flat.flatten(0, 1) if quarter is None else flat.flatten(0, 1)[quarter : quarter + 1]
    return F.linear(x, flat.flatten(0, 1), bias.repeat(len(flat))).unflatten(-1, (len(flat), -1))


@torch.no_grad()
def begin_at_points(decoder: MaskDecoder, prompt_encoder: PromptEncoder) -> None:
    """Let an untrained decoder begin with what a mask needs first: the content of the photo where a prompt points.

    - Self-attention hands the tokens of masks those of points and corners.
    - Queries and keys of the attention to the photo get the same projection, onto where positions vary most, so that
      they agree where their positions do; content speaks more softly there.  From independent projections it takes
      hundreds of steps until a prompt finds its place.
    - What else layers add begins at nothing, the attention from image to tokens among it: :func:`decode` then gives
      the same masks as :func:`decode_apart`, and goes on from what a training with the latter has learned.

    Args:
        decoder: Changed in place.
        prompt_encoder: Its embeddings of labels are made smaller beside its positions.
    """
    labels = torch.stack([embedding.weight[0] for embedding in prompt_encoder.point_embeddings])
    embeddings = [decoder.iou_token, decoder.mask_tokens, prompt_encoder.not_a_point_embed]
    for embedding in [*embeddings, prompt_encoder.no_mask_embed, *prompt_encoder.point_embeddings]:
        embedding.weight.mul_(SOFTER)
    # Along this, a point that is of the thing and a box's corners lie at 1.
    pointing = torch.linalg.pinv(SOFTER * labels[1:]).sum(1)
    transformer = decoder.transformer
    for i, layer in enumerate(transformer.layers):
        own = layer.self_attn
        nn.init.orthogonal_(own.k_proj.weight)
        nn.init.zeros_(own.k_proj.bias)
        nn.init.zeros_(own.q_proj.weight)
        own.q_proj.bias.copy_(LISTENS * own.num_heads * (labels.shape[1] / own.num_heads) ** 0.5 * own.k_proj(pointing))
        nn.init.eye_(own.v_proj.weight)
        if i == 0:  # in the first layer nothing stands beside it
            nn.init.eye_(own.out_proj.weight)
        else:
            nn.init.zeros_(own.out_proj.weight)
        silent = [layer.cross_attn_token_to_image.out_proj, layer.cross_attn_image_to_token.out_proj, layer.mlp.lin2]
        for linear in silent:
            nn.init.zeros_(linear.weight)
        for linear in [*silent, own.v_proj, own.out_proj]:
            nn.init.zeros_(linear.bias)
        nn.init.constant_(layer.norm4.weight, SOFTER)
    spread = prompt_encoder.get_dense_pe()[0].flatten(1)
    crossing = [a for x in transformer.layers for a in (x.cross_attn_token_to_image, x.cross_attn_image_to_token)]
    for attention in [*crossing, transformer.final_attn_token_to_image]:
        inner = attention.q_proj.weight.shape[0]
        most = torch.linalg.svd(spread)[0][:, :inner]
        mixed = nn.init.orthogonal_(torch.empty(inner, inner))  # no head gets more of it than another
        attention.q_proj.weight.copy_(PEAK * mixed @ most.T)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)
    # What is found there speaks twice as loudly in the tokens of masks as where it was.
    nn.init.orthogonal_(transformer.final_attn_token_to_image.v_proj.weight, gain=2 / SOFTER)
    nn.init.orthogonal_(transformer.final_attn_token_to_image.out_proj.weight)
    # As they are made, masks would depend on prompts a hundred times less than on nothing.
    for network in decoder.output_hypernetworks_mlps:
        for linear in network.layers:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="linear" if linear is network.layers[-1] else "relu")
            nn.init.zeros_(linear.bias)
    for layer in (decoder.output_upscaling[0], decoder.output_upscaling[3]):
        nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
        nn.init.zeros_(layer.bias)
