"""How long a browser takes from a page's address to the first picture of the scene, where one is at hand."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from app.explorer.session import Session

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Headless, with WebGL in software; no sandbox, since it shows this program's own page alone.
FLAGS = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WIDTH, HEIGHT = 900, 600  # pixels of the page
VIEW = (50, 50, 450, 550)  # left, top, right, bottom of a part of it that only the scene can fill
PATIENCE = 120.0  # seconds
CONTRAST = 10.0  # standard deviation of a picture of something; an empty view is of one colour


def page_seconds(session: Session, folder: Path) -> float | None:
    """Seconds from asking for the page to seeing the scene; None without Playwright or a browser.

    Args:
        session: The scene; it is shown by a server on a free port.
        folder: For the browser's profile.

    Raises:
        RuntimeError: nothing was seen for two minutes.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if program is None:
        return None
    from app.viewer.explorer import Explorer
    from app.viewer.server import open_server

    explorer = Explorer(session, open_server(port=0))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch_persistent_context(
                folder,
                executable_path=program,
                headless=True,
                args=list(FLAGS),
                viewport={"width": WIDTH, "height": HEIGHT},
            )
            page = browser.pages[0] if browser.pages else browser.new_page()
            start = time.perf_counter()
            page.goto(explorer.server.url)
            while not _shows_something(page):
                if time.perf_counter() - start > PATIENCE:
                    raise RuntimeError(f"The page showed nothing of the scene for {PATIENCE:.0f} s.")
            seconds = time.perf_counter() - start
            browser.close()
    finally:
        explorer.close()
    return seconds


def _shows_something(page: Any) -> bool:
    from PIL import Image

    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L").crop(VIEW))
    return float(image.std()) > CONTRAST
