"""The house of docs/architecture.md: which wing may know which, who knows ComfyUI, who writes files."""

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

FLOORS = (
    ("autocast", "categories", "keywords", "files"),
    ("regions", "objective", "lora"),
    ("segmenters",),
    ("datasets",),
    ("training",),
    ("settings",),
    ("comfy", "jobs"),
    ("commands",),
)
"""From the bottom up. A wing imports from lower floors and from itself."""

DOORS = ("__init__", "__main__")
"""The public names and `python -m semantic_focus` stand outside the floors."""

WITHIN_THE_FLOOR = {("keywords", "categories")}
"""Arrows between neighbours."""

OF_COMFYUI = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "server", "execution"}

WRITERS = {
    "files/writing.py": "the one place",
    "datasets/claims.py": "locks, whose file stays empty",
    "datasets/tars/archive.py": "packs a tar in memory",
    "jobs/carried.py": "packs a tar in memory",
    "jobs/spool.py": "claims, which are the names of job files",
    "segmenters/embedded/weights.py": "runs before anything is installed",
    "segmenters/hub/transfer.py": "appends what comes to a part file",
    "segmenters/hub/fetch.py": "gives a whole part file to the one place",
}
"""Files of the library that may write, and why."""

WRITING_CALLS = {
    "write_text",
    "write_bytes",
    "mkstemp",
    "NamedTemporaryFile",
    "replace",
    "rename",
    "save_file",
}
MODULES_THAT_WRITE = {"os", "shutil", "tempfile", "Path"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path, root: Path) -> tuple[str, ...]:
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """What a file of the library imports: modules of the library as paths below it, others by their name."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (("", *alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield ("", *(node.module or "").split("."))
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            base = tuple(part for part in base if part)
            for alias in node.names:
                inner = root.joinpath(*base, alias.name)
                is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                yield (*base, alias.name) if is_module else base


def library_imports(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    for target in imports(path, root):
        if target[:1] != ("",):
            yield target
        elif target[1:2] == (root.name,):
            yield target[2:]


def floor_of(wing: str) -> int:
    return next(number for number, wings in enumerate(FLOORS) if wing in wings)


def wrong_arrows(root: Path) -> list[str]:
    """Imports of a library that go upwards or sideways, one line each."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        wing = module_of(path, root)[0]
        if wing in DOORS:
            continue
        for target in library_imports(path, root):
            other = target[0] if target else "__init__"
            is_lower = other not in DOORS and floor_of(other) < floor_of(wing)
            if other != wing and not is_lower and (wing, other) not in WITHIN_THE_FLOOR:
                wrong.append(f"{path.relative_to(root)} imports {'.'.join(target)}")
    return wrong


