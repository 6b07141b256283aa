"""The photos in a page: where they were taken from, and one of them laid over what is rendered."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from app.viewer.page import Page
    from render.camera import Camera
    from render.progress import Progress
    from render.views import View

NAME = "/photos"
MOST_FRUSTUMS = 200
ARRIVAL = 1.0  # seconds in which the page may still report where it was before
THUMBNAIL = 96  # pixels, the height of the pictures in the frustums,
WIDEST_THUMBNAIL = 4 * THUMBNAIL  # and the most of their width
SIZE = 0.1  # of a frustum in shown units; a scene measures ten
NEAR = 1.2  # a frustum so close to the camera would cover much of the view
LINE = 1.25  # pixels
STILL = 1e-3  # how far a camera may be from a photo's, in shown units and as a rotation, to look through it


class Photos:
    """Frustums of a page's photos, and the comparison of one photo with what is rendered from its place."""

    def __init__(self, page: Page) -> None:
        self._page = page
        # Frustums, and their places in shown units; always exchanged together.
        self._frustums: tuple[list[Any], Float[np.ndarray, "n 3"]] = ([], np.zeros((0, 3)))
        self._view: View | None = None
        self._image: UInt8[np.ndarray, "h w 3"] | None = None
        self.share = 0.5  # of the photo in the comparison
        self.shown = False
        self._arrived = 0.0

    @property
    def names(self) -> list[str]:
        """The photos, in the order of the scene."""
        return [view.name for view in self._page.session.scene.views]

    @property
    def compared(self) -> bool:
        """Whether a photo is laid over the picture."""
        return self._image is not None

    @property
    def looked_through(self) -> bool:
        """Whether the page is at a photo's place."""
        return self._view is not None

    def show(self, shown: bool) -> None:
        """Show where the photos were taken from, or do not."""
        self.shown = shown
        if shown and not self._frustums[0]:
            self._page.explorer.submit(self._page, f"photos {id(self)}", self._add)
        self._show_frustums()
        self._page.redraw()

    def look_through(self, name: str) -> None:
        """Go to a photo's place; the photo can be laid over the picture there."""
        view = self._page.session.scene.view(name)
        self._view, self._image = view, None
        self._arrived = time.monotonic()
        self._page.go_to(view.camera)
        self._page.see.photo_chosen(name)

    def compare(self, share: float | None) -> None:
        """Lay the photo that is looked through over the picture, by a share; None = no longer."""
        view = self._view
        if share is None or view is None:
            self._image = None
        else:
            self.share = share
            if self._image is None:
                self._image = view.image()
        self._page.redraw()

    def camera_moved(self) -> None:
        """Nobody looks through a photo any more once the camera has left its place."""
        self._show_frustums()
        view = self._view
        if view is None or time.monotonic() - self._arrived < ARRIVAL:
            return
        if not _same(self._page.camera(64), view.camera):
            self._image = self._view = None
            self._page.see.photo_left()

    def blended(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A frame with the photo laid over its middle, at its full height."""
        import cv2

        photo = self._image
        if photo is None:
            return image
        height, width = image.shape[:2]
        # What would not be seen is cut off first: enlarged, a very wide photo would need much memory.
        wide = max(1, round(photo.shape[1] * height / photo.shape[0]))
        if wide > width:
            columns = max(1, round(width * photo.shape[0] / height))
            crop = (photo.shape[1] - columns) // 2
            photo, wide = photo[:, crop : crop + columns], width
        fitted = cv2.resize(photo, (wide, height), interpolation=cv2.INTER_AREA)
        left = (width - fitted.shape[1]) // 2
        result = image.copy()
        under = result[:, left : left + fitted.shape[1]]
        result[:, left : left + fitted.shape[1]] = cv2.addWeighted(fitted, self.share, under, 1 - self.share, 0)
        return result

    def _show_frustums(self) -> None:
        """Show those that do not stand in the way."""
        handles, places = self._frustums
        distances = np.linalg.norm(places - np.asarray(self._page.client.camera.position), axis=1)
        for handle, distance in zip(handles, distances, strict=True):
            visible = self.shown and bool(distance > NEAR)
            if handle.visible != visible:
                handle.visible = visible

    def _add(self, progress: Progress) -> None:
        import viser.transforms

        from render.conventions import invert_rigid

        page, views = self._page, self._page.session.scene.views
        handles, places = [], []
        some = views[:: max(1, -(-len(views) // MOST_FRUSTUMS))]
        for done, view in enumerate(some):
            progress(done, len(some), "photos")
            pose = invert_rigid(page.explorer.world.to_shown(view.camera).world_to_camera.double()).numpy()
            camera = view.camera
            handle = page.client.scene.add_camera_frustum(
                f"{NAME}/{view.name}",
                fov=2 * float(np.arctan(0.5 * camera.height / float(camera.K[1, 1]))),
                aspect=camera.width / camera.height,
                scale=SIZE,
                thickness=LINE,
                thickness_units="screen",
                color=(255, 170, 60),
                image=_thumbnail(view),
                wxyz=viser.transforms.SO3.from_matrix(pose[:3, :3]).wxyz,
                position=pose[:3, 3],
                visible=False,
            )
            handle.on_click(partial(self._clicked, view.name))
            handles.append(handle)
            places.append(pose[:3, 3])
        self._frustums = handles, np.array(places).reshape(-1, 3)
        self._show_frustums()

    def _clicked(self, name: str, _: object) -> None:
        self._page.trying(lambda: self.look_through(name))


def _thumbnail(view: View) -> UInt8[np.ndarray, "h w 3"] | None:
    """A small copy of the photo; none where its file is gone or damaged."""
    import cv2

    from render.errors import InputError

    try:
        image = view.image()
    except (InputError, OSError):
        return None
    # The frustum stretches it to its own shape.
    width = min(max(1, round(image.shape[1] * THUMBNAIL / image.shape[0])), WIDEST_THUMBNAIL)
    return cv2.resize(image, (width, THUMBNAIL), interpolation=cv2.INTER_AREA)


def _same(camera: Camera, other: Camera) -> bool:
    difference = camera.world_to_camera - other.world_to_camera
    extent = max(1.0, float(other.world_to_camera[:3, 3].norm()))
    return float(difference.abs().max()) <= STILL * extent
