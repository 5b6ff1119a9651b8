"""The command "fetch" into places that take nothing: a sentence and an exit code, nothing downloaded."""

import errno
import os
from pathlib import Path

import pytest

from semantic_focus.commands import fetch as fetch_file
from semantic_focus.commands import main as cli

from ..faults import FAULTS, refuse

NAMES = ("mediapipe", "sam2.1-tiny")


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been downloaded; nothing is."""
    asked: list[object] = []
    monkeypatch.setattr(fetch_file.weights, "fetch", lambda folder: asked.append(folder) or folder)
    monkeypatch.setattr(fetch_file, "fetch", lambda name, place, report: asked.append(place) or place)
    return asked


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", [*FAULTS, "a file", "below a file"])
def test_a_folder_that_takes_nothing_is_refused_in_a_sentence_before_anything_is_downloaded(
    name: str,
    fault: str,
    tmp_path: Path,
    downloads: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = tmp_path / "there"
    if number := FAULTS.get(fault):
        refuse(monkeypatch, folder, number)
    else:
        (tmp_path / "there").write_text("mine")
        folder = folder if fault == "a file" else folder / "deeper"
    assert cli.main(["fetch", name, "--to", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"{folder}" in said and "cannot be written: " in said and "--to FOLDER" in said
    assert "Errno" not in said and "Traceback" not in said and not downloads


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_gets_full_on_the_way_is_said_in_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*arguments: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "big.safetensors"))

    monkeypatch.setattr(fetch_file.weights, "fetch", full)
    monkeypatch.setattr(fetch_file, "fetch", full)
    assert cli.main(["fetch", name, "--to", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "big.safetensors: cannot be written: the disk is full. Free some space" in said
    assert "Errno" not in said


def test_a_folder_that_takes_nothing_but_has_the_weights_will_do(
    weights: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[object]
):
    refuse(monkeypatch, weights, errno.EROFS)
    assert cli.main(["fetch", "mediapipe", "--to", str(weights)]) == 0 and downloads == [weights]
