"""Pictures of a scene: colours, depth, PCA of features; and the sheet that puts them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.depth_colours import colour_depth as colour_depth
from render.depth_colours import depth_range as depth_range
from render.errors import InputError
from render.files import atomic_file
from render.rasterizer import rasterize

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from matplotlib.figure import Figure

    from render.camera import Camera
    from render.gaussians import Gaussians
    from uplift.field import FeatureField

UNSEEN = 0.5  # grey of Gaussians that no view saw
GREY_SHARE, HEAT_SHARE = 0.85, 0.75  # brightness of the picture below a heat map, and its strongest cover,
HEAT_FULL = 0.5  # which is reached at this heat
QUANTILES = (0.5, 0.999)  # of relevancies, where the colours begin and end
INK, PAPER, MARGIN, TITLE = (34, 34, 40), (255, 255, 255), 8, 30


@torch.no_grad()
def render_rgb(gaussians: Gaussians, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
    """The scene's colours from one camera, over black."""
    return as_bytes(rasterize(gaussians, camera).values)


@torch.no_grad()
def render_depth(gaussians: Gaussians, camera: Camera) -> Float[np.ndarray, "h w"]:
    """Expected depth along the camera's z axis in the scene's unit, 0 where nothing is."""
    return rasterize(gaussians, camera).depth.cpu().numpy()


@torch.no_grad()
def render_colours(
    gaussians: Gaussians, camera: Camera, colours: Float[torch.Tensor, "n 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Given colours of the Gaussians, in [0, 1], from one camera, over black."""
    return as_bytes(rasterize(gaussians, camera, values=colours.to(gaussians.means)).values)


@torch.no_grad()
def render_heat(
    gaussians: Gaussians, camera: Camera, scores: Float[torch.Tensor, " n"], *, outline: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Scores of the Gaussians as a heat map over the scene's colours; see :func:`blend_heat`."""
    heat = rasterize(gaussians, camera, scores.to(gaussians.means)[:, None]).values[..., 0]
    return blend_heat(render_rgb(gaussians, camera), heat.cpu().numpy(), outline=outline)


@torch.no_grad()
def pca_colours(field: FeatureField) -> Float[torch.Tensor, "n 3"]:
    """PCA colours of a field's Gaussians in the field's one basis, grey where nothing was seen."""
    colours = field.colours()
    return torch.where((field.weights > 0)[:, None].to(colours.device), colours, colours.new_full((1, 3), UNSEEN))


def as_bytes(values: Float[torch.Tensor, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] as bytes, rounded."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def blend_heat(
    image: UInt8[np.ndarray, "h w 3"], heat: Float[np.ndarray, "h w"], *, outline: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """A heat map over a picture in grey: nothing at 0, blue where it begins, red at 1.

    Args:
        image: The picture below.
        heat: Clipped to [0, 1].
        outline: Draw the line where the heat crosses this value in white.
    """
    import cv2

    heat = np.clip(heat, 0, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * GREY_SHARE
    colours = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    share = HEAT_SHARE * np.clip(heat / HEAT_FULL, 0, 1)[..., None]
    blended = (grey * (1 - share) + colours * share).round().astype(np.uint8)
    if outline is not None:
        inside = (heat >= outline).astype(np.uint8)
        edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        blended[edge & (inside > 0)] = 255
    return blended


def psnr(image: UInt8[np.ndarray, "h w 3"], reference: UInt8[np.ndarray, "h w 3"]) -> float:
    """Peak signal-to-noise ratio in dB of two pictures."""
    error = np.mean((image.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def save_picture(path: str | Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a PNG or JPEG picture; an existing file is replaced at once or not at all.

    Raises:
        InputError: the name ends in neither .png nor .jpg.
        OSError: the disk is full, or the folder cannot be written.
    """
    from PIL import Image

    check_picture_name(path)
    with atomic_file(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, optimize=True, quality=90)


def figure_pixels(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    """What a plot looks like."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def check_picture_name(path: str | Path) -> None:
    """Raise InputError unless a picture can have that name."""
    if Path(path).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"Expected a picture's name that ends in .png or .jpg, found {path}.")


def stretched(
    values: Float[torch.Tensor, " n"], seen: Float[torch.Tensor, " n"]
) -> tuple[Float[torch.Tensor, " n"], float, float]:
    """Relevancies as heat in [0, 1], and where it begins and ends: at the median and near the top of those seen.

    Args:
        values: Relevancies of Gaussians.
        seen: How much was seen of each, 0 = nothing.
    """
    known = values[(seen > 0).to(values.device)].cpu().numpy()
    low, high = map(float, np.quantile(known, QUANTILES)) if len(known) else (0.0, 1.0)
    return ((values - low) / max(high - low, 1e-6)).clamp(0, 1), low, high


def row_sheet(
    titles: Sequence[str], rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], *, cell_width: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of pictures with titles above the first; all as large as its first, maps of patches in plain squares."""
    import cv2

    height, width = rows[0][0].shape[:2]
    size = (cell_width, round(cell_width * height / width))
    panels = [
        (title if row == 0 else "", cv2.resize(np.ascontiguousarray(one), size, interpolation=cv2.INTER_NEAREST_EXACT))
        for row, pictures in enumerate(rows)
        for title, one in zip(titles, pictures, strict=True)
    ]
    return panel_sheet(panels, len(titles), cell_width=cell_width)


def panel_sheet(
    panels: Sequence[tuple[str, UInt8[np.ndarray, "h w 3"]]], columns: int, *, cell_width: int = 480
) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures of one size in rows, each with its title above it."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = panels[0][1].shape[:2]
    cell_height = round(height * cell_width / width)
    rows = -(-len(panels) // columns)
    across, down = cell_width + MARGIN, TITLE + cell_height + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * across, rows * down), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for index, (title, picture) in enumerate(panels):
        x, y = MARGIN + index % columns * across, index // columns * down
        draw.text((x + cell_width / 2, y + TITLE / 2), title, fill=INK, font=font, anchor="mm")
        cell = Image.fromarray(picture).resize((cell_width, cell_height), Image.Resampling.LANCZOS)
        sheet.paste(cell, (x, y + TITLE))
    return np.asarray(sheet)
