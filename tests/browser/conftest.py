"""The browser tier: the graph editor of a real ComfyUI in a real Chromium, without a fixed sleep anywhere.

Without Chromium these tests do not run, and the last line of the output says so (see ../conftest.py); with
SEMANTIC_FOCUS_REQUIRE_BROWSER=1 that is a failure.
"""

import copy
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from ..by_path import load
from .dataset_ui import folder, make_masks, many
from .training_ui import training
from .weights_ui import START

if TYPE_CHECKING:
    from host.serve import ComfyServer

__all__ = ["folder", "make_masks", "many", "training"]
"""Fixtures of several files."""

host = load("host/browser.py")

SETTINGS: Mapping[str, Any] = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
    "Comfy.VueNodes.Enabled": False,
}
"""What every page starts from. After a finished tutorial no template dialog is in the way."""

RESTORED: Mapping[str, Any] = {
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
    "SemanticFocus.Palette": "standard",
    "SemanticFocus.Opacity": 0.6,
    "SemanticFocus.SliderStep": 0.05,
    "SemanticFocus.Colour.face": "e84e46",
    "LiteGraph.Node.TooltipDelay": 500,
}
"""What a test may change: the server keeps it, and the next page or test finds these again."""

SET_SETTING = "([name, value]) => app.extensionManager.setting.set(name, value)"
GET_SETTING = "name => app.extensionManager.setting.get(name)"

CELLS = {
    "canvas-pinned": (False, False),
    "vue-pinned": (True, False),
    "canvas-newer": (False, True),
    "vue-newer": (True, True),
}
"""Every editor that users have: (nodes drawn by Vue, newer than the one that ComfyUI pins)."""

AXE = Path(__file__).resolve().parents[2] / ".cache/javascript/node_modules/axe-core/axe.min.js"
FIND_VIOLATIONS = """async selector => {
    const {violations} = await axe.run(selector, {resultTypes: ["violations"]});
    return violations
        .filter(found => ["serious", "critical"].includes(found.impact))
        .flatMap(found => found.nodes.map(node => `${found.id}: ${node.html} ${node.failureSummary}`));
}"""

OURS = "/extensions/ComfyUI-SemanticFocus/"
HOSTS_ABSENT = re.compile(r"/(user\.css|favicon\.ico|api/userdata\b|api/jobs\b)")
"""Files and routes that this ComfyUI need not have; a newer editor asks for the queue in a newer way."""
HOSTS_COMPLAINTS = re.compile("Content Security Policy|JobsApiError")

LISTEN = """() => {
    const api = window.comfyAPI.api.api;
    window.outcome = null;
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) {
        api.addEventListener(event, ({detail}) => { window.outcome ??= {event, ...detail}; });
    }
}"""


@dataclass
class Editor:
    """The graph editor, ready for use. `errors` collects errors of the console and uncaught exceptions.

    ComfyUI's own (before it is ready, or when it may not call home) do not count; the pack's always do.
    On a `shared` page each loaded workflow is one that never ran, because results are kept by its id.
    """

    page: Page
    vue: bool = False
    newer: bool = False
    shared: bool = False
    errors: list[str] = field(default_factory=list)

    def load(self, workflow: Mapping[str, Any] | Path) -> None:
        """Show a workflow (the editor's JSON form, or a file of it) instead of the present one."""
        is_file = isinstance(workflow, Path)
        graph = json.loads(workflow.read_text(encoding="utf-8")) if is_file else dict(workflow)
        if self.shared:
            graph["id"] = str(uuid.uuid4())
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_function("() => !app.configuringGraph")
        self.settle()

    def settle(self) -> None:
        """Wait until what was changed is drawn."""
        self.page.evaluate(host.NEXT_FRAME)

    def run(self, seconds: float = 120) -> None:
        """Press Run, and wait until the prompt has ended well."""
        self.page.evaluate(LISTEN)
        self.page.get_by_test_id("queue-button").locator("visible=true").first.click()
        self.page.wait_for_function("() => window.outcome", timeout=seconds * 1000)
        outcome = self.page.evaluate("() => window.outcome")
        if outcome["event"] != "execution_success":
            pytest.fail(f"{outcome['event']}: {outcome.get('exception_message')}", pytrace=False)

    def until(self, predicate: str, arg: Any = None, seconds: float = 20) -> None:
        """Wait until an async predicate holds. Page.wait_for_function takes any promise for true."""
        waiting = f"""async ([arg, milliseconds]) => {{
            const holds = {predicate};
            const end = performance.now() + milliseconds;
            while (!(await holds(arg)))
                if (performance.now() > end) throw new Error(`${{milliseconds}} ms: not ${{holds}}`);
                else await new Promise(requestAnimationFrame);
        }}"""
        self.page.evaluate(waiting, [arg, seconds * 1000])

    def set(self, name: str, value: Any) -> None:
        """Change a setting, as the settings dialog does."""
        self.page.evaluate(SET_SETTING, [name, value])
        self.page.wait_for_function("() => !app.configuringGraph")
        self.settle()

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Undo what a test may have left behind on a shared page."""
        self.page.keyboard.press("Escape")
        self.page.mouse.move(0, 0)
        for name, value in settings.items():
            if self.page.evaluate(GET_SETTING, name) != value:
                self.set(name, value)
        self.errors.clear()

    def widget(self, node: int, name: str) -> Any:
        """The value that a node's widget has."""
        values = "([id, name]) => app.graph.getNodeById(id).widgets.find(w => w.name === name).value"
        return self.page.evaluate(values, [node, name])

    def prompt(self) -> dict[str, Any]:
        """What Run would send: node id -> {"class_type", "inputs"}."""
        return json.loads(
            self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
        )

    def command(self, name: str) -> None:
        """Do what a menu entry does, such as Comfy.Undo."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)
        self.settle()

    def violations(self, selector: str = ".sf-panel") -> list[str]:
        """What axe-core finds wrong, seriously or worse, in the elements of a CSS selector."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        return self.page.evaluate(FIND_VIOLATIONS, selector)

    def own_errors(self) -> list[str]:
        """The errors in which our files take part: at subgraphs and reloads the editor has some itself."""
        return [error for error in self.errors if OURS in error]

    def workflow(self) -> dict[str, Any]:
        """What Save would write."""
        return self.page.evaluate("() => app.graph.serialize()")


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
def server(browser: Browser, start_server: "Callable[..., ComfyServer]") -> "Iterator[ComfyServer]":
    """A ComfyUI with the graph editor that it pins."""
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
def newer_server(
    browser: Browser, start_server: "Callable[..., ComfyServer]", newer_front_end: Path
) -> "Iterator[ComfyServer]":
    """The same ComfyUI with a newer graph editor."""
    with start_server(front_end_root=newer_front_end) as running:
        yield running