def circles(root: Path) -> list[str]:
    files = {module_of(path, root): path for path in root.rglob("*.py")}
    graph = {
        module: {target for target in library_imports(path, root) if target in files and target != module}
        for module, path in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [".".join(module) for module in error.args[1]]
    return []


def strangers(root: Path) -> list[str]:
    """Files outside comfy/ that import something of ComfyUI's."""
    return [
        f"{path.relative_to(root)} imports {'.'.join(target[1:])}"
        for path in sorted(root.rglob("*.py"))
        if module_of(path, root)[0] != "comfy"
        for target in imports(path, root)
        if target[:1] == ("",) and target[1] in OF_COMFYUI
    ]


def writers(root: Path) -> list[str]:
    """Calls that write a file."""
    found = []
    for path in sorted(root.rglob("*.py")):
        for call in ast.walk(tree(path)):
            if isinstance(call, ast.Call) and _writes(call):
                found.append(f"{path.relative_to(root).as_posix()}:{call.lineno}")
    return found


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = (
        call.func.value.id
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
        else ""
    )
    if name == "open":
        modes = [
            argument.value
            for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    if name in ("replace", "rename"):
        return owner in MODULES_THAT_WRITE
    return name in WRITING_CALLS and isinstance(call.func, ast.Attribute)


@pytest.fixture
def library(repo: Path) -> Path:
    return repo / "semantic_focus"


def test_the_floors_are_all_wings_and_at_most_six_files(library: Path):
    entries = {path.stem for path in library.iterdir() if path.name != "__pycache__"}
    assert entries == {name for floor in FLOORS for name in floor} | set(DOORS)
    assert len(list(library.glob("*.py"))) <= 6


def test_no_wing_looks_up_and_there_is_no_circle(library: Path):
    assert wrong_arrows(library) == []
    assert circles(library) == []


def test_only_the_wing_comfy_and_the_nodes_know_comfyui(library: Path, repo: Path):
    assert strangers(library) == []


def test_only_files_writes(library: Path, repo: Path):
    assert {line.split(":")[0] for line in writers(library)} - set(WRITERS) == set()
    assert writers(repo / "nodes") == []


READS = re.compile(r"(file|folder)_to_read|_lora_path|_place|picture_files")
"""What a node calls to come by the path of what it reads."""
NOTES = re.compile(r"note(_\w+)?")


def nodes_that_read(folder: Path) -> list[tuple[str, bool]]:
    """Nodes that read files of the user's, and whether each notes what it reads."""
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in tree(path).body:
            if not isinstance(node, ast.ClassDef):
                continue
            called = {
                call.func.id
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            }
            if any(READS.fullmatch(name) for name in called):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                notes = any(NOTES.fullmatch(name) for name in called)
                found.append((node.name, notes and bases == {"ReadsFiles"}))
    return found


def test_each_node_that_reads_a_file_notes_it(repo: Path, tmp_path: Path):
    found = nodes_that_read(repo / "nodes")
    assert len(found) >= 7 and [name for name, notes in found if not notes] == []
    forgot = "class Forgetful(ReadsFiles):\n    def execute(cls, path):\n        file_to_read('path', path)\n"
    (tmp_path / "forgetful.py").write_text(forgot)
    assert nodes_that_read(tmp_path) == [("Forgetful", False)]


@pytest.mark.parametrize("wing", [name for floor in FLOORS[1:] for name in floor])
def test_each_wing_says_what_lives_there(library: Path, wing: str):
    text = ast.get_docstring(tree(library / wing / "__init__.py"))
    assert text and 40 < len(text) < 800


LIBRARY = {
    "categories.py": "",
    "keywords.py": "from .categories import A",
    "regions/masks.py": "from ..categories import A",
    "training/loop.py": "from ..regions import masks",
    "comfy/model.py": "import comfy.sd\nfrom ..training.loop import train",
}


def made(folder: Path, **changed: str) -> Path:
    root = folder / "semantic_focus"
    for name, text in {**LIBRARY, **changed}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("file", "text", "judge", "said"),
    [
        ("regions/masks.py", "from ..training import loop", wrong_arrows, "imports training.loop"),
        ("regions/masks.py", "from ..training.loop import train", wrong_arrows, "imports training.loop"),
        ("regions/masks.py", "import semantic_focus.training.loop", wrong_arrows, "imports training.loop"),
        ("regions/masks.py", "def f():\n    from ..comfy import model", wrong_arrows, "imports comfy.model"),
        ("regions/masks.py", "from ..lora import keys", wrong_arrows, "imports lora"),
        ("regions/masks.py", "from .. import Objective", wrong_arrows, "regions"),
        ("categories.py", "from .keywords import B", wrong_arrows, "imports keywords"),
        ("categories.py", "from .keywords import B", circles, "keywords"),
        ("training/loop.py", "import comfy.sd", strangers, "imports comfy.sd"),
        ("training/loop.py", "def f():\n    from folder_paths import x", strangers, "imports folder_paths"),
        ("training/loop.py", "open('x', 'w')", writers, "training/loop.py:1"),
        ("training/loop.py", "from pathlib import Path\nPath('x').write_text('')", writers, "loop.py:2"),
        ("training/loop.py", "import os\nos.replace('a', 'b')", writers, "loop.py:2"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, file: str, text: str, judge, said: str):
    right = made(tmp_path / "right", **{"lora/keys.py": ""})
    assert judge(right) == []
    wrong = judge(made(tmp_path / "wrong", **{"lora/keys.py": "", file: text}))
    assert wrong and any(said in line for line in wrong)
