"""The command "train" before ComfyUI is needed: every mistake is one message and exit code 2."""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.comfy.headless import LoraNotWrittenError
from semantic_focus.commands.main import main
from semantic_focus.commands.stop_signals import StopSignals
from semantic_focus.commands.train import Finished
from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.files.writing import NotWrittenError
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.settings.training import TrainConfig
from semantic_focus.training.processes import ProcessFailed, ProcessLost, StopTraining
from semantic_focus.training.shortage import TrainingOutOfMemory
from semantic_focus.training.trainer import TrainingDiverged

CONFIG = """
[model]
path = "model.safetensors"
[[dataset.sources]]
cache_directory = "cache"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with config.toml, a file in the model's place, one cached picture, and an empty ComfyUI."""
    cache, comfy = tmp_path / "cache", tmp_path / "ComfyUI" / "comfy"
    cache.mkdir()
    comfy.mkdir(parents=True)
    (comfy / "cli_args.py").touch()
    (tmp_path / "config.toml").write_text(CONFIG)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    save_file({"latents_1x4x8_bf16": torch.zeros(16, 4, 8)}, cache / "a_64x32_zi.safetensors")
    save_file({"varlen_vl_embed_bf16": torch.zeros(2, 8)}, cache / "a_zi_te.safetensors")
    Image.new("RGB", (64, 32)).save(cache / "a.png")
    masks = SemanticMasks(torch.ones(1, 1, 32, 64), ("face",))
    save_masks(cache / "a_zi_masks.safetensors", masks)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    level = logging.getLogger().level
    yield tmp_path
    logging.getLogger().setLevel(level)


