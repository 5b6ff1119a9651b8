"""SAM 2: the outlines of the models' own calls, from a detector's boxes, each picture encoded once."""

import pickle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semantic_focus.keywords import Prompt
from semantic_focus.segmenters.prompted import PromptedSegmenter
from semantic_focus.segmenters.protocol import MissingWeightsError, SegmentRequest
from semantic_focus.segmenters.sam2 import (
    in_embedded_boxes as sam2_embedded,
)
from semantic_focus.segmenters.sam2 import (
    models as sam2_models,
)
from semantic_focus.segmenters.sam2 import (
    segmenter as sam2,
)
from semantic_focus.segmenters.sam2.grounding import find_detector, load_detector
from semantic_focus.segmenters.sam2.in_embedded_boxes import Sam2WithEmbeddedDetector
from semantic_focus.segmenters.sam2.models import SIZES, Sam2Weights, find_weights, load_model, size_of

from . import stand_ins

WORDS = [f"word {letter}" for letter in "abcdefghijklmnopqrst"]
BOXES = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0], [0.6, 0.5, 0.9, 0.8]])


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=["package", "transformers"])
def weights_of_runtime(request: pytest.FixtureRequest) -> Sam2Weights:
    fixture = {"package": "tiny_sam2_package", "transformers": "tiny_sam2"}[request.param]
    return find_weights({"sam2": [request.getfixturevalue(fixture)]})[0]


def vision_encoder(module: Any) -> nn.Module:
    return module.image_encoder if hasattr(module, "image_encoder") else module.vision_encoder


