"""``fit3d view``: a scene in the browser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import say

if TYPE_CHECKING:
    from render.scene import Scene

PORT = 8080


@dataclass(frozen=True)
class View:
    """Explore a scene in the browser: see its features, select, ask, edit, export.

    What is selected and edited is kept in SCENE/session and found again the next time.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
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
        from render.scene import Scene

        serve(
            Scene.open(self.scene),
            host=self.host,
            port=self.port,
            token=self.token,
            draw=self.draw,
            open_page=self.open,
            device=self.device,
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
) -> None:
    """Show a scene until Ctrl-C.

    Raises:
        InputError: the port is taken, the scene has no Gaussians, or there is no such device.
    """
    from app.explorer.session import Session
    from app.explorer.threads import libraries_with_one_thread
    from app.viewer.explorer import Explorer
    from app.viewer.server import open_server

    server = open_server(host, port, token=token, label="fit3d")
    try:
        with libraries_with_one_thread():
            session = Session(scene, device=device)
            explorer = Explorer(session, server, draw=draw)
            say(f"{session.n} Gaussians, {len(scene.views)} photos, fields: {', '.join(session.field_names) or 'none'}")
            say(f"open {server.url} in a browser; Ctrl-C ends")
            _wait(server.url if open_page else None)
            explorer.close()
    finally:
        server.close()


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