@pytest.fixture
def complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run "train" on config.toml, which must not start; what it says."""

    def run(added: str = "", *arguments: str) -> str:
        path = folder / "config.toml"
        path.write_text(CONFIG + added)
        code = main(["train", str(path), *arguments])
        output, messages = capsys.readouterr()
        assert (code, output) == (2, "") and "Traceback" not in messages
        return messages

    return run


def test_a_wrong_key_is_named_with_its_line(complaint: Callable[..., str]):
    assert "config.toml, line 7: [lora] rnak is not known: did you mean rank?" in complaint(
        "[lora]\nrnak = 4"
    )


def test_without_a_comfyui_it_is_said_how_to_give_one(complaint: Callable[..., str]):
    message = complaint()
    assert all(way in message for way in ("--comfyui PATH", "COMFYUI_PATH", "[comfyui]"))


def test_the_comfyui_that_comes_first_is_the_one_that_is_tried(
    complaint: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
):
    in_config = '[comfyui]\npath = "one"'
    assert f"[comfyui] path {folder / 'one'}: no ComfyUI there" in complaint(in_config)
    monkeypatch.setenv("COMFYUI_PATH", str(folder / "two"))
    assert f"COMFYUI_PATH {folder / 'two'}: no ComfyUI there" in complaint(in_config)
    three = str(folder / "three")
    assert f"--comfyui {three}: no ComfyUI there" in complaint(in_config, "--comfyui", three)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ('[lora]\ncontinue_from = "nothing.safetensors"', "nothing.safetensors: no such LoRA file"),
        ('[dataset]\nempty_prompt = "nothing.safetensors"', "nothing.safetensors: no such"),
    ],
)
def test_files_that_are_not_there_are_named_before_comfyui_is_loaded(
    complaint: Callable[..., str], folder: Path, added: str, message: str
):
    assert message in complaint(added, "--comfyui", str(folder / "ComfyUI"))


def test_a_model_that_is_not_there_or_is_none_is_named(complaint: Callable[..., str], folder: Path):
    model, comfyui = folder / "model.safetensors", str(folder / "ComfyUI")
    model.unlink()
    assert f"[model] path {model}: no such file" in complaint("", "--comfyui", comfyui)
    model.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert f"[model] path {model} is a Git-LFS pointer" in complaint("", "--comfyui", comfyui)


def test_masks_of_another_size_and_stale_ones_are_named(complaint: Callable[..., str], folder: Path):
    file = folder / "cache" / "a_zi_masks.safetensors"
    arguments = ("", "--comfyui", str(folder / "ComfyUI"))
    file.unlink()
    save_masks(file, {"face": torch.ones(64, 64)})
    assert f"{file}: masks are 64x64, the latents are of 64x32 pixels" in complaint(*arguments)
    file.unlink()
    save_masks(file, {"face": torch.ones(32, 64)}, {"image_digest": "of another picture"})
    assert f"{file}: stale" in complaint(*arguments)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_first_signal_is_noted_and_the_second_one_kills(name: str, code: int):
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.Signals[name])
        with pytest.raises(StopTraining, match=name):
            signals.check()
        assert signals.exit_code == code
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_DFL] * 3
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("command", [[], ["masks"], ["export"], ["train"]])
def test_the_help_says_what_the_exit_codes_mean(command: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "128 + n stopped by signal n (129 the terminal was closed" in text


@pytest.mark.parametrize(
    ("error", "begun", "code"),
    [
        (ValueError("model and pictures do not fit"), False, 2),
        (NotWrittenError(Path("runs"), OSError(28, "No space left on device")), False, 2),
        (ImportError("no such module"), False, 2),
        (OSError(5, "Input/output error"), True, 1),
        (ValueError("in the midst of it"), True, 1),
        (TrainingDiverged(3, "loss", "the rate is too high"), True, 1),
        (TrainingOutOfMemory("with one picture at a time"), True, 1),
        (LoraNotWrittenError("the training is done but"), True, 1),
        (ProcessFailed("process 1 failed: its disk is full"), False, 2),
        (ProcessFailed("process 1 failed: its disk is full"), True, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_has_the_code_of_the_time_at_which_it_comes(
    error: Exception,
    begun: bool,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def train(config: TrainConfig, comfyui: Path | None, check, on_begin, *_) -> Finished:
        if begun:
            on_begin(folder)
        raise error

    monkeypatch.setattr("semantic_focus.commands.train.train", train)
    assert main(["train", str(folder / "config.toml")]) == code
    output, messages = capsys.readouterr()
    assert output == "" and messages.strip() == str(error)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StopTraining("SIGHUP"), 129, "stopped by SIGHUP: the same command goes on"),
        (StopTraining("the end of the process that started it"), 75, "stopped by the end of"),
        (
            ProcessLost("process 1 is gone"),
            75,
            "process 1 is gone: the same command goes on from the last state in",
        ),
    ],
)
def test_what_ends_another_process_ends_this_one(
    error: Exception, code: int, said: str, folder: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    def train(config: TrainConfig, comfyui: Path | None, check, on_begin, *_) -> Finished:
        on_begin(folder)
        raise error

    monkeypatch.setattr("semantic_focus.commands.train.train", train)
    assert main(["train", str(folder / "config.toml")]) == code
    output, messages = capsys.readouterr()
    assert output == "" and messages.startswith(said)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (StopTraining("SIGHUP"), {"event": "stopped", "reason": "SIGHUP", "exit_code": 129}),
        (ProcessLost("process 1 is gone"), {"event": "failed", "exit_code": 75}),
        (TrainingDiverged(3, "loss", "the rate is too high"), {"event": "failed", "exit_code": 1}),
        (
            ValueError("in the midst of it"),
            {"event": "failed", "error": "in the midst of it", "exit_code": 1},
        ),
        (RuntimeError("a bug"), {"event": "failed", "error": "a bug", "exit_code": 1}),
        (None, {"event": "done", "rows": [], "worse": True, "exit_code": 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_last_event_says_how_it_ended(
    error: Exception | None, end: dict, folder: Path, monkeypatch, capfd: pytest.CaptureFixture[str]
):
    """On standard output there is nothing else then, whatever libraries print."""

    def train(config: TrainConfig, comfyui: Path | None, check, on_begin, *_) -> Finished:
        on_begin(folder)
        os.write(1, b"a library says something\n")
        if error is not None:
            raise error
        return Finished(folder / "person.safetensors", [], True)

    monkeypatch.setattr("semantic_focus.commands.train.train", train)
    arguments = ["train", str(folder / "config.toml"), "--events", "-"]
    if isinstance(error, RuntimeError) and str(error) == "a bug":
        with pytest.raises(RuntimeError):
            main(arguments)
    else:
        assert main(arguments) == end["exit_code"]
    output, messages = capfd.readouterr()
    first, last = map(json.loads, output.splitlines())
    assert first["event"] == "opened" and first["config"] == str(folder / "config.toml")
    assert last | end == last and "a library says something" in messages
    assert error is not None or last["lora"] == str(folder / "person.safetensors")


def test_a_config_with_a_mistake_is_an_event_too(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "config.toml").write_text(CONFIG + "[lora]\nrnak = 4")
    file = folder / "events.jsonl"
    assert main(["train", str(folder / "config.toml"), "--events", str(file)]) == 2
    _, last = map(json.loads, file.read_text().splitlines())
    assert last["event"] == "failed" and last["exit_code"] == 2 and "did you mean rank?" in last["error"]
    assert last["error"] in capsys.readouterr().err


def test_events_in_no_folder_are_refused(complaint: Callable[..., str], folder: Path):
    place = str(folder / "nowhere" / "events.jsonl")
    assert f"--events {place}: cannot be written (No such file" in complaint("", "--events", place)
