"""The graph editor in the page that all tests of a process share, and what they do with it."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

from ..by_path import load

if TYPE_CHECKING:
    from host.serve import ComfyServer

host = load("host/browser.py")

LIMIT = 120
"""Seconds within which all that a test waits for has come, on a slow and busy machine too."""
expect.set_options(timeout=LIMIT * 1000)

CELLS = {
    "canvas-pinned": (False, False),
    "vue-pinned": (True, False),
    "vue-newer": (True, True),
    "canvas-newer": (False, True),
}
"""Every editor that users have: (nodes drawn by Vue, newer than the one that ComfyUI pins)."""


def cells(*names: str) -> pytest.MarkDecorator:
    """A test with `anywhere` and this runs in these CELLS alone."""
    return pytest.mark.parametrize("anywhere", [CELLS[name] for name in names], indirect=True, ids=names)


EACH_ONCE = cells("canvas-pinned", "vue-newer")
"""For what may depend on the renderer or on the editor's version, but not on both together."""

SETTINGS: Mapping[str, Any] = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
    "Comfy.VueNodes.Enabled": False,
    "SemanticFocus.Palette": "standard",
    "SemanticFocus.Opacity": 0.6,
    "SemanticFocus.SliderStep": 0.05,
    "SemanticFocus.Colour.face": "e84e46",
    "LiteGraph.Node.TooltipDelay": 500,
}
"""What a test finds, if it asks for no others. After a finished tutorial no template dialog is in the way."""

SET_SETTINGS = """async settings => {
    const {setting} = app.extensionManager;
    const changed = Object.entries(settings).filter(([name, value]) => setting.get(name) !== value);
    for (const [name, value] of changed) await setting.set(name, value);
    return changed.length;
}"""
CLOSE_WORKFLOWS = """async () => {
    const {workflow, command, toast} = app.extensionManager;
    const open = [...workflow.openWorkflows];
    await command.execute("Comfy.NewBlankWorkflow");
    for (const former of open) await workflow.closeWorkflow(former);
    toast.dismissAll ? toast.dismissAll() : toast.removeAll();
    if (app.graph.nodes.length || workflow.openWorkflows.length !== 1) throw new Error("not all are closed");
}"""
FORGET = "() => { localStorage.clear(); sessionStorage.clear(); }"
FORGET_TOOLS = "() => sessionStorage.removeItem('semantic_focus.mend')"
"""Size, hardness and the others, which are read when the editor of masks opens."""

AXE = Path(__file__).resolve().parents[2] / ".cache/javascript/node_modules/axe-core/axe.min.js"
FIND_VIOLATIONS = """async selector => {
    const {violations} = await axe.run(selector, {resultTypes: ["violations"]});
    return violations
        .filter(found => ["serious", "critical"].includes(found.impact))
        .flatMap(found => found.nodes.map(node => `${found.id}: ${node.html} ${node.failureSummary}`));
}"""

OURS = "/extensions/ComfyUI-SemanticFocus/"
OUR_ROUTES = "/semantic_focus/"
HOSTS_ABSENT = re.compile(r"/(user\.css|favicon\.ico|api/userdata\b|api/jobs\b)")
"""Files and routes that this ComfyUI need not have; a newer editor asks for the queue in a newer way."""
HOSTS_COMPLAINTS = re.compile("Content Security Policy|JobsApiError|Failed to fetch|net::ERR_")
"""Of the editor itself: it may not call home, and a test cut off its polling."""

PATHS = re.compile(r'"(/[^"\\]*)"')
"""The texts in a workflow's JSON that may be folders."""

LISTEN = """() => {
    const {api} = window.comfyAPI.api;
    window.outcome = null;
    if (window.hears) return;
    window.hears = true;
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) {
        api.addEventListener(event, ({detail}) => { window.outcome ??= {event, ...detail}; });
    }
}"""


