"""The bar that says what the colours of a heat map or of depths mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.pictures import INK, PAPER

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from app.explorer.looks import Look
    from app.explorer.session import Session

WIDTH, HEIGHT, EDGE = 280, 14, 10  # of the bar, and around it
TICKS = 5


def colour_bar(low: float, high: float, *, title: str = "", inverse: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """A horizontal bar with numbers below it.

    Args:
        low: The value of the first colour.
        high: The value of the last colour.
        title: Written above it.
        inverse: Depths: near is warm, and the colours follow the inverse of the numbers.
    """
    from PIL import Image, ImageDraw, ImageFont

    colours = _inverse(low, high) if inverse else _levels(np.linspace(0, 1, WIDTH))
    font = ImageFont.load_default(size=12)
    top = EDGE + (16 if title else 0)
    sheet = Image.new("RGB", (WIDTH + 2 * EDGE + 28, top + HEIGHT + 24), PAPER)
    draw, left = ImageDraw.Draw(sheet), EDGE + 14
    if title:
        draw.text((left, EDGE - 4), title, fill=INK, font=font)
    sheet.paste(Image.fromarray(np.repeat(colours[None], HEIGHT, axis=0)), (left, top))
    draw.rectangle((left - 1, top - 1, left + WIDTH, top + HEIGHT), outline=INK)
    for share in np.linspace(0, 1, TICKS):
        x = left + round(share * (WIDTH - 1))
        draw.line((x, top + HEIGHT, x, top + HEIGHT + 3), fill=INK)
        draw.text((x, top + HEIGHT + 4), f"{low + share * (high - low):.3g}", fill=INK, font=font, anchor="ma")
    return np.asarray(sheet)


def bar_of(session: Session, look: Look) -> UInt8[np.ndarray, "h w 3"] | None:
    """The bar of a look, of two looks the left one's over the right one's; None for looks whose colours are no scale.

    Raises:
        InputError: see :func:`app.explorer.looks.heat`.
    """
    parts = look.parts
    sides = ("",) if len(parts) == 1 else ("left: ", "right: ")
    bars = [_bar_of(session, part, side) for part, side in zip(parts, sides, strict=True)]
    found = [bar for bar in bars if bar is not None]
    return np.concatenate(found) if found else None


def _bar_of(session: Session, look: Look, side: str) -> UInt8[np.ndarray, "h w 3"] | None:
    from app.explorer.looks import depth_limits, heat

    if look.what == "relevancy":
        warm = heat(session, look)
        return colour_bar(warm.low, warm.high, title=side + (f"relevancy: {look.text}" if look.text else "score"))
    if look.what == "depth":
        return colour_bar(*depth_limits(session), title=f"{side}depth, in the scene's unit", inverse=True)
    return None


def _levels(levels: np.ndarray) -> UInt8[np.ndarray, "w 3"]:
    import cv2

    return cv2.applyColorMap((levels * 255).round().astype(np.uint8)[None], cv2.COLORMAP_TURBO)[0, :, ::-1]


def _inverse(near: float, far: float) -> UInt8[np.ndarray, "w 3"]:
    from app.pictures import colour_depth

    return colour_depth(np.linspace(near, far, WIDTH, dtype=np.float32)[None], (near, far))[0]