@contextmanager
def opened(
    browser: Browser,
    url: str,
    settings: Mapping[str, Any],
    *,
    newer: bool = False,
    shared: bool = False,
    without: str | None = None,
) -> Iterator[Editor]:
    """An editor in a page of its own, without the files whose addresses are like `without`."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale="en-US")
    try:
        editor = Editor(context.new_page(), bool(settings.get("Comfy.VueNodes.Enabled")), newer, shared)
        if without:
            editor.page.route(without, lambda route: route.abort())
        editor.page.set_default_timeout(20_000)
        collect_errors(editor)
        editor.page.request.post(f"{url}/api/settings", data={**SETTINGS, **RESTORED, **settings})
        editor.page.goto(url)
        editor.page.wait_for_function(host.IS_READY, timeout=90_000)
        editor.settle()
        editor.errors[:] = editor.own_errors()
        yield editor
    finally:
        context.close()


@pytest.fixture(scope="session")
def url_of(request: pytest.FixtureRequest) -> Callable[[bool], str]:
    """url_of(newer): where the editor of that version is served."""
    return lambda newer: request.getfixturevalue("newer_server" if newer else "server").url


@pytest.fixture
def open_editor(browser: Browser, url_of: Callable[[bool], str]) -> Iterator[Callable[..., Editor]]:
    """Open an editor: `open_editor({"Comfy.VueNodes.Enabled": True}, newer=True)`; closed after the test."""
    with ExitStack() as pages:

        def open_one(
            settings: Mapping[str, Any] | None = None, *, newer: bool = False, without: str | None = None
        ) -> Editor:
            page = opened(browser, url_of(newer), settings or {}, newer=newer, without=without)
            return pages.enter_context(page)

        yield open_one


@pytest.fixture
def editor(open_editor: Callable[..., Editor]) -> Editor:
    """The graph editor that ComfyUI pins, drawing nodes on its canvas."""
    return open_editor()


@pytest.fixture(params=list(CELLS.values()), ids=list(CELLS))
def anywhere(open_editor: Callable[..., Editor], request: pytest.FixtureRequest) -> Editor:
    """A test with this runs in each of CELLS."""
    vue, newer = request.param
    return open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)


@pytest.fixture(scope="module")
def settings_of_module(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """What the pages that a module's tests share start from: RESTORED, and the module's PAGE_SETTINGS."""
    return {**RESTORED, **getattr(request.module, "PAGE_SETTINGS", {})}


@pytest.fixture(scope="module", params=list(CELLS.values()), ids=list(CELLS))
def page_of_module(
    browser: Browser,
    url_of: Callable[[bool], str],
    settings_of_module: Mapping[str, Any],
    request: pytest.FixtureRequest,
) -> Iterator[Editor]:
    """One page per module and cell: opening one takes longer than most tests."""
    vue, newer = request.param
    settings = {**settings_of_module, "Comfy.VueNodes.Enabled": vue}
    with opened(browser, url_of(newer), settings, newer=newer, shared=True) as editor:
        yield editor


@pytest.fixture
def shared_anywhere(page_of_module: Editor, settings_of_module: Mapping[str, Any]) -> Iterator[Editor]:
    """As `anywhere`, on a page that the module's tests share.

    For tests that load a workflow, leave the page's functions as they are, and change only RESTORED settings.
    """
    yield page_of_module
    page_of_module.restore({**settings_of_module, "Comfy.VueNodes.Enabled": page_of_module.vue})


@pytest.fixture(scope="module")
def first_page_of_module(browser: Browser, url_of: Callable[[bool], str]) -> Iterator[Editor]:
    with opened(browser, url_of(False), RESTORED, shared=True) as editor:
        yield editor


@pytest.fixture
def shared_editor(first_page_of_module: Editor) -> Iterator[Editor]:
    """As `editor`, on a page that the module's tests share; see `shared_anywhere`."""
    yield first_page_of_module
    first_page_of_module.restore(RESTORED)


@pytest.fixture
def page(editor: Editor) -> Page:
    """The page of `editor`."""
    return editor.page


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


def collect_errors(editor: Editor) -> None:
    def on_console(message: ConsoleMessage) -> None:
        origin = message.location["url"]
        hosts = HOSTS_ABSENT.search(origin) or HOSTS_COMPLAINTS.search(message.text)
        if message.type == "error" and (OURS in origin or not hosts):
            editor.errors.append(f"{message.text} ({origin})")

    editor.page.on("console", on_console)
    editor.page.on("pageerror", lambda error: editor.errors.append(error.stack or error.message))