def calls_of(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_the_packages_outlines_are_those_of_its_own_predictor(tiny_sam2_package, picture):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    weights = find_weights({"sam2": [tiny_sam2_package]})[0]
    network: Any = sam2_models.build(weights).eval()
    predictor = SAM2ImagePredictor(network)
    predictor.set_image((picture * 255).round().byte().numpy())
    with torch.inference_mode():
        masks = load_model(weights, "cpu").encode(picture).masks(BOXES)
    for box, mask in zip(BOXES, masks, strict=True):
        pixels = (box * torch.tensor([64, 48, 64, 48])).numpy()
        _, _, logits = predictor.predict(box=pixels, multimask_output=False, return_logits=True)
        expected = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
        np.testing.assert_allclose(mask.numpy(), expected, atol=1e-3)


def test_the_outlines_of_transformers_are_those_of_its_direct_call(tiny_sam2, picture):
    from transformers import Sam2Model, Sam2Processor

    folder = tiny_sam2 / "sam2.1-hiera-tiny"
    model, processor = Sam2Model.from_pretrained(folder).eval(), Sam2Processor.from_pretrained(folder)
    boxes = (BOXES * torch.tensor([64, 48, 64, 48])).tolist()
    inputs = processor(
        images=(picture * 255).round().byte().numpy(), input_boxes=[boxes], return_tensors="pt"
    )
    with torch.inference_mode():
        direct = model(**inputs, multimask_output=False).pred_masks[0, :, 0].sigmoid()
        masks = load_model(find_weights({"sam2": [tiny_sam2]})[0], "cpu").encode(picture).masks(BOXES)
    torch.testing.assert_close(masks, direct, atol=1e-4, rtol=1e-3)
    assert masks.std() > 1e-3


def test_many_boxes_answer_as_one_by_one(weights_of_runtime, picture):
    boxes = BOXES.repeat(4, 1)  # more than one pass
    assert len(boxes) > sam2_models.BOXES_AT_ONCE
    with torch.inference_mode():
        encoded = load_model(weights_of_runtime, "cpu").encode(picture)
        together = encoded.masks(boxes)
        for box, mask in zip(boxes, together, strict=True):
            torch.testing.assert_close(encoded.masks(box[None])[0], mask, atol=1e-3, rtol=0)
        assert len(encoded.masks(boxes[:0])) == 0


@pytest.mark.parametrize("count", [1, 20])
def test_a_picture_is_encoded_once_however_many_words(
    weights_of_runtime, tiny_grounding_dino, picture, count
):
    folders = {"sam2": [weights_of_runtime.path.parent], "grounding-dino": [tiny_grounding_dino]}
    segmenter = sam2.load(folders)
    outliner, detector = (calls_of(vision_encoder(segmenter.modules[0])), calls_of(segmenter.modules[1]))
    request = SegmentRequest({"face": Prompt(tuple(WORDS[:count]), (), 0.05)}, "off")
    segmenter.segment(torch.stack([picture, picture.flip(0)]), request)
    assert (len(outliner), len(detector)) == (2, 2)


def test_without_a_box_nothing_is_encoded(tiny_sam2, tiny_grounding_dino, picture):
    segmenter = sam2.load({"sam2": [tiny_sam2], "grounding-dino": [tiny_grounding_dino]})
    assert isinstance(segmenter, PromptedSegmenter)
    segmenter.model.threshold = 1.01
    calls = calls_of(vision_encoder(segmenter.modules[0]))
    prompts = {"face": Prompt(("face",)), "background": Prompt(("background",))}
    result = segmenter.segment(picture[None], SegmentRequest(prompts))
    assert not calls
    assert result.region("background").min() == 1 and len(result.persons[0]) == 0


def test_boxes_are_those_of_the_detectors_own_call(tiny_grounding_dino, picture):
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    folder = find_detector({"grounding-dino": [tiny_grounding_dino]})
    assert folder is not None
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor: Any = GroundingDinoProcessor.from_pretrained(folder)
    pixels = (picture * 255).round().byte().numpy()
    inputs = processor(images=pixels, text="red hat.", return_tensors="pt")
    with torch.inference_mode():
        expected = processor.post_process_grounded_object_detection(
            model(**inputs), threshold=0.0, target_sizes=[(1, 1)]
        )[0]
        found = load_detector(folder, "cpu").detect(picture, {"Red hat": 0.0})["Red hat"]
    best = int(expected["scores"].argmax())
    # the model's own score also looks at the full stop and the ends of the text; ours at the words
    assert float(found.scores[0]) <= float(expected["scores"][best]) + 1e-5
    corners = expected["boxes"].clamp(0, 1)
    for box in found.boxes:
        assert (corners - box).abs().amax(1).min() < 1e-4
    assert (found.scores.diff() <= 0).all()


def test_each_word_has_the_scores_of_its_own_tokens(tiny_grounding_dino, picture):
    folder = find_detector({"grounding-dino": [tiny_grounding_dino]})
    assert folder is not None
    detector = load_detector(folder, "cpu")
    with torch.inference_mode():
        both = detector.detect(picture, {"ab": 0.0, "xyz": 0.0})
        turned = detector.detect(picture, {"xyz": 0.0, "ab": 0.0})
    for word in both:
        torch.testing.assert_close(both[word].scores, turned[word].scores, atol=2e-3, rtol=0)
    assert not torch.allclose(both["ab"].scores[:1], both["xyz"].scores[:1], atol=1e-6)


def test_more_words_than_the_detector_reads_at_once_go_in_several_passes(tiny_grounding_dino, picture):
    folder = find_detector({"grounding-dino": [tiny_grounding_dino]})
    assert folder is not None
    detector = load_detector(folder, "cpu")
    calls = calls_of(detector.module)
    words = {f"{word} with a long name": 0.0 for word in WORDS}
    with torch.inference_mode():
        found = detector.detect(picture, words)
    # letters are tokens here: 24 and a stop for each, and 254 fit
    assert len(calls) == 2 and list(found) == list(words)
    assert all(len(hits.scores) for hits in found.values())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("sam2.1_hiera_large.pt", "large"),
        ("sam2_hiera_base_plus.pt", "base_plus"),
        ("sam2.1_hiera_b+.safetensors", "base_plus"),
        ("sam2.1-hiera-base-plus", "base_plus"),
        ("sam2.1_hiera_small-fp16.safetensors", "small"),
        ("sam2_hiera_t.pt", "tiny"),
        ("SAM2.1-Hiera-Tiny", "tiny"),
        ("sam2.pt", ""),
        ("sam2_stable.pt", ""),
    ],
)
def test_the_size_is_read_from_the_name(name, size):
    assert size_of(name) == size


