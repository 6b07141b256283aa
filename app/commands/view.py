"""``fit3d view``: a scene in the browser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import say

if TYPE_CHECKING:
    from app.explorer.session import Session
    from app.viewer.follow import Checkpoint, Run
    from render.scene import Scene

PORT = 8080
SMALL = (64, 48)  # pixels of a frame that nobody sees


@dataclass(frozen=True)
class View:
    """Explore a scene in the browser: see its features, select, ask, edit, export.

    What is selected and edited is kept in SCENE/session and found again the next time.

    A run of ns-train can be explored as it is, also while it is trained: its newest checkpoint is shown, and when a
    newer one is written the open pages change over to it, with what was done done again there.  The trainer is not
    touched.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder, or a run of ns-train: its folder, or the config.yml there."""
    port: int = PORT
    """Port to listen at; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen at; another one than this machine's own asks every page for an access token."""
    token: str | None = None
    """Access token; by default one is made where --host needs it."""
    draw: Literal["auto", "browser", "server"] = "auto"
    """Who draws colours and features: browser (splats, smooth), server (exact frames); auto = the server where the
    browser has no graphics card."""
    open: bool = False
    """Open the page in this machine's browser."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Serve until Ctrl-C."""
        from app.viewer.follow import Run, first_scene
        from render.scene import Scene

        run, followed = Run.at(self.scene), None
        if run is None:
            scene = Scene.open(self.scene)
        else:
            checkpoint, scene = first_scene(run)
            followed = run, checkpoint
        serve(
            scene,
            host=self.host,
            port=self.port,
            token=self.token,
            draw=self.draw,
            open_page=self.open,
            device=self.device,
            followed=followed,
        )


def serve(
    scene: Scene,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    draw: Literal["auto", "browser", "server"] = "auto",
    open_page: bool = False,
    device: str = "auto",
    followed: tuple[Run, Checkpoint] | None = None,
) -> None:
    """Show a scene until Ctrl-C.

    Args:
        scene: The scene.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        token: Access token; None = made where the host needs one.
        draw: Who draws; see :class:`app.viewer.explorer.Explorer`.
        open_page: Open the page in this machine's browser.
        device: auto, cpu, cuda or cuda:N.
        followed: The run and the checkpoint that the scene is of, whose later ones are shown once they are there.

    Raises:
        InputError: the port is taken, the scene has no Gaussians, or there is no such device.
    """
    from app.explorer.session import Session
    from app.explorer.threads import libraries_with_one_thread
    from app.viewer.explorer import Explorer
    from app.viewer.follow import EXPORTS, Follower
    from app.viewer.server import open_server

    server = open_server(host, port, token=token, label="fit3d")
    try:
        with libraries_with_one_thread():
            session = Session(scene, device=device)
            _draw_once(session)
            explorer = Explorer(session, server, draw=draw)
            say(f"{session.n} Gaussians, {len(scene.views)} photos, fields: {', '.join(session.field_names) or 'none'}")
            say(f"open {server.url} in a browser; Ctrl-C ends")
            follower = None
            if followed is not None:
                run, checkpoint = followed
                follower = Follower(explorer, run, checkpoint)
                say(f"step {checkpoint.step:,} of {run.path}; later ones are shown once they are written")
                say(f"exports go to {run.path / EXPORTS}")
            _wait(server.url if open_page else None)
            if follower is not None:
                follower.close()
            explorer.close()
    finally:
        server.close()


def _draw_once(session: Session) -> None:
    """Compile what draws, which takes a while once on a machine, before anybody looks at a black page."""
    from app.explorer.frames import frame
    from app.explorer.looks import Look

    for view in session.scene.views[:1]:
        frame(session, Look(), view.camera.resized(*SMALL))


def _wait(address: str | None) -> None:
    """Open a page, if there is one to open, and wait for Ctrl-C."""
    try:
        if address is not None:
            import webbrowser

            webbrowser.open(address)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("closing")
