"""Weights that are none are passed over, and named with what they look like; so are broken runtimes."""

import json
import math
import re
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2  # noqa: F401  (taken away in a test)
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from semantic_focus.segmenters import runtimes, table
from semantic_focus.segmenters.damage import WeightsNotLoadedError, damage, loading
from semantic_focus.segmenters.protocol import MissingWeightsError
from semantic_focus.segmenters.runtimes import broken, is_installed
from semantic_focus.segmenters.table import BACKENDS, LazySegmenter, choose

from . import stand_ins

WHOLE = save({"weight": torch.arange(40.0), "bias": torch.zeros(2)}, {"format": "pt"})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Log in</body></html>"


def header(value: object) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text


def zipped(folder: Path) -> bytes:
    torch.save({"model": {"weight": torch.zeros(300)}}, folder / "zipped")
    return (folder / "zipped").read_bytes()


DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "a pointer": ("m.safetensors", LFS, "is a Git-LFS pointer"),
    "a pointer, torch": ("m.pt", LFS, "is a Git-LFS pointer"),
    "a page": ("m.safetensors", PAGE, "is a web page"),
    "a page, torch": ("m.pth", b"\xef\xbb\xbf<html>", "is a web page"),
    "a page, tflite": ("m.tflite", PAGE, "is a web page"),
    "empty": ("m.safetensors", b"", "is empty"),
    "a refusal": (
        "m.safetensors",
        b'{"error": "Access to model is restricted"}',
        "is a text of 42 bytes, not weights",
    ),
    "a sentence": ("m.pt", b"Entry not found", "is a text of 15 bytes, not weights ('Entry not found')"),
    "a few bytes": ("m.safetensors", WHOLE[:6], "is no safetensors file"),
    "cut in its header": ("m.safetensors", WHOLE[:40], "is cut short (40 bytes, its header alone has "),
    "cut in its tensors": (
        "m.safetensors",
        WHOLE[:-1],
        f"is cut short ({len(WHOLE) - 1} of {len(WHOLE)} bytes)",
    ),
    "too long": ("m.safetensors", WHOLE + b"\0", f"is longer than its header says ({len(WHOLE) + 1} bytes"),
    "zeros": ("m.safetensors", bytes(4096), "is no safetensors file"),
    "noise": ("m.safetensors", bytes(range(256)) * 9, "is no safetensors file"),
    "no tensors": ("m.safetensors", header([1]) + bytes(8), "its header is damaged"),
    "no offsets": ("m.safetensors", header({"weight": {"shape": [1]}}), "its header is damaged"),
    "endless offsets": (
        "m.safetensors",
        header({"w": {"data_offsets": [0, math.inf]}}),
        "its header is damaged",
    ),
    "short offsets": ("m.safetensors", header({"w": {"data_offsets": []}}), "its header is damaged"),
    "another form": ("m.safetensors", stand_ins.PICKLE, "is a PyTorch file (.pt) under another name"),
    "a cut archive": ("m.pt", b"PK\x03\x04" + bytes(500), "is cut short (it ends after 504 bytes)"),
    "zeros, torch": ("m.pt", bytes(500), "is no PyTorch file"),
    "zeros, tflite": ("m.tflite", bytes(500), "is no TFLite file"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_a_damaged_file_looks_like_is_said(case: str, tmp_path: Path):
    name, content, expected = DAMAGED[case]
    (tmp_path / name).write_bytes(content)
    said = damage(tmp_path / name)
    assert said is not None and expected in said


def test_a_broken_link_is_said(tmp_path: Path):
    (tmp_path / "m.pt").symlink_to(tmp_path / "nowhere")
    assert damage(tmp_path / "m.pt") == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("cut", range(0, len(WHOLE), 7))
def test_wherever_a_file_is_cut_it_is_noticed(cut: int, tmp_path: Path):
    (tmp_path / "m.safetensors").write_bytes(WHOLE[:cut])
    assert damage(tmp_path / "m.safetensors")


def test_nothing_is_said_of_whole_files(tmp_path: Path):
    contents = {**stand_ins.BY_SUFFIX, ".safetensors": WHOLE, ".pt": zipped(tmp_path)}
    for suffix, content in contents.items():
        (tmp_path / f"m{suffix}").write_bytes(content)
        assert damage(tmp_path / f"m{suffix}") is None, suffix


@pytest.mark.parametrize("length", [128, 128 + 2 * 256, 128 + 5 * 256])
def test_a_header_whose_length_begins_like_a_pickle_is_no_fault(length: int, tmp_path: Path):
    header = json.dumps({"weight": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    file = tmp_path / "m.safetensors"
    file.write_bytes(struct.pack("<Q", length) + header.ljust(length) + b"\1")
    assert damage(file) is None


BACKENDS_WITH_WEIGHTS = {
    "sam3": ("sam3", "tiny_sam3", "model.safetensors"),
    "sam2": ("sam2", "tiny_sam2", "model.safetensors"),
    "segformer": ("parsers", "tiny_parser", "model.safetensors"),
}


@pytest.fixture
def copied(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], tuple[dict[str, list[Path]], Path]]:
    """copied(backend): folders with a copy of its weights, and the file in it."""

    def copy(backend: str) -> tuple[dict[str, list[Path]], Path]:
        kind, fixture, name = BACKENDS_WITH_WEIGHTS[backend]
        folder = tmp_path / kind
        shutil.copytree(request.getfixturevalue(fixture), folder)
        (file,) = folder.rglob(name)
        return {kind: [folder]}, file

    return copy


@pytest.mark.parametrize("backend", BACKENDS_WITH_WEIGHTS)
@pytest.mark.parametrize(("content", "words"), [(LFS, "Git-LFS pointer"), (WHOLE[:-9], "cut short")])
def test_a_segmenter_with_damaged_weights_is_missing_and_names_them(backend, content, words, copied):
    folders, file = copied(backend)
    file.write_bytes(content)
    reason = BACKENDS[backend].functions().missing(folders)
    assert reason and f"{file} is " in reason and words in reason
    assert f"--to {folders[BACKENDS_WITH_WEIGHTS[backend][0]][0]}" in reason


def test_auto_passes_over_damaged_weights_and_says_so(copied, weights: Path, caplog):
    folders, file = copied("sam3")
    file.write_bytes(PAGE)
    assert choose("auto", {**folders, "mediapipe": [weights]}) == "mediapipe"
    assert f"{file} is a web page" in caplog.text


@pytest.mark.parametrize(
    ("kind", "file", "backend", "said"),
    [
        ("sam3", "sam3.pt", "sam3", "is no folder with config.json and model.safetensors"),
        ("sam2", "sam2.pt", "sam2", "nor a .pt named after its size"),
        ("sams", "sam_hq.pth", "sam2", "is no folder"),
        ("parsers", "face.safetensors", "segformer", "is no folder with config.json"),
        ("mediapipe", "selfie_multiclass.tflite", "selfie", "is no selfie_multiclass_256x256.tflite"),
    ],
)
def test_what_lies_in_the_place_of_weights_is_named(kind, file, backend, said, tmp_path: Path):
    path = tmp_path / file
    path.write_bytes(stand_ins.BY_SUFFIX[path.suffix])
    reason = BACKENDS[backend].functions().missing({kind: [tmp_path]})
    assert reason and f"found instead: {path} " in reason and said in reason


def test_of_a_folder_it_is_said_what_it_lacks(tmp_path: Path):
    for name, others in (("old", ["pytorch_model.bin"]), ("other", ["model.safetensors"]), ("bare", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "clip"}')
        for other in others:
            (tmp_path / name / other).write_bytes(WHOLE)
    reason = BACKENDS["sam3"].functions().missing({"sam3": [tmp_path]}) or ""
    assert f"{tmp_path / 'old'} has a config.json but no safetensors (only pytorch_model.bin)" in reason
    assert f"{tmp_path / 'other'} is no folder with config.json and model.safetensors" not in reason
    assert f"{tmp_path / 'other'} is a model of another kind (clip)" in reason
    assert f"{tmp_path / 'bare'} has a config.json but no safetensors\n" in reason


class TestLoading:
    def test_an_error_names_file_and_way_out(self, tmp_path: Path):
        file = tmp_path / "m.safetensors"
        file.write_bytes(WHOLE)
        with pytest.raises(WeightsNotLoadedError) as caught, loading("sam3", file, "fetch it"):
            raise RuntimeError("size mismatch for weight")
        said = str(caught.value)
        assert f"{file} does not load (RuntimeError: size mismatch" in said and said.endswith("fetch it")

    def test_of_a_file_damaged_meanwhile_it_says_how(self, tmp_path: Path):
        file = tmp_path / "m.safetensors"
        file.write_bytes(PAGE)
        with pytest.raises(WeightsNotLoadedError, match="is a web page"), loading("sam3", file, "fetch it"):
            raise RuntimeError("header too large")

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("CUDA out of memory"), KeyboardInterrupt()]
    )
    def test_what_is_no_fault_of_the_file_passes(self, error: BaseException, tmp_path: Path):
        with pytest.raises(type(error)) as caught, loading("sam3", tmp_path, ""):
            raise error
        assert caught.value is error

    def test_weights_that_only_loading_finds_out_are_named(self, copied):
        folders, file = copied("sam3")
        (file.parent / "config.json").write_text('{"model_type": "sam3", "vision_config": 7}')
        with pytest.raises(WeightsNotLoadedError, match=r"sam3.* does not load \(.*Move it away"):
            BACKENDS["sam3"].functions().load(folders)


class TestRuntimes:
    @pytest.fixture
    def library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], str]:
        """library(code): the name of a package with this code; None leaves its folder without any."""
        monkeypatch.syspath_prepend(tmp_path)

        def make(code: str | None) -> str:
            name = f"sf_{tmp_path.name}"
            (tmp_path / name).mkdir()
            if code is not None:
                (tmp_path / name / "__init__.py").write_text(code)
            return name

        return make

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            (None, "is incomplete (it has no resize)"),
            ("", "is incomplete (it has no resize)"),
            ("from . import native", "cannot be imported (ImportError: cannot import name 'native'"),
            ("import sf_absent", "cannot be imported (ModuleNotFoundError: No module named 'sf_absent')"),
            ("raise OSError('libGL.so.1: cannot open')", "cannot be imported (OSError: libGL.so.1"),
            ("unknown", "cannot be imported (NameError"),
        ],
    )
    def test_one_that_does_not_work_is_named_with_its_command(self, code, said, library):
        name = library(code)
        reason = broken(name, "opencv-python-headless", ["resize"])
        assert reason and f"{name} is installed but {said}" in reason
        assert "pip install --force-reinstall --no-deps opencv-python-headless" in reason

    def test_one_that_works_is_imported_once(self, library, monkeypatch):
        name = library("resize = 1")
        monkeypatch.setattr(runtimes, "PROVED", set())
        assert broken(name, name, ["resize"]) is None
        del sys.modules[name]
        assert broken(name, name, ["resize"]) is None and name not in sys.modules

    def test_one_that_another_thread_is_importing_is_installed(self, library, monkeypatch):
        name = library("resize = 1")
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # it has no spec yet
        assert is_installed(name)

    @pytest.mark.parametrize("name", ["sf_absent", "sf_absent.part", "json.sf_absent"])
    def test_one_that_is_not_there_is_not_installed(self, name: str):
        assert not is_installed(name)

    def test_one_that_is_not_installed_is_asked_for_elsewhere(self):
        assert broken("sf_absent", "absent") is None

    @pytest.mark.parametrize("name", ["auto", "mediapipe"])
    def test_a_half_removed_opencv_is_named_before_anything_is_segmented(
        self, name, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "cv2").mkdir()
        (tmp_path / "cv2" / "__init__.py").write_text("")
        monkeypatch.setattr(runtimes, "PROVED", set())
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cv2")
        table._loaded.cache_clear()
        with pytest.raises(MissingWeightsError, match="cv2 is installed but is incomplete"):
            LazySegmenter(name, {"mediapipe": [weights]}).get()


def another_network(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": tensor for name, tensor in state.items()}


def one_of_another_shape(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name in state if state[name].ndim == 4)
    return {**state, name: torch.zeros(*state[name].shape, 2)}


@pytest.mark.parametrize("backend", BACKENDS_WITH_WEIGHTS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_network, r"it lacks \d+ of \d+ tensors \(\S+, \S+ and \d+ more\)"),
        (one_of_another_shape, r"1 of \d+ tensors have another shape \(\S+: \[.*, 2\], not \[.*\]\)"),
    ],
)
def test_weights_of_another_network_under_a_fitting_configuration_are_refused(
    backend: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], said: str, copied
):
    folders, file = copied(backend)
    save_file(change(load_file(file)), file, {"format": "pt"})
    with pytest.raises(WeightsNotLoadedError) as caught:
        BACKENDS[backend].functions().load(folders)
    assert re.search(rf"{file.name} holds another network than config\.json says: {said}", str(caught.value))
    assert str(file.parent) in str(caught.value) and "get it again" in str(caught.value)
