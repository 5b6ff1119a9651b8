"""Which picture files are read, and what is said of those that are not."""

import ast
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from semantic_focus.datasets.folder import DatasetError, load_picture, pictures_on_disk
from semantic_focus.datasets.formats import PICTURE_SUFFIXES, SUFFIXES_BY_FORMAT, has_several_frames
from semantic_focus.datasets.mask_pictures import read_mask_picture
from semantic_focus.datasets.thumbnails import thumbnail

RED = Image.new("RGB", (12, 8), (200, 40, 40))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("form", "suffix"), [(form, suffix) for form, all_of in SUFFIXES_BY_FORMAT.items() for suffix in all_of]
)
@pytest.mark.parametrize("upper", [False, True])
def test_every_ending_is_read(tmp_path: Path, form: str, suffix: str, upper: bool):
    path = tmp_path / f"a{suffix.upper() if upper else suffix}"
    RED.save(path, form)
    found = load_picture(path)
    assert found.shape == (8, 12, 3)
    torch.testing.assert_close(found.mean((0, 1)), torch.tensor([200, 40, 40]) / 255, atol=0.03, rtol=0)
    assert thumbnail(path, 6).size == (6, 4)


@pytest.mark.parametrize("suffix", [*PICTURE_SUFFIXES, ".eps"])
@pytest.mark.parametrize("read", [load_picture, read_mask_picture, lambda path: thumbnail(path, 192)])
def test_an_eps_starts_no_other_program_whatever_it_is_called(
    tmp_path: Path, suffix: str, read, monkeypatch: pytest.MonkeyPatch
):
    def started(*_arguments, **_named):
        raise AssertionError("a program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(os, "system", started)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(EPS)
    with pytest.raises(ValueError, match=r"cannot be read as a picture \(it looks like an EPS"):
        read(path)


def test_every_call_that_opens_a_picture_names_the_formats(repo: Path):
    calls = [
        (f"{path.relative_to(repo)}:{node.lineno}", {keyword.arg for keyword in node.keywords})
        for place in ("semantic_focus", "nodes")
        for path in sorted((repo / place).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open")
    ]
    assert calls
    assert [where for where, named in calls if "formats" not in named] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC photograph"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"nothing known", "it is none of PNG, JPEG"),
    ],
)
def test_a_file_of_another_kind_is_told_by_what_it_looks_like(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"a\.png: cannot be read as a picture \(.*{said}"):
        load_picture(tmp_path / "a.png")


def test_all_pictures_that_cannot_be_read_are_named_at_once(tmp_path: Path):
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    for number, path in enumerate(paths):
        RED.save(path) if number % 2 else path.write_bytes(b"torn")
    with pytest.raises(DatasetError) as caught:
        pictures_on_disk(paths)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [str(paths[0]), str(paths[2])]
    assert len(pictures_on_disk(paths[1::2])) == 2


@pytest.mark.parametrize(
    ("name", "frames", "several"),
    [("a.gif", 3, True), ("a.gif", 1, False), ("a.webp", 2, True), ("a.png", 2, True), ("a.tif", 2, True)]
    + [("a.avif", 2, True), ("a.png", 1, False), ("a.jpg", 1, False)],
)
def test_of_several_frames_the_first_is_read(tmp_path: Path, name: str, frames: int, several: bool):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)][:frames]
    first, *others = [Image.new("RGB", (16, 16), colour) for colour in colours]
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(tmp_path / name, **more)
    assert has_several_frames(tmp_path / name) is several
    red, green, _ = load_picture(tmp_path / name).mean((0, 1)).tolist()
    assert red > 0.9 and green < 0.1


def test_the_preview_in_a_cameras_file_is_no_frame(tmp_path: Path):
    RED.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[RED])
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.format == "MPO"
    assert load_picture(tmp_path / "a.jpg").shape == (8, 12, 3)
    assert not has_several_frames(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_known_range_are_refused_and_not_read_as_black(tmp_path: Path, kind):
    Image.fromarray(np.full((4, 4), 1, kind)).save(tmp_path / "a.tif")
    for read in (load_picture, read_mask_picture):
        with pytest.raises(ValueError, match=r"a\.tif: .*numbers of 32 bits. Save it with 8 or 16 bits"):
            read(tmp_path / "a.tif")


def test_16_bit_grey_of_a_tiff_keeps_its_range(tmp_path: Path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.tif")
    torch.testing.assert_close(load_picture(tmp_path / "a.tif")[0, :, 0], torch.tensor([0, 32768 / 65535, 1]))
