"""The scene as one HTML file that opens without a server: viser's page with the splats inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.files import atomic_file

if TYPE_CHECKING:
    from app.explorer.looks import Look
    from app.explorer.session import Session
    from app.viewer.world import World

MOST = 2_000_000  # Gaussians of 32 bytes each, and a third more as text


def write_page(session: Session, look: Look, world: World, path: str | Path) -> Path:
    """Write the visible Gaussians in the colours of a look.

    Args:
        session: The scene.
        look: Colours, features or relevancy; depth is a matter of the camera and is written as colours.
        world: How the scene is shown.
        path: Of the file; an existing one is replaced at once or not at all.

    Raises:
        InputError: nothing is visible, or there are too many Gaussians for one page.
        OSError: the disk is full, or the folder cannot be written.
    """
    from app.explorer.looks import Look, splats
    from app.viewer.server import open_server
    from app.viewer.splats import covariances

    visible = session.document.visible.numpy()
    if not 0 < int(visible.sum()) <= MOST:
        raise InputError(
            f"A page holds 1 to {MOST} Gaussians, found {int(visible.sum())} visible ones; isolate a part."
        )
    rgb, opacities = splats(session, look if look.what != "depth" else Look(overlay=look.overlay))
    gaussians = session.gaussians[session.document.visible.to(session.device)]
    # A server of its own: what is added to one that is in use would appear on everybody's page.
    with open_server(port=0) as server:
        scene = server.viser.scene
        scene.set_up_direction(tuple(world.up))
        scene.add_gaussian_splats(
            "/gaussians",
            centers=((gaussians.means.cpu().numpy() - world.centre) * world.scale).astype(np.float32),
            covariances=covariances(gaussians) * world.scale**2,
            rgbs=rgb[visible],
            opacities=opacities[visible][:, None],
        )
        page = server.viser.get_scene_serializer().as_html(dark_mode=True)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)
