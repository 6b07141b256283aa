"""``fit3d demo``: the bundled scene, lifted and looked at, without network or GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.scene import Scene
    from uplift.field import FeatureField
    from uplift.selection import Selection

ENCODERS = ("rgb", "dense-descriptors")
COLUMNS = ("photo", "render", "depth", "lifted features (PCA)", "selected by two clicks")
SELECTION = "fruit-bowl"
CLICKED = 9  # pixels, the ring around the click
ROWS = 3


@dataclass(frozen=True)
class Demo:
    """Build the bundled scene, lift features, select the fruit bowl by two clicks, and write a sheet of pictures.

    No network, no GPU.

    The scene, a room corner of 50000 Gaussians and 12 photos, goes to the cache folder
    ($XDG_CACHE_HOME/fit3d, by default ~/.cache/fit3d) and is used again the next time.
    """

    out: Path | None = None
    """PNG or JPEG file to write; by default contact_sheet.png beside the scene."""
    overwrite: bool = False
    """Replace the file given with --out."""
    gaussians: int = 50_000
    """About how many Gaussians."""
    views: int = 12
    """How many photos."""
    width: int = 480
    """Width of the photos in pixels."""
    height: int = 360
    """Height of the photos in pixels."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Make the scene, lift, draw."""
        from app.pictures import check_picture_name, save_picture
        from app.scenes import refuse_existing
        from assets.demo_scene import demo_scene
        from render.devices import resolve_device

        if self.out is not None:
            check_picture_name(self.out)
            refuse_existing(self.out, self.overwrite)
        device = resolve_device(self.device)
        with progress_bars() as progress:
            scene = demo_scene(
                count=self.gaussians, views=self.views, width=self.width, height=self.height, progress=progress
            )
            say(f"scene: {scene.path}")
            gaussians = scene.gaussians.to(device)
            for name in ENCODERS:
                field = _field(scene, gaussians, name, progress)
            selected = _select(scene, gaussians, field, progress)
            sheet, quality = draw_sheet(scene, gaussians, field, selected, progress)
        path = self.out or scene.path / "contact_sheet.png"
        save_picture(path, sheet)
        say(f"renders against photos: {quality:.1f} dB PSNR")
        wrote(path)


def _field(scene: Scene, gaussians: Gaussians, name: str, progress: Progress) -> FeatureField:
    """The field in the cache if it can be read, else lifted again."""
    from render.errors import InputError
    from uplift.encoders import load_encoder
    from uplift.field import FeatureField
    from uplift.lifting import lift

    path = scene.field_path(name)
    if path.is_file():
        try:
            return FeatureField.load(path, n=len(gaussians)).to(gaussians.device)
        except InputError:
            say(f"{path} is damaged and is made again")
    encoder = load_encoder(name, device=gaussians.device)
    field = lift(gaussians, scene.views, encoder, progress=progress)
    field.save(path)
    wrote(path)
    return field


def _select(scene: Scene, gaussians: Gaussians, field: FeatureField, progress: Progress) -> Selection:
    """Click on the fruit bowl, and beside it on the table as background, in the first photo."""
    from app.scenes import save_selection
    from assets.demo_scene import FRUIT_BOWL, TABLE_TOP, place_of
    from uplift.segmentation import Segmenter

    view = scene.views[0]
    segmenter = Segmenter(scene, field, name=field.encoder, gaussians=gaussians).prepare(progress)
    inside, outside = (place_of(point, view.camera)[None] for point in (FRUIT_BOWL, TABLE_TOP))
    selection = segmenter.from_clicks(view, inside, outside)
    wrote(save_selection(scene, SELECTION, selection))
    return selection


def draw_sheet(
    scene: Scene, gaussians: Gaussians, field: FeatureField, selected: Selection, progress: Progress
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Photo, render, depth, features and selection in some views, and the mean PSNR of their renders."""
    import numpy as np

    from app import pictures
    from assets.demo_scene import FRUIT_BOWL, TABLE_TOP, place_of

    count = min(ROWS, len(scene.views))
    chosen = [scene.views[i] for i in np.linspace(0, len(scene.views) - 1, count).round().astype(int)]
    colours = pictures.pca_colours(field)
    photos, renders, depths, features, selections = [], [], [], [], []
    for done, view in enumerate(chosen):
        progress(done, count, "drawing")
        photos.append(view.image())
        renders.append(pictures.render_rgb(gaussians, view.camera))
        depths.append(pictures.render_depth(gaussians, view.camera))
        features.append(pictures.render_colours(gaussians, view.camera, colours))
        heat = selected.render(gaussians, view.camera).cpu().numpy()
        selections.append(pictures.blend_heat(renders[-1], heat, outline=0.5))
    for point, colour in ((FRUIT_BOWL, (255, 255, 255)), (TABLE_TOP, (80, 140, 255))):
        pictures.draw_ring(selections[0], place_of(point, chosen[0].camera), CLICKED, colour)
    progress(count, count, "drawing")
    limits = pictures.depth_range(depths)
    rows = [
        (photo, render, pictures.colour_depth(depth, limits), feature, selection)
        for photo, render, depth, feature, selection in zip(photos, renders, depths, features, selections, strict=True)
    ]
    quality = float(np.mean([pictures.psnr(r, p) for r, p in zip(renders, photos, strict=True)]))
    return pictures.contact_sheet(rows, COLUMNS, [view.name for view in chosen]), quality
