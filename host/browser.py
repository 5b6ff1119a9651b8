"""The graph editor in a real Chromium, for tests, benchmarks and the pictures of the documentation.

Until a browser is opened this needs the standard library alone: the set-up asks here, too.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

DOWNLOADED = Path(__file__).resolve().parent.parent / ".cache" / "playwright"
"""Where the set-up has playwright put a Chromium of its own, on a machine without one."""

SETTINGS: Mapping[str, Any] = {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en"}
"""After a finished tutorial no template dialog is in the way."""

IS_READY = """() => window.app?.extensionManager && app.vueAppReady && !app.configuringGraph
    && app.graph?.nodes.length > 0 && !document.querySelector(".p-blockui-mask, #splash-loader")"""

KNOW_FOLDERS = """folders => {
    const known = JSON.parse(localStorage.getItem("semantic_focus.folders") ?? "[]");
    localStorage.setItem("semantic_focus.folders", JSON.stringify([...known, ...folders]));
}"""
"""Makes folders such as the user of this browser has chosen: panels ask the server about no others."""

NEXT_FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Until what was changed is drawn."""


class BrowserMissingError(RuntimeError):
    """There is no Chromium on this machine."""


def find_chromium() -> str | None:
    """The executable that CHROMIUM names, else one on PATH, else the one that the set-up downloaded."""
    named = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    return named or next(map(str, sorted(DOWNLOADED.glob("chromium-*/chrome-*/chrome"))), None)


@contextmanager
def open_browser() -> "Iterator[Browser]":
    """The Chromium of `find_chromium`.

    Raises:
        BrowserMissingError: there is none.
    """
    executable = find_chromium()
    if executable is None:
        raise BrowserMissingError(
            f"no Chromium: none of {', '.join(BROWSERS)} is on PATH; "
            "install one (Debian: apt install chromium) or let CHROMIUM name its executable"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_editor(
    browser: "Browser", url: str, settings: Mapping[str, Any], size: tuple[int, int], scale: float = 1.0
) -> "Iterator[Page]":
    """A page with the graph editor of a server, ready for use.

    Args:
        settings: of the editor, beside SETTINGS.
        size: of the window, width and height in pixels.
        scale: pixels of a screenshot per pixel of the page.
    """
    viewport: Any = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, device_scale_factor=scale)
    page = context.new_page()
    page.request.post(f"{url}/api/settings", data={**SETTINGS, **settings})
    page.goto(url)
    page.wait_for_function(IS_READY, timeout=90_000)
    page.evaluate(NEXT_FRAME)
    yield page
    context.close()
