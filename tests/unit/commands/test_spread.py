"""Masks of tars, and on a cluster: what the shell says of them. The fake backend, in this process."""

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_focus.commands import main as cli
from semantic_focus.commands import masks
from semantic_focus.datasets.engines import on_ray
from semantic_focus.segmenters import table

from . import fake_backend

Run = Callable[..., tuple[int, dict, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """(exit code, summary, standard error) of `semantic-focus masks`."""
    monkeypatch.setitem(sys.modules, "fake_backend", fake_backend)
    for module in (table, masks):
        monkeypatch.setattr(module, "BACKENDS", fake_backend.TABLE)
    table._loaded.cache_clear()

    def run(*arguments: object) -> tuple[int, dict, str]:
        code = cli.main(["masks", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, json.loads(captured.out or "{}"), captured.err

    return run


@pytest.fixture
def tars(tmp_path: Path) -> str:
    """Four tars of two pictures each."""
    for number in range(4):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for name in "ab":
                out = io.BytesIO()
                Image.fromarray(np.full((8, 8, 3), (200, 40 * number, 30), np.uint8)).save(out, "PNG")
                member = tarfile.TarInfo(f"{number}{name}.png")
                member.size = len(out.getvalue())
                tar.addfile(member, io.BytesIO(out.getvalue()))
    return f"file://{tmp_path}/{{0..3}}.tar"


def test_tars_get_masks_by_shards_and_give_them_to_a_folder(run: Run, tars: str, tmp_path: Path):
    made = []
    for shard in ("1/2", "2/2"):
        code, summary, _ = run(tars, "--shard", shard)
        made.append(summary["counts"]["segmented"])
        assert code == 0 and summary["shard"] == shard and summary["tars"] * 2 == made[-1]
    assert sum(made) == 8 and len(list(tmp_path.glob("*_zi_masks.tar"))) == 4
    code, summary, err = run(tars)
    assert (code, summary["counts"]["fresh"], summary["tars"]) == (0, 8, 4) and "8 fresh" in err
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        with tarfile.open(tmp_path / f"{number}.tar") as tar:
            (folder / f"{number}a.png").write_bytes(tar.extractfile(f"{number}a.png").read())  # type: ignore[union-attr]
    for name in ("unpacked", "fresh"):
        code, summary, err = run(folder, "--unpack", tars)
        assert code == 0 and summary["counts"][name] == 3 and f"3 {name}" in err
    table._loaded.cache_clear()
    code, summary, err = run(folder)
    assert summary["counts"]["fresh"] == 3 and "LOADED" not in err


def test_a_bad_tar_is_said_with_exit_code_1(run: Run, tars: str, tmp_path: Path):
    (tmp_path / "2.tar").write_bytes(b"none" * 500)
    code, summary, err = run(tars)
    assert code == 1 and summary["counts"]["segmented"] == 6
    assert [one["picture"] for one in summary["failed"]] == [str(tmp_path / "2.tar")]
    assert err.count("2.tar: no tar, or damaged") >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tars}", "--report", "x.html"], "of tars none is made. Unpack the masks"),
        (["{tars}", "--engine", "ray"], "Start this command on each of them, with --shard"),
        (["{tars}", "--unpack", "{tars}"], "give the folder with the pictures, and --unpack with the URL"),
        (["{tmp}", "--unpack", "masks.tar"], "give the folder with the pictures, and --unpack with the URL"),
        (["{tmp}/none", "--unpack", "{tars}"], "none: no such folder"),
        (["file://{tmp}/*.zip"], "no .tar of that name"),
        (["sftp://host/0.tar"], "mount it, and give its folder"),
        (["{tmp}/pictures", "--address", "10.0.0.1:6379"], "it is for --engine ray, which is not given"),
    ],
)
def test_what_cannot_be_is_said_with_exit_code_2(
    run: Run, tars: str, tmp_path: Path, arguments: list[str], message: str
):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    before = sorted(os.listdir(tmp_path))
    code, summary, err = run(*(argument.format(tars=tars, tmp=tmp_path) for argument in arguments))
    assert code == 2 and summary == {} and message in err and sorted(os.listdir(tmp_path)) == before


def test_without_ray_the_command_that_installs_it_is_said(run: Run, tmp_path: Path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(on_ray, "is_installed", lambda module: False)
    code, _, err = run(tmp_path, "--engine", "ray")
    assert code == 2 and "ray is not installed" in err and "pip install ray" in err
