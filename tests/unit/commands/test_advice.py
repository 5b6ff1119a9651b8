"""Commands that messages and pages give: each runs from a folder that is not ours, in an isolated Python."""

import ast
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.commands import main as cli
from semantic_focus.datasets.cached_latents import DatasetSource, load_dataset
from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.files import command_lines
from semantic_focus.files.command_lines import PACKAGE, quoted, to_have_pip, to_install, to_run
from semantic_focus.regions import matting
from semantic_focus.segmenters.embedded import networks, weights
from semantic_focus.segmenters.hub.listing import denied, list_model
from semantic_focus.segmenters.model_files import MODELS, missing_message, missing_package
from semantic_focus.training.optimizers import OPTIMIZERS, make_optimizer
from semantic_focus.training.plot import loss_plot

Setting = tuple[Path, pytest.MonkeyPatch]


def cached(folder: Path, digest: str | None) -> None:
    """A folder of cached latents; its masks are of another picture, or missing."""
    save_file({"latents_1x4x4_bf16": torch.zeros(16, 4, 4)}, folder / "a_32x32_zi.safetensors")
    save_file({"varlen_vl_embed_bf16": torch.zeros(3, 8)}, folder / "a_zi_te.safetensors")
    if digest:
        Image.new("RGB", (32, 32)).save(folder / "a.png")
        masks = {"face": torch.ones(32, 32)}
        save_masks(folder / "a_zi_masks.safetensors", masks, {"image_digest": digest})


def no_masks(setting: Setting) -> None:
    cached(setting[0], None)
    load_dataset([DatasetSource(setting[0])])


def stale_masks(setting: Setting) -> None:
    cached(setting[0], "0" * 64)
    load_dataset([DatasetSource(setting[0])])


def without(setting: Setting, module: str, work: Callable[[], object]) -> None:
    setting[1].setitem(sys.modules, module, None)
    work()


def one_step() -> dict[str, list[float]]:
    return {"loss": [1.0]}


def no_networks(setting: Setting) -> None:
    setting[1].setattr(weights, "default_folder", lambda: setting[0])
    networks.check([])


def damaged_network(setting: Setting) -> None:
    no_network = weights.WEIGHTS[0]
    (setting[0] / no_network.name).write_bytes(bytes(no_network.size))
    networks._read(no_network, [setting[0]])


def refused_download(setting: Setting) -> None:
    raise denied("sam3", 401, "GatedRepo")


def told(text: str | None) -> None:
    """For messages that are given back, where others are raised."""
    raise ValueError(text)


MESSAGES: dict[str, Callable[[Setting], object]] = {
    "masks are missing": no_masks,
    "masks are stale": stale_masks,
    "no pymatting": lambda it: without(it, "pymatting", matting._pymatting),
    "no matplotlib": lambda it: without(it, "matplotlib.figure", lambda: loss_plot(one_step())),
    "no huggingface_hub": lambda it: without(it, "huggingface_hub", lambda: list_model("sam3", 1.0)),
    "no access": refused_download,
    "no TFLite": lambda it: told(str(networks._missing_runtime("no module"))),
    "no networks": no_networks,
    "a damaged network": damaged_network,
    "no package": lambda it: told(missing_package("sam3", "not-there", (), "not-there>=1")),
    "an old package": lambda it: told(missing_package("sam3", "torch", (99,), "torch>=99")),
    **{
        f"no optimizer {name}": lambda it, name=name, kind=kind: without(
            it, kind.module, lambda: make_optimizer(name, [], 1e-3, 0.0)
        )
        for name, kind in OPTIMIZERS.items()
        if kind.package != "torch"
    },
    **{
        f"no weights {name}": lambda it, name=name: told(
            missing_message("some", [name], {MODELS[name].kind: [it[0] / "a folder"]})
        )
        for name in MODELS
        if MODELS[name].hub
    },
}
"""What makes each message that gives a command."""


def commands_in(message: str) -> list[list[str]]:
    """The words of each line that stands indented."""
    return [shlex.split(line) for line in message.splitlines() if line.startswith("    ")]


def message_of(name: str, setting: Setting) -> str:
    with pytest.raises((ValueError, RuntimeError, ImportError, FileNotFoundError)) as caught:
        MESSAGES[name](setting)
    return str(caught.value)


def harmless(command: list[str]) -> tuple[str, ...]:
    """The command in an isolated Python, as a question for its help; of a line of Python, its import."""
    program, *words = command
    if words[0] == "-c":
        return program, "-I", "-c", words[1].partition(";")[0]
    return program, "-I", *words, "--help"