def test_the_largest_is_taken_and_what_is_no_sam2_is_left(tmp_path, tiny_sam2):
    for name in (
        "sam2.1_hiera_tiny.pt",
        "sam2_hiera_large.safetensors",
        "sam_vit_h.pth",
        "sam2.pt",
        "readme.txt",
    ):
        (tmp_path / name).write_bytes(stand_ins.BY_SUFFIX.get(Path(name).suffix, b"text"))
    found = find_weights({"sams": [tmp_path], "sam2": [tiny_sam2]})
    assert [(weights.size, weights.runtime) for weights in found] == [
        ("large", "sam2"),
        ("tiny", "transformers"),
        ("tiny", "sam2"),
    ]


def test_weights_of_another_size_than_their_name_are_refused(tiny_sam2_package, tmp_path, monkeypatch):
    content = (tiny_sam2_package / "sam2.1_hiera_tiny.pt").read_bytes()
    (tmp_path / "sam2.1_hiera_small.pt").write_bytes(content)
    monkeypatch.setattr(
        sam2_models, "OVERRIDES", (*sam2_models.OVERRIDES, "model.image_encoder.trunk.stages=[1,1,2,1]")
    )
    with pytest.raises(
        ValueError, match=r"sam2\.1_hiera_small\.pt does not fit sam2\.1 small.*name it after"
    ):
        load_model(Sam2Weights(tmp_path / "sam2.1_hiera_small.pt", "small", "sam2"), "cpu")


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_weight_file_with_code_in_it_is_refused_and_not_run(tmp_path):
    target = tmp_path / "touched"
    torch.save({"model": Payload(target)}, tmp_path / "sam2_hiera_tiny.pt")
    (tmp_path / "sam2_hiera_small.pt").write_bytes(pickle.dumps(Payload(target)))
    for name in ("sam2_hiera_tiny.pt", "sam2_hiera_small.pt"):
        with pytest.raises(ValueError, match=f"{name} is no file of tensors alone"):
            sam2_models.read_state(tmp_path / name)
    assert not target.exists()
    torch.save([1, 2], tmp_path / "sam2_hiera_tiny.pt")
    with pytest.raises(ValueError, match="holds no SAM 2 weights"):
        sam2_models.read_state(tmp_path / "sam2_hiera_tiny.pt")


def test_weights_are_read_the_same_from_safetensors(tiny_sam2_package, tmp_path, picture):
    from safetensors.torch import save_file

    state = sam2_models.read_state(tiny_sam2_package / "sam2.1_hiera_tiny.pt")
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "sam2.1_hiera_t.safetensors")
    one, other = (
        load_model(find_weights({"sam2": [folder]})[0], "cpu") for folder in (tiny_sam2_package, tmp_path)
    )
    with torch.inference_mode():
        assert torch.equal(one.encode(picture).masks(BOXES), other.encode(picture).masks(BOXES))


def test_absent_weights_and_detectors_are_offered(tmp_path, tiny_sam2, monkeypatch):
    reason = sam2.missing({"sam2": [tmp_path]})
    assert reason is not None
    for said in (*sam2.MODELS, "Apache-2.0", "grounding-dino-tiny", "898 MB", str(tmp_path)):
        assert said in reason
    monkeypatch.setattr(sam2.embedded, "missing", lambda folders: "its networks are not here")
    reason = sam2.missing({"sam2": [tiny_sam2]})
    assert reason and "grounding-dino-tiny" in reason and "its networks are not here" in reason
    with pytest.raises(MissingWeightsError, match="grounding-dino-tiny"):
        sam2.load({"sam2": [tiny_sam2]})


