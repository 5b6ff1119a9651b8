"""The browser tier: the graph editor of a real ComfyUI in a real Chromium, without a fixed sleep anywhere.

Without Chromium these tests do not run, and the last line of the output says so (see ../conftest.py); with
SEMANTIC_FOCUS_REQUIRE_BROWSER=1 that is a failure.
"""

import copy
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser

from .dataset_ui import folder, make_masks, many
from .editor import CELLS, Editor, host
from .training_ui import training
from .weights_ui import START

if TYPE_CHECKING:
    from host.serve import ComfyServer

__all__ = ["folder", "make_masks", "many", "training"]
"""Fixtures of several files."""


HERE = Path(__file__).parent
PAGE = pytest.StashKey[Editor]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Leave the editor when tests of other tiers follow: it draws on and on, for nobody."""
    yield
    is_last = nextitem is None or not nextitem.path.is_relative_to(HERE)
    if is_last and (page := item.config.stash.get(PAGE, None)):
        page.leave()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another that CHROMIUM names."""
    with ExitStack() as stack:
        try:
            chromium = stack.enter_context(host.open_browser())
        except host.BrowserMissingError as missing:
            if os.environ.get("SEMANTIC_FOCUS_REQUIRE_BROWSER") == "1":
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(str(missing))
        yield chromium


@pytest.fixture(scope="session")
def server_of(
    browser: Browser, start_server: "Callable[..., ComfyServer]", newer_front_end: Path
) -> "Iterator[Callable[[bool], ComfyServer]]":
    """server_of(newer): the one ComfyUI with the graph editor that it pins, or with a newer one."""
    with ExitStack() as stack:

        @functools.cache
        def started(newer: bool) -> "ComfyServer":
            options = {"front_end_root": newer_front_end} if newer else {}
            return stack.enter_context(start_server(**options))

        yield started


@pytest.fixture
def server(server_of: "Callable[[bool], ComfyServer]") -> "ComfyServer":
    """The one of `editor`."""
    return server_of(False)


@pytest.fixture(scope="session")
def only_page(browser: Browser, pytestconfig: pytest.Config) -> Iterator[Editor]:
    """To open a page takes longer than most tests, and to load an editor in it again half as long."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale="en-US")
    pytestconfig.stash[PAGE] = page = Editor(context.new_page())
    yield page
    del pytestconfig.stash[PAGE]
    context.close()


@pytest.fixture
def show(only_page: Editor, server_of: "Callable[[bool], ComfyServer]") -> Iterator[Callable[..., Editor]]:
    """Show an editor: `show({"Comfy.VueNodes.Enabled": True}, newer=True)`, without changes of other tests.

    They share its page: what a test changes in the page's functions, it changes by `Editor.patch`.
    """

    def shown(
        settings: Mapping[str, Any] | None = None, *, newer: bool = False, without: str | None = None
    ) -> Editor:
        only_page.show(server_of(newer), settings or {}, without)
        return only_page

    yield shown
    only_page.restore()


@pytest.fixture
def editor(show: Callable[..., Editor]) -> Editor:
    """The graph editor that ComfyUI pins, drawing nodes on its canvas."""
    return show()


@pytest.fixture(params=list(CELLS.values()), ids=list(CELLS))
def anywhere(show: Callable[..., Editor], request: pytest.FixtureRequest) -> Editor:
    """A test with this runs in each of CELLS, or in those that the mark `cells` names."""
    vue, newer = request.param
    return show({"Comfy.VueNodes.Enabled": vue}, newer=newer)


@pytest.fixture
def another_tab(only_page: Editor) -> Iterator[Editor]:
    """The same editor in one more tab."""
    tab = Editor(only_page.page.context.new_page())
    tab.show_beside(only_page)
    yield tab
    tab.page.close()


@pytest.fixture(scope="session")
def dataset(make_dataset: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of one woman, 320x320 and 360x480, with captions; the first run adds masks."""
    return make_dataset(tmp_path_factory.mktemp("datasets") / "astronaut")


@pytest.fixture
def workflow(repo: Path) -> dict[str, Any]:
    """The shared workflow in the editor's form."""
    return json.loads((repo / "workflows" / "train_person_lora.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def part_of() -> Callable[..., dict[str, Any]]:
    """part_of(graph, 2, 3): a copy of a graph in the editor's form with these nodes alone, without groups."""

    def part(graph: Mapping[str, Any], *kept: int) -> dict[str, Any]:
        copied = copy.deepcopy(dict(graph))
        copied["groups"] = []
        copied["nodes"] = [node for node in copied["nodes"] if node["id"] in kept]
        copied["links"] = [link for link in copied["links"] if link[1] in kept and link[3] in kept]
        links = {link[0] for link in copied["links"]}
        for node in copied["nodes"]:
            for slot in node["inputs"]:
                slot["link"] = slot["link"] if slot["link"] in links else None
            for slot in node["outputs"]:
                slot["links"] = [link for link in slot["links"] or () if link in links]
        return copied

    return part


@pytest.fixture
def segment_folder(
    workflow: dict[str, Any], part_of: Callable[..., dict[str, Any]]
) -> Callable[[Path], dict[str, Any]]:
    """The part of the shared workflow that segments, in view, for a folder."""

    def part(folder: Path) -> dict[str, Any]:
        nodes = part_of(workflow, 2, 3)
        nodes["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
        loader, segment = sorted(nodes["nodes"], key=lambda node: node["id"])
        loader["widgets_values"] = [str(folder), "somebody"]
        loader["pos"] = [80, 120]
        segment.update(pos=[460, 120], size=[440, 700])
        return nodes

    return part


@pytest.fixture
def segmentation(segment_folder: Callable[[Path], dict[str, Any]], dataset: Path) -> dict[str, Any]:
    """The part of the shared workflow that segments `dataset`: node 2 loads it, node 3 segments."""
    return segment_folder(dataset)


@pytest.fixture
def weighted(
    workflow: dict[str, Any], dataset: Path, part_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """The shared workflow around the objective, node 8: it is in view, its values are nobody's defaults."""
    part = part_of(workflow, 2, 3, 4, 5, 6, 8, 9)
    for node in part["nodes"]:
        node["pos"] = [1200 + 30 * node["id"], 1200 + 30 * node["id"]]
        if node["id"] == 2:
            node["widgets_values"][0] = str(dataset)
        elif node["id"] == 8:
            node.update(pos=[350, 150], size=[500, 560], widgets_values=list(START))
    part["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
    return part