def accepted(arguments: list[str]) -> bool:
    """Whether our command line takes these arguments."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--help"])
    return ended.value.code == 0


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_gives_commands_of_this_python_that_are_understood(
    name: str, tmp_path, monkeypatch, capsys
):
    commands = commands_in(message_of(name, (tmp_path, monkeypatch)))
    assert commands
    for program, *words in commands:
        assert program == sys.executable
        if words[0] == str(PACKAGE):
            assert accepted(words[1:])
        else:
            assert words[:3] == ["-m", "pip", "install"] or words[0] == "-c"


def test_each_kind_of_command_runs_from_a_foreign_folder_in_an_isolated_python(tmp_path, repo, monkeypatch):
    """(tests/host/test_headless.py trains by such a command.)"""
    commands = [shlex.split(to_run("masks")), [sys.executable, str(repo / "install.py")]]
    for name in ("no pymatting", "no access"):
        with monkeypatch.context() as patch:
            commands += commands_in(message_of(name, (tmp_path, patch)))
    processes = [
        subprocess.Popen(harmless(command), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in commands
    ]
    for process in processes:
        output = process.communicate()[0].decode()
        assert process.returncode == 0, f"{process.args}: {output}"


def documented(repo: Path) -> Iterator[tuple[str, list[str]]]:
    """Page and words of every command that a page gives, in a block or in a line."""
    for page in (*repo.glob("*.md"), *repo.glob("docs/**/*.md"), *repo.glob("web/docs/**/*.md")):
        if page.name == "CHANGELOG.md":
            continue
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r"(?<!\n)\n(?![\n ])", " ", text)
        blocks = re.findall(r"^ {4}((?:python|semantic-focus) [^\n#]+)", text, re.MULTILINE)
        for command in (*blocks, *re.findall(r"`((?:python|semantic-focus) [^`#]+)`", text)):
            yield page.name, shlex.split(command.replace(" NAME", " sam3"))


def test_commands_on_pages_are_true(repo: Path, capsys):
    found = list(documented(repo))
    assert len(found) > 15
    for page, (program, *words) in found:
        here = [word.replace("ComfyUI-SemanticFocus/", "") for word in words]
        if program == "semantic-focus":
            assert accepted(words), (page, words)
        elif here[0] == "semantic_focus":
            assert accepted(here[1:]), (page, words)
        elif here[0] == "cache_masks.py":
            assert accepted(["masks", *here[1:]]), (page, words)
        elif here[:3] == ["-m", "pip", "install"]:
            assert (repo / here[-1]).exists(), (page, words)
        elif here[0] == "-m":
            module = repo / here[1].replace("<name>", "loss").replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), (page, words)
        else:
            assert here == ["install.py"], (page, words)


COMMAND = re.compile(r"python3? -m|pip install|semantic-focus [a-z]+ |\b(cache_masks|install)\.py\b")
GIVE_COMMANDS = {
    "files/command_lines.py": "the one place",
    "commands/main.py": "names of programs in their help",
}


def test_no_message_gives_a_command_of_its_own_making(repo: Path):
    """But for docstrings, no text of the code has one: `command_lines` makes them."""
    found = []
    for path in (*sorted(PACKAGE.rglob("*.py")), *sorted((repo / "nodes").rglob("*.py"))):
        if path.relative_to(repo).as_posix().removeprefix("semantic_focus/") in GIVE_COMMANDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{path}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
            if COMMAND.search(node.value)
        ]
    assert found == []


@pytest.mark.parametrize(
    ("word", "posix", "windows"),
    [
        ("masks", "masks", "masks"),
        (r"C:\ComfyUI\python.exe", r"'C:\ComfyUI\python.exe'", r"C:\ComfyUI\python.exe"),
        (r"C:\My files\python.exe", r"'C:\My files\python.exe'", r'"C:\My files\python.exe"'),
        ("transformers>=5.0", "'transformers>=5.0'", '"transformers>=5.0"'),
        ("a&b", "'a&b'", '"a&b"'),
        ("it's", "'it'\"'\"'s'", '"it\'s"'),
    ],
)
def test_words_are_quoted_for_the_shell_of_the_system(word: str, posix: str, windows: str):
    assert (quoted(word, windows=False), quoted(word, windows=True)) == (posix, windows)


def without_modules(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    monkeypatch.setattr(command_lines, "find_spec", lambda name: None if name in missing else find_spec(name))


def test_where_pip_is_missing_the_advice_brings_it_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command_lines.shutil, "which", lambda name: None)
    assert to_have_pip() == ""
    install = [sys.executable, "-m", "pip", "install", "x"]
    assert commands_in(to_install("x")) == [install]
    without_modules(monkeypatch, "pip")
    assert commands_in(to_install("x")) == [[sys.executable, "-m", "ensurepip"], install]
    without_modules(monkeypatch, "pip", "ensurepip")
    assert "get-pip.py" in to_install("x").splitlines()[1] and commands_in(to_install("x"))[1] == install
    monkeypatch.setattr(command_lines.shutil, "which", lambda name: f"/bin/{name}")
    by_uv = ["/bin/uv", "pip", "install", "--python", sys.executable, "pip"]
    assert commands_in(to_install("x")) == [by_uv, install]


def test_the_installer_says_how_to_go_on_without_pip_and_it_works(tmp_path, repo, monkeypatch):
    """In an environment without pip and packages, as uv makes them; the network is off."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in {"NO_INDEX": "1", "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    venv.create(tmp_path / "environment", with_pip=False, symlinks=True)
    python = tmp_path / "environment" / "bin" / "python"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-I", *words], cwd=tmp_path, capture_output=True, text=True)

    result = run(str(repo / "install.py"))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "opencv-python-headless is missing" in result.stderr and "has no pip" in result.stderr
    to_get_pip, again = commands_in(result.stderr)
    assert to_get_pip == [str(python), "-m", "ensurepip"]
    assert again == [str(python), str(repo / "install.py")]
    assert run(*to_get_pip[1:]).returncode == 0
    assert run("-m", "pip", "--version").returncode == 0
    result = run(*again[1:])
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "pip could not install it" in result.stderr and "has no pip" not in result.stderr


def test_a_model_that_is_on_no_hub_is_named_with_its_address(tmp_path: Path, capsys):
    assert cli.main(["fetch", "selfie-multiclass", "--to", str(tmp_path)]) == 1
    assert MODELS["selfie-multiclass"].url in capsys.readouterr().err
    assert cli.main(["fetch", "sam3"]) == 2
    assert "--to FOLDER" in capsys.readouterr().err


def test_the_weights_of_the_embedded_segmenter_need_pip_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    without_modules(monkeypatch, "pip")
    assert cli.main(["fetch", "mediapipe", "--to", str(tmp_path / "weights")]) == 1
    said = capsys.readouterr().err
    assert "could not download mediapipe" in said and "This Python has no pip" in said
    assert commands_in(said) == [[sys.executable, "-m", "ensurepip"]]
