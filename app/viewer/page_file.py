"""The scene as one HTML file that opens without a server: viser's page with the splats inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent

if TYPE_CHECKING:
    import viser
    from jaxtyping import Float

    from app.explorer.document import Document
    from app.explorer.looks import Look
    from app.explorer.session import Session
    from app.viewer.world import World

MOST = 2_000_000  # Gaussians of 32 bytes each, and a third more as text
# viser sorts splats in a module worker made of a blob, which Chromium does not load in a page that is a file; from a
# data: address it does.
WORKERS = """<script>
if (location.protocol === "file:") {
  const [PlainBlob, PlainWorker, address] = [Blob, Worker, URL.createObjectURL];
  const texts = new WeakMap(), scripts = new Map();
  window.Blob = class extends PlainBlob {
    constructor(parts = [], options = {}) {
      super(parts, options);
      if ((options.type ?? "").includes("javascript")) texts.set(this, parts.join(""));
    }
  };
  URL.createObjectURL = (blob) => {
    const made = address.call(URL, blob);
    if (texts.has(blob)) scripts.set(made, texts.get(blob));
    return made;
  };
  window.Worker = class extends PlainWorker {
    constructor(made, options) {
      const text = scripts.get(String(made));
      super(text === undefined ? made : "data:text/javascript;charset=utf-8," + encodeURIComponent(text), options);
    }
  };
}
</script>"""
HEAD, TITLE = "<head>", "<title>Viser</title>"


@dataclass(frozen=True, eq=False)
class Opening:
    """Where the camera of a written page begins, in the frame in which scenes are shown.

    Attributes:
        position: Of the camera; ``[3]`` float64.
        look_at: The point in its middle, which it turns around; ``[3]`` float64.
        up: What is up for the person who turns it; ``[3]`` float64.
        fov: From the lower to the upper edge, in radians.

    Raises:
        InputError: there is no such camera.
    """

    position: Float[np.ndarray, "3"]
    look_at: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    fov: float

    def __post_init__(self) -> None:
        ahead, up = self.look_at - self.position, self.up
        if not (np.isfinite([ahead, up]).all() and ahead.any() and up.any() and 0 < self.fov < math.pi):
            raise InputError("The page's camera cannot be used: it looks nowhere; move it and try again.")

    @staticmethod
    def of(client: viser.ClientHandle) -> Opening:
        """Where a page's camera is now.

        Raises:
            InputError: it has reported none yet, or one that is none.
        """
        from app.viewer import _internals

        state = _internals.camera_state(client)
        if state is None:
            raise InputError("The page has not reported its camera yet; try again in a moment.")
        position, look_at, up = np.array([state.position, state.look_at, state.up_direction], np.float64)
        return Opening(position, look_at, up, float(state.fov))


def write_page(
    session: Session,
    look: Look,
    world: World,
    opening: Opening,
    path: str | Path,
    *,
    document: Document | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the visible Gaussians in the colours of a look; what is hidden or removed is not in the file.

    Args:
        session: The scene.
        look: Colours, features, relevancy or opacity; of two the first.
        world: How the scene is shown.
        opening: Where the page's camera begins.
        path: Of the file; an existing one is replaced at once or not at all.
        document: What is selected, hidden and removed; None = as it is in the session now.
        progress: Told of the steps; raising from it cancels, and nothing is written.

    Raises:
        InputError: nothing is visible, there are too many Gaussians for one page, or the look is depth, which is a
            matter of the camera.
        OSError: the disk is full, or the folder cannot be written.
    """
    from app.explorer.looks import splats
    from app.viewer.server import open_server
    from app.viewer.splats import covariances

    document = session.document if document is None else document
    if look.what == "depth":
        raise InputError("Depth is a matter of the camera and cannot be written into a page; choose other colours.")
    visible = document.visible.numpy()
    if not 0 < int(visible.sum()) <= MOST:
        raise InputError(
            f"A page holds 1 to {MOST} Gaussians, found {int(visible.sum())} visible ones; isolate a part."
        )
    progress(0, 2, "colours of the page")
    rgb, opacities = splats(session, look, document)
    gaussians = session.gaussians[document.visible.to(session.device)]
    # A server of its own: what is added to one that is in use would appear on everybody's page.
    with open_server(port=0) as server:
        scene, first = server.viser.scene, server.viser.initial_camera
        scene.set_up_direction(tuple(world.up))
        first.position, first.look_at, first.up, first.fov = opening.position, opening.look_at, opening.up, opening.fov
        scene.add_gaussian_splats(
            "/gaussians",
            centers=(gaussians.means.cpu().numpy() * world.scale).astype(np.float32),
            covariances=covariances(gaussians) * world.scale**2,
            rgbs=rgb[visible],
            opacities=opacities[visible][:, None],
        )
        progress(1, 2, "packing the page")
        page = server.viser.get_scene_serializer().as_html(dark_mode=True)
    progress(2, 2, "writing the page")
    with atomic_file(path) as temporary:
        temporary.write_text(_for_files(page, session.scene.path.resolve().name), encoding="utf-8")
    return Path(path)


def _for_files(page: str, title: str) -> str:
    """viser's page, so that it works when it is opened as a file.

    Raises:
        InputError: it is another page than the one this was written for.
    """
    import html

    if page.count(HEAD) != 1 or page.count(TITLE) != 1:
        raise InputError("The installed viser's page cannot be written as one file; install viser~=1.1.1.")
    return page.replace(HEAD, HEAD + WORKERS).replace(TITLE, f"<title>{html.escape(title)}</title>")
