"""Human parsers: their labels in our categories, their licences where they can be seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_focus.keywords import Prompt
from semantic_focus.segmenters.parsers import segformer as parser_segformer
from semantic_focus.segmenters.parsers import selfie as parser_selfie
from semantic_focus.segmenters.parsers.labels import NAMES, category_of, regions, spoken, unsupported
from semantic_focus.segmenters.protocol import MissingWeightsError, SegmentRequest
from semantic_focus.segmenters.table import BACKENDS

from . import stand_ins

VOCABULARIES = {
    "clothes": "Background Hat Hair Sunglasses Upper-clothes Skirt Pants Dress Belt Left-shoe Right-shoe "
    "Face Left-leg Right-leg Left-arm Right-arm Bag Scarf",
    "faces": "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat "
    "ear_r neck_l neck cloth",
    "fashion": "background face hair top dress skirt pants belt bag hat scarf glasses arms hands legs feet "
    "torso jewelry",
    "selfie": " ".join(label.replace(" ", "-") for label in parser_selfie.LABELS),
}
"""Label names of published parsers."""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the embedded detector's networks."""
    from semantic_focus.segmenters.embedded import segmenter as mediapipe

    monkeypatch.setattr(mediapipe, "missing", lambda folders: "not here")


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(40, 30, 3, generator=torch.Generator().manual_seed(2))


def request(*labels: str) -> SegmentRequest:
    return SegmentRequest({label: Prompt((label,)) for label in labels}, "off")


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("Face", "face"),
        ("l_brow", "face"),
        ("skin", "face"),
        ("Hair", "hair"),
        ("Upper-clothes", "clothing"),
        ("Left-shoe", "clothing"),
        ("cloth", "clothing"),
        ("hat", "clothing"),
        ("neck", "body"),
        ("Left-arm", "body"),
        ("body-skin", "body"),
        ("Background", None),
        ("sofa", None),
    ],
)
def test_labels_are_mapped_by_name(label, category):
    assert category_of(label) == category


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_known_vocabularies_are_mapped_completely(vocabulary):
    unknown = [label for label in VOCABULARIES[vocabulary].split() if category_of(label) is None]
    assert [spoken(label) for label in unknown] == ["background"]


def test_no_name_is_in_two_categories():
    names = [name for group in NAMES.values() for name in group]
    assert len(names) == len(set(names))
    assert all(name == spoken(name) for name in names)


def test_shares_of_one_category_are_added():
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(4, 1, 1)
    found = regions(shares, ("Background", "Hat", "Face", "Bag"), ("face", "bag", "tattoo", "background"))
    assert {name: round(float(share), 6) for name, share in found.items()} == {
        "face": 0.3,
        "clothing": 0.6,
        "bag": 0.4,
    }
    assert unsupported(("Hat", "Face"), ("face", "hat", "lighting", "background", "tattoo")) == "tattoo"


def test_segformers_regions_are_those_of_its_direct_call(tiny_parser, picture, alone):
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    folder = tiny_parser / "segformer_b2_clothes"
    model = SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    pixels = SegformerImageProcessor.from_pretrained(folder)(
        (picture * 255).round().byte().numpy(), return_tensors="pt"
    )
    with torch.inference_mode():
        shares = model(**pixels).logits.softmax(1)
    large = torch.nn.functional.interpolate(shares, (40, 30), mode="bilinear", antialias=True)[0]
    segmenter = parser_segformer.load({"parsers": [tiny_parser]})
    result = segmenter.segment(
        picture[None], request("face", "hair", "clothing", "body", "bag", "background")
    )
    # the labels are Background, Hat, Hair, Upper-clothes, Face, Left-arm, Bag
    torch.testing.assert_close(result.region("face")[0], large[4], atol=1e-4, rtol=0)
    torch.testing.assert_close(result.region("hair")[0], large[2], atol=1e-4, rtol=0)
    torch.testing.assert_close(result.region("body")[0], large[5], atol=1e-4, rtol=0)
    torch.testing.assert_close(result.region("clothing")[0], large[[1, 3, 6]].sum(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.region("bag")[0], large[6], atol=1e-4, rtol=0)
    torch.testing.assert_close(result.region("background")[0], large[0], atol=1e-4, rtol=0)


def test_without_the_embedded_detector_persons_are_unknown(tiny_parser, picture, alone):
    segmenter = parser_segformer.load({"parsers": [tiny_parser]})
    result = segmenter.segment(picture[None], request("face"))
    assert result.persons == ()
    assert result.provenance["persons"] == "unknown"
    assert "no persons" in segmenter.weights_id


def test_the_licence_is_in_the_provenance_and_in_the_message(tiny_parser, picture, alone, tmp_path):
    folders = {"parsers": [tiny_parser]}
    provenance = parser_segformer.load(folders).segment(picture[None], request("face")).provenance
    assert provenance["licence"] == "unconfirmed"
    reason = parser_segformer.missing({"parsers": [tmp_path]})
    assert reason is not None
    for said in ("licence unconfirmed", "NVIDIA", "mattmdjaga/segformer_b2_clothes", "selfie-multiclass"):
        assert said in reason
    assert parser_segformer.licence(Path("my-own-parser")).startswith("unknown")


def test_parsers_have_to_be_asked_for():
    assert [name for name, backend in BACKENDS.items() if backend.opt_in] == ["segformer", "selfie"]


def test_a_parser_of_other_things_is_refused(tiny_parser, tmp_path, alone):
    folder = tmp_path / "rooms"
    folder.mkdir()
    for file in (tiny_parser / "segformer_b2_clothes").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(index): f"room {index}" for index in range(7)}
    config["label2id"] = {f"room {index}": index for index in range(7)}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: id2label names no part of a person"):
        parser_segformer.load({"parsers": [tmp_path]})


@pytest.mark.parametrize("as_logits", [True, False])
def test_the_selfie_networks_classes_become_regions(tmp_path, monkeypatch, picture, alone, as_logits):
    """With a stand-in for the network; its real file is not on this machine."""
    (tmp_path / parser_selfie.FILE).write_bytes(stand_ins.TFLITE)
    shares = np.array([0.3, 0.05, 0.1, 0.25, 0.2, 0.1], np.float32)
    pictures = []

    def network(square: np.ndarray) -> list[np.ndarray]:
        pictures.append(square)
        values = np.log(shares) if as_logits else shares
        return [np.broadcast_to(values, (1, 256, 256, 6)).astype(np.float32)]

    monkeypatch.setattr(parser_selfie, "read_network", lambda file: network)
    segmenter = parser_selfie.load({"mediapipe": [tmp_path]})
    result = segmenter.segment(picture[None], request("face", "hair", "clothing", "body", "background"))
    expected = {"face": 0.25, "hair": 0.05, "clothing": 0.3, "body": 0.1, "background": 0.3}
    for label, share in expected.items():
        torch.testing.assert_close(result.region(label), torch.full((1, 40, 30), share), atol=1e-4, rtol=0)
    assert pictures[0].shape == (256, 256, 3)
    assert pictures[0].mean() == pytest.approx(float(picture.mean()), abs=0.01)
    assert result.provenance["licence"] == "Apache-2.0"


def test_the_selfie_network_is_offered_with_its_address(tmp_path):
    reason = parser_selfie.missing({"mediapipe": [tmp_path]})
    assert reason and "Apache-2.0" in reason and "16 MB" in reason
    assert "put https://storage.googleapis.com/" in reason and str(tmp_path) in reason
    with pytest.raises(MissingWeightsError, match="selfie-multiclass"):
        parser_selfie.load({"mediapipe": [tmp_path]})