def test_a_runtime_that_is_not_installed_is_named(tiny_sam2_package, monkeypatch):
    monkeypatch.setattr(sam2, "missing_runtime", lambda runtime: f"no {runtime} here")
    reason = sam2.missing({"sam2": [tiny_sam2_package]})
    assert reason == "no transformers here; or no sam2 here"


def test_the_provenance_names_size_runtime_and_detector(tiny_sam2, tiny_grounding_dino, picture):
    folders = {"sam2": [tiny_sam2], "grounding-dino": [tiny_grounding_dino]}
    provenance = sam2.load(folders).segment(picture[None], SegmentRequest()).provenance
    assert (provenance["size"], provenance["runtime"]) == ("tiny", "transformers")
    assert provenance["detector"] == "tiny-dino"
    assert "tiny-dino" in provenance["weights"] and "sam2.1-hiera-tiny" in provenance["weights"]


class BoxFiller:
    """Stands for a SAM 2 that outlines each box with its inner ellipse, and remembers the boxes."""

    module: nn.Module = nn.Identity()

    def __init__(self):
        self.pictures, self.boxes = 0, torch.zeros(0, 4)

    def encode(self, image: Tensor) -> "BoxFiller":
        self.pictures += 1
        return self

    def masks(self, boxes: Tensor) -> Tensor:
        self.boxes = boxes
        rows, columns = torch.meshgrid(*[(torch.arange(256) + 0.5) / 256] * 2, indexing="ij")
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        across = (columns - centre[:, :1, None]) / half[:, :1, None]
        down = (rows - centre[:, 1:, None]) / half[:, 1:, None]
        return ((across**2 + down**2) < 1).float()


def test_the_embedded_detectors_persons_are_outlined_in_their_boxes(weights, photographs):
    photograph = cv2.imread(str(photographs / "zidane.jpg"))
    assert photograph is not None
    picture = torch.from_numpy(photograph[:, :, ::-1].copy()).float()[None] / 255
    filler = BoxFiller()
    segmenter = Sam2WithEmbeddedDetector(filler, {"mediapipe": [weights]}, "stand-in", {"size": "none"})
    result = segmenter.segment(picture, SegmentRequest(refine="off"))
    assert filler.pictures == 1
    assert len(result.persons[0]) == 2 and len(filler.boxes) == 4  # two persons, two faces
    # places (y, x) where only one of the two boxes is
    left, right = result.persons[0]
    assert left[500, 450] > 0.9 and right[500, 450] < 0.1
    assert right[400, 1200] > 0.9 and left[400, 1200] < 0.1
    # outside every box there is no person
    x0, y0 = filler.boxes[:2, :2].amin(0) * torch.tensor([1280, 720])
    assert result.persons[0][:, :, : max(0, int(x0) - 8)].sum() == 0
    union = result.persons[0].sum(0)
    for label in ("face", "hair", "clothing", "body"):
        assert (result.region(label)[0] <= union + 0.05).float().mean() > 0.99
    assert result.region("face")[0, 180, 995] > 0.5
    assert result.provenance["detector"] == "mediapipe"
    assert result.provenance["unsupported"] == ""


def test_an_outline_of_something_else_does_not_replace_a_person():
    seen, outline = np.zeros((10, 10), np.float32), np.zeros((10, 10), np.float32)
    seen[:, :5], outline[:, 4:] = 1, 1
    assert sam2_embedded.agreed(seen, outline) is not outline
    np.testing.assert_array_equal(sam2_embedded.agreed(seen, outline), seen)
    outline[:, 1:4], outline[:, 5:] = 1, 0
    np.testing.assert_array_equal(sam2_embedded.agreed(seen, outline), outline)


def test_the_sizes_are_in_the_table():
    from semantic_focus.segmenters.table import BACKENDS

    offered = [backend.variant for backend in BACKENDS.values() if backend.module == ".sam2.segmenter"]
    assert offered == ["", *SIZES]
    assert isinstance(sam2.VARIANTS, MappingProxyType)
