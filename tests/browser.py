"""A real browser for tests: Debian's Chromium, driven by Playwright, with WebGL in software.

A test module that names this one in ``pytest_plugins`` gets the fixtures ``chromium`` and ``page``.  With
``FIT3D_SCREENSHOTS`` set to a folder, :func:`picture` also keeps what it sees there.

PYTEST_DONT_REWRITE: the test modules import it before pytest could.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from playwright.sync_api import Browser, Page, ViewportSize

    from app.viewer.server import SecureServer

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SIZE: ViewportSize = {"width": 900, "height": 600}
PATIENCE = 90.0  # seconds; the first picture of software WebGL takes long on a busy machine
PAUSE = 0.02


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; they skip where there is none."""
    library = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def new_page(chromium: Browser) -> Iterator[Page]:
    """A window of its own, with its own cookies: another person.  Pages in one window would take turns to be drawn."""
    context = chromium.new_context(viewport=SIZE, accept_downloads=True)
    context.set_default_timeout(1000 * PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page, closed after the test."""
    with new_page(chromium) as page:
        yield page


def visit(page: Page, server: SecureServer, address: str | None = None) -> Any:
    """Open the explorer's page and wait until its client is connected.

    Returns:
        The client of viser that belongs to the page.
    """
    before = set(server.viser.get_clients())
    page.goto(server.url if address is None else address)
    wait(lambda: set(server.viser.get_clients()) - before, "the page did not connect", page)
    page.wait_for_selector('canvas[data-engine^="three.js"]')
    # viser's remark about software WebGL, which would lie over the view.
    page.locator(".mantine-Notification-root", has_text="Software WebGL").get_by_role("button").click()
    return server.viser.get_clients()[max(set(server.viser.get_clients()) - before)]


def wait(condition: Callable[[], object], complaint: str, page: Page | None = None) -> None:
    """Wait until something holds; Playwright's own work goes on meanwhile if the page is given."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{complaint} within {PATIENCE:g} s")
        if page is None:
            time.sleep(PAUSE)
        else:
            page.wait_for_timeout(1000 * PAUSE)


def canvas_box(page: Page) -> tuple[float, float, float, float]:
    """Where the 3D view lies in the page: left, top, width and height in pixels."""
    box = page.locator('canvas[data-engine^="three.js"]').bounding_box()
    if box is None:
        pytest.fail("the 3D view is not to be seen")
    return box["x"], box["y"], box["width"], box["height"]


def drag(page: Page, points: list[tuple[float, float]], *, button: Any = "left", release: bool = True) -> None:
    """Press a mouse button at the first point of the view, move along the others, release it at the last."""
    left, top, *_ = canvas_box(page)
    page.mouse.move(left + points[0][0], top + points[0][1])
    page.mouse.down(button=button)
    for x, y in points[1:]:
        page.mouse.move(left + x, top + y)
    if release:
        page.mouse.up(button=button)


def picture(page: Page, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """What the page shows, as RGB; kept as ``name.png`` in the folder of screenshots if there is one."""
    data = page.screenshot()
    folder = os.environ.get("FIT3D_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{re.sub('[^a-z0-9-]+', '-', name.lower())}.png").write_bytes(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
