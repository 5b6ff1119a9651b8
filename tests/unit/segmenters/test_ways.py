"""What a choice of segmenter and words comes to before anything runs, and what lies there in other forms."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semantic_focus.comfy.segmenters import BACKENDS
from semantic_focus.keywords import parse_keywords
from semantic_focus.segmenters.model_files import MODELS, seen
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import WEIGHT_KINDS
from semantic_focus.segmenters.ways import WAYS, Outlook, all_ways, is_there, outlook

from . import stand_ins


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder, and nothing in the hub's cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for kind in WEIGHT_KINDS:
        (tmp_path / "models" / kind).mkdir(parents=True)
    return tmp_path / "models"


def folders(models: Path) -> dict[str, list[Path]]:
    return {kind: [models / kind] for kind in WEIGHT_KINDS}


def saved(folder: Path, model_type: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "model.safetensors").write_bytes(stand_ins.whole_safetensors(100))
    return folder


def looked(models: Path, backend: str, keywords: str = "face: face") -> Outlook:
    return outlook(backend, SegmentRequest(parse_keywords(keywords)), folders(models), BACKENDS)


def test_the_table_of_ways_has_every_model_and_only_segmenters_that_there_are():
    assert {name for _, weights in WAYS for name in weights} == set(MODELS)
    assert {segmenter for segmenter, _ in WAYS} <= set(BACKENDS)


@pytest.mark.parametrize(
    ("backend", "keywords", "segmenter", "cannot"),
    [
        ("mediapipe", "face: nose", "mediapipe", ()),
        ("mediapipe", "face: face\nglasses: glasses\nhat: hat", "mediapipe", ("glasses", "hat")),
        ("sam3", "face: face\nglasses: glasses", "sam3", ()),
    ],
)
def test_who_cannot_find_what(
    models: Path, weights: Path, backend: str, keywords: str, segmenter: str, cannot: tuple[str, ...]
):
    saved(models / "sam3" / "facebook" / "sam3", "sam3")
    found = looked(models, backend, keywords)
    assert (found.segmenter, found.cannot, found.missing) == (segmenter, cannot, "")
    assert bool(found.ways) == bool(cannot) == bool(found.sentence)
    if cannot:
        assert (
            found.sentence.startswith("glasses, hat: mediapipe reads no words")
            and "Draw it" in found.sentence
        )
        assert "Mask To Category" in found.sentence and "(sam3)" not in found.sentence


@pytest.mark.parametrize(
    ("backend", "first", "all_of_them"),
    [
        ("sam3", "sam2_large", {"sam2_large", "sam3_comfy", "sam3"}),
        ("sam2", "sam2_large", {"sam2_large", "sam2_base_plus", "sam2_small", "sam2_tiny"}),
        ("sam2_tiny", "sam2_tiny", {"sam2_tiny"}),
        ("segformer", "segformer", {"segformer"}),
        ("selfie", "selfie", {"selfie"}),
        ("sam3_comfy", "", set()),
    ],
)
def test_missing_weights_have_their_ways_those_without_a_gate_first(
    models: Path, backend: str, first: str, all_of_them: set[str]
):
    found = looked(models, backend)
    assert found.segmenter == "" and found.missing
    assert {way.segmenter for way in found.ways} == all_of_them
    assert next((way.segmenter for way in found.ways), "") == first


def test_weights_are_there_wherever_their_segmenter_finds_them(models: Path):
    at = folders(models)
    assert not [name for name in MODELS if is_there(name, at)]
    saved(models / "sam3" / "facebook" / "sam3", "sam3_video")
    saved(models / "grounding-dino" / "deep" / "er" / "dino", "grounding-dino")
    (models / "sams" / "sam2.1_hiera_large.pt").write_bytes(stand_ins.PICKLE)
    (models / "checkpoints" / "mine").mkdir()
    (models / "checkpoints" / "mine" / "Sam3.1.safetensors").write_bytes(stand_ins.SAFETENSORS)
    (models / "mediapipe" / "selfie_multiclass_256x256.tflite").write_bytes(stand_ins.TFLITE)
    saved(models / "parsers" / "face-parsing", "segformer")
    assert {name for name in MODELS if is_there(name, at)} == {
        "sam3",
        "sam3.1-comfy",
        "sam2.1-large",
        "grounding-dino-tiny",
        "selfie-multiclass",
        "segformer-face",
    }
    assert any(offer.there for way in all_ways(at, BACKENDS) for offer in way.offers)


def comfys_form(path: Path) -> None:
    save_file({f"detector.block.{index}": torch.ones(1) for index in range(3)}, path)


def pipeline(path: Path) -> None:
    path.mkdir()
    (path / "model_index.json").write_text("{}")


FORMS = {
    "sam3/sam3.pt": (stand_ins.PICKLE, "PyTorch files are not read there, because they can hold programs"),
    "sam3/x/model.safetensors": (
        stand_ins.SAFETENSORS,
        "brings the config.json and the others that it lacks",
    ),
    "sam3/x/y/weights.safetensors": (stand_ins.SAFETENSORS, "name it model.safetensors, and this brings"),
    "sam3/sam3.safetensors": (comfys_form, "in the form that ComfyUI reads (0.28 or newer): move it to"),
    "sam3/sam3.zip": (stand_ins.PICKLE, "is an archive: unpack it there"),
    "sam3/sam3.onnx": (stand_ins.PICKLE, "made for another program"),
    "sam3/model.safetensors.crdownload": (b"x", "is an unfinished download"),
    "sam3/pipeline": (pipeline, "is a pipeline of diffusers"),
    "sams/sam3": (lambda path: saved(path, "sam3"), "is a sam3 in the wrong folder: move it to models/sam3"),
    "../hub/hub/models--facebook--sam3/snapshots/abc": (
        lambda path: saved(path, "sam3"),
        "is sam3 in the hub's cache: copy or link that folder",
    ),
}
"""What lies where, and what is said of it."""


@pytest.mark.parametrize("place", FORMS)
def test_other_forms_are_named_with_what_makes_them_usable(models: Path, place: str):
    content, words = FORMS[place]
    path = models / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    (line,) = seen(["sam3"], folders(models))
    assert words in line and str(path.parent.resolve().name) in line
    assert line in looked(models, "sam3").missing


def test_what_makes_a_lone_file_usable_is_a_command(models: Path):
    lone = models / "sam3" / "mine" / "model.safetensors"
    lone.parent.mkdir()
    lone.write_bytes(stand_ins.SAFETENSORS)
    (line,) = seen(["sam3"], folders(models))
    assert f"fetch sam3 --to {lone.parent}" in line


def test_half_fetched_ones_are_no_models(models: Path):
    saved(models / "sam3" / ".sam3.partial", "sam3")
    assert not is_there("sam3", folders(models)) and seen(["sam3"], folders(models)) == []