@dataclass
class Editor:
    """The graph editor. `errors` has errors of the console and uncaught exceptions since the test began.

    ComfyUI's own (before it is ready, or when it may not call home) do not count; the pack's always do.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    _server: "ComfyServer | None" = None
    _as_new: bool = False

    def __post_init__(self) -> None:
        self.page.set_default_timeout(LIMIT * 1000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._note(error.stack or error.message, ""))

    @property
    def vue(self) -> bool:
        """Whether nodes are drawn by Vue."""
        return self.settings["Comfy.VueNodes.Enabled"]

    @property
    def server(self) -> "ComfyServer":
        """The one whose editor is shown."""
        assert self._server
        return self._server

    def show(self, server: "ComfyServer", settings: Mapping[str, Any], without: str | None = None) -> None:
        """Show a server's editor with these settings, loaded anew where what is shown differs.

        Args:
            without: pattern of the addresses of files that are not loaded.
        """
        settings = {**SETTINGS, **settings}
        if self._as_new and self._server is server and self.settings == settings and not without:
            return
        self._server, self.settings, self._as_new = server, settings, False
        if without:
            self.page.route(without, lambda route: route.abort())
        self.page.request.post(f"{server.url}/api/settings", data=settings)
        self._go()
        self._as_new = without is None

    def show_beside(self, other: "Editor") -> None:
        """Show the same as another tab."""
        self._server, self.settings = other.server, other.settings
        self._go()

    def patch(self, script: str, arg: Any = None) -> None:
        """Change functions of the page."""
        self.spoil()
        self.page.evaluate(script, arg)

    def spoil(self) -> None:
        """Let the next test load the page anew: what this one does to it does not end by itself."""
        self._as_new = False

    def leave(self) -> None:
        """Show nothing; the next test loads the page anew."""
        self.spoil()
        self.page.goto("about:blank")

    def restore(self) -> None:
        """Undo what a test has left behind in the page and its server."""
        if self._server is None:
            return
        let_rest(self.server, self.page)
        if not self._as_new:
            self.page.unroute_all()
            return
        self._as_new = False
        self.page.unroute_all()
        self.page.evaluate(FORGET_TOOLS)
        self.page.mouse.move(0, 0)
        self.page.keyboard.press("Escape")
        closed = self._close_dialogs()
        if self.page.evaluate(SET_SETTINGS, dict(self.settings)):
            self.page.wait_for_function("() => !app.configuringGraph")
        self.page.evaluate(CLOSE_WORKFLOWS)
        self.settle()
        self._as_new = closed
        self.errors.clear()

    def load(self, workflow: Mapping[str, Any] | Path, known: bool = True) -> None:
        """Show a workflow (the editor's JSON form, or a file of it) instead of the present one.

        Args:
            known: its folders are such as the user has chosen in this browser.
        """
        is_file = isinstance(workflow, Path)
        graph = json.loads(workflow.read_text(encoding="utf-8")) if is_file else dict(workflow)
        if known:
            self.know(*PATHS.findall(json.dumps(graph, ensure_ascii=False)))
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_function("() => !app.configuringGraph")
        self.settle()

    def know(self, *folders: str) -> None:
        """Make folders such as the user has chosen in this browser."""
        self.page.evaluate(host.KNOW_FOLDERS, folders)

    def reload(self) -> None:
        """Load the page again, as with F5: the workflow is there again."""
        self.page.reload()
        self.page.wait_for_function(host.IS_READY)
        self.settle()

    def settle(self) -> None:
        """Wait until what was changed is drawn."""
        self.page.evaluate(host.NEXT_FRAME)

    def press_run(self) -> None:
        self.page.get_by_test_id("queue-button").locator("visible=true").first.click()

    def run(self) -> None:
        """Press Run, and wait until the prompt has ended well."""
        self.page.evaluate(LISTEN)
        self.press_run()
        self.page.wait_for_function("() => window.outcome")
        outcome = self.page.evaluate("() => window.outcome")
        if outcome["event"] != "execution_success":
            pytest.fail(f"{outcome['event']}: {outcome.get('exception_message')}", pytrace=False)

    def until(self, predicate: str, arg: Any = None) -> None:
        """Wait until an async predicate holds. Page.wait_for_function takes any promise for true."""
        waiting = f"""async ([arg, milliseconds]) => {{
            const holds = {predicate};
            const end = performance.now() + milliseconds;
            while (!(await holds(arg)))
                if (performance.now() > end) throw new Error(`${{milliseconds}} ms: not ${{holds}}`);
                else await new Promise(requestAnimationFrame);
        }}"""
        self.page.evaluate(waiting, [arg, LIMIT * 1000])

    def set(self, name: str, value: Any) -> None:
        """Change a setting, as the settings dialog does."""
        self.page.evaluate(SET_SETTINGS, {name: value})
        self.page.wait_for_function("() => !app.configuringGraph")
        self.settle()

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
        if not self.page.evaluate("() => Boolean(window.axe)"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        return self.page.evaluate(FIND_VIOLATIONS, selector)

    def own_errors(self) -> list[str]:
        """The errors in which our files take part: at subgraphs and reloads the editor has some itself."""
        return [error for error in self.errors if OURS in error or OUR_ROUTES in error]

    def workflow(self) -> dict[str, Any]:
        """What Save would write."""
        return self.page.evaluate("() => app.graph.serialize()")

    def _close_dialogs(self) -> bool:
        """Whether Escape closes all of them; a page where it does not is loaded anew."""
        dialogs = self.page.locator("[role=dialog], dialog[open], [data-testid=dialog-overlay]")
        for _ in range(5):
            if not dialogs.locator("visible=true").count():
                return True
            self.page.keyboard.press("Escape")
            self.settle()
        return False

    def _go(self) -> None:
        """Load the editor as somebody who was never here."""
        self.page.goto(f"{self.server.url}/api/system_stats")
        self.page.evaluate(FORGET)
        self.errors.clear()
        self.page.goto(self.server.url)
        self.page.wait_for_function(host.IS_READY)
        self.settle()
        self.errors[:] = self.own_errors()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(message.text, message.location["url"])

    def _note(self, text: str, origin: str) -> None:
        error = f"{text} ({origin})"
        ours = OURS in error or OUR_ROUTES in error
        if ours or not (HOSTS_ABSENT.search(origin) or HOSTS_COMPLAINTS.search(text)):
            self.errors.append(error)


def let_rest(server: "ComfyServer", page: Page) -> None:
    """Take what waits out of a server's queue, cancel what runs, and wait for that."""
    deadline = time.monotonic() + LIMIT
    while any(page.request.get(f"{server.url}/queue").json().values()):
        assert time.monotonic() < deadline, f"a prompt does not end: see {server.log}"
        page.request.post(f"{server.url}/queue", data={"clear": True})
        server.interrupt()
        time.sleep(0.1)
