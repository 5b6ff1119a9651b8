"""SAM 3: the same answer as the model's own call, with the picture and each word encoded once."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_focus.comfy import sam3 as sam3_comfy
from semantic_focus.keywords import Prompt
from semantic_focus.segmenters import sam3
from semantic_focus.segmenters.prompted import PromptedSegmenter
from semantic_focus.segmenters.protocol import MissingWeightsError, SegmentRequest

from . import stand_ins

WORDS = [f"word {letter}" for letter in "abcdefghijklmnopqrst"]


@pytest.fixture(scope="module")
def segmenter(tiny_sam3: Path) -> PromptedSegmenter:
    segmenter = sam3.load({"sam3": [tiny_sam3]})
    assert isinstance(segmenter, PromptedSegmenter)
    return segmenter


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.rand(40, 56, 3, generator=torch.Generator().manual_seed(3))


def count_calls(module: Any) -> list[int]:
    """A list that grows by the batch size of each call of a network."""
    calls: list[int] = []
    module.register_forward_hook(
        lambda module, arguments, keywords, output: calls.append(
            len(keywords.get("input_ids", arguments[0] if arguments else ()))
        ),
        with_kwargs=True,
    )
    return calls


def test_instances_are_those_of_the_models_own_call(segmenter, picture, tiny_sam3):
    from transformers import Sam3Model, Sam3Processor

    model = Sam3Model.from_pretrained(tiny_sam3 / "tiny-sam3").eval()
    processor = Sam3Processor.from_pretrained(tiny_sam3 / "tiny-sam3")
    pixels = (picture * 255).round().byte().numpy()
    with torch.inference_mode():
        found = segmenter.model.encode(picture).find({"red hat": 0.0, "shoe": 0.0})
        for word, instances in found.items():
            direct = model(**processor(images=pixels, text=word, return_tensors="pt"))
            score = direct.pred_logits[0].sigmoid() * direct.presence_logits[0].sigmoid()
            torch.testing.assert_close(instances.scores, score, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(instances.masks, direct.pred_masks[0].sigmoid(), atol=1e-4, rtol=1e-3)
    assert not torch.equal(found["red hat"].scores, found["shoe"].scores)


def test_the_published_layout_with_the_video_models_configuration_loads_too(
    segmenter, picture, tiny_sam3, tmp_path
):
    from safetensors.torch import load_file, save_file

    folder, plain = tmp_path / "sam3", tiny_sam3 / "tiny-sam3"
    folder.mkdir()
    for file in plain.glob("*.[jt]*"):
        (folder / file.name).write_bytes(file.read_bytes())
    detector = json.loads((plain / "config.json").read_text())
    config = {"model_type": "sam3_video", "detector_config": detector}
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(plain / "model.safetensors")
    save_file(
        {f"detector_model.{name}": value for name, value in state.items()}, folder / "model.safetensors"
    )
    video = sam3.load({"sam3": [tmp_path]})
    assert isinstance(video, PromptedSegmenter)
    with torch.inference_mode():
        found = video.model.encode(picture).find({"hat": 0.0})["hat"]
        expected = segmenter.model.encode(picture).find({"hat": 0.0})["hat"]
    torch.testing.assert_close(found.scores, expected.scores)


def test_only_what_reaches_the_threshold_is_found(segmenter, picture):
    with torch.inference_mode():
        encoded = segmenter.model.encode(picture)
        everything = encoded.find({"hat": 0.0})["hat"].scores
        middle = float(everything.median())
        found = encoded.find({"hat": middle})["hat"]
    assert len(everything) == 10
    assert len(found.scores) == int((everything >= middle).sum()) < 10
    assert len(found.masks) == len(found.scores)


@pytest.mark.parametrize("count", [1, 20])
def test_a_picture_is_encoded_once_however_many_words(tiny_sam3, picture, count):
    segmenter = sam3.load({"sam3": [tiny_sam3]})
    model = segmenter.modules[0]
    vision, text = count_calls(model.vision_encoder), count_calls(model.text_encoder)
    request = SegmentRequest({"face": Prompt(tuple(WORDS[:count]))}, "off")
    segmenter.segment(torch.stack([picture, picture.flip(0)]), request)
    assert len(vision) == 2
    assert len(text) == count + 1  # and "person"; the second picture asks for the same words
    segmenter.segment(picture[None], request)
    assert (len(vision), len(text)) == (3, count + 1)


def test_several_words_in_one_pass_answer_as_one_by_one(segmenter, picture, monkeypatch):
    thresholds = dict.fromkeys(WORDS[:5], 0.0)
    with torch.inference_mode():
        monkeypatch.setattr(sam3, "WORDS_AT_ONCE", 1)
        single = segmenter.model.encode(picture).find(thresholds)
        monkeypatch.setattr(sam3, "WORDS_AT_ONCE", 3)
        together = segmenter.model.encode(picture).find(thresholds)
    assert list(single) == list(together) == WORDS[:5]
    for word in thresholds:
        torch.testing.assert_close(single[word].scores, together[word].scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(single[word].masks, together[word].masks, atol=1e-4, rtol=1e-3)


def test_releases_that_pass_text_features_as_a_tensor_work_too(tiny_sam3, segmenter, picture, monkeypatch):
    """transformers 5.0, simulated: features go out, and come in, as the tensor itself."""
    older = sam3.load({"sam3": [tiny_sam3]})
    assert isinstance(older, PromptedSegmenter)
    model: Any = older.modules[0]
    features, forward = model.get_text_features, model.forward

    def forward_of_5_0(*, text_embeds: Tensor, **inputs: Any) -> Any:
        assert type(text_embeds) is Tensor
        return forward(text_embeds=SimpleNamespace(pooler_output=text_embeds), **inputs)

    monkeypatch.setattr(model, "get_text_features", lambda **inputs: features(**inputs).pooler_output)
    monkeypatch.setattr(model, "forward", forward_of_5_0)
    with torch.inference_mode():
        expected = segmenter.model.encode(picture).find({"hat": 0.0})["hat"]
        found = older.model.encode(picture).find({"hat": 0.0})["hat"]
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.masks, expected.masks)


def test_words_longer_than_the_model_reads_are_cut(segmenter, picture):
    with torch.inference_mode():
        found = segmenter.model.encode(picture).find({"a very long word " * 20: 0.0})
    assert all(torch.isfinite(instances.scores).all() for instances in found.values())


def test_absent_weights_are_offered_with_an_ungated_alternative(tmp_path):
    reason = sam3.missing({"sam3": [tmp_path]})
    assert reason is not None
    for said in (
        "facebook/sam3",
        "SAM License",
        "3.4 GB",
        "gated",
        "from huggingface_hub import login",
        "Comfy-Org/sam3.1",
        str(tmp_path),
    ):
        assert said in reason
    with pytest.raises(MissingWeightsError, match="has no weights"):
        sam3.load({"sam3": [tmp_path]})


def test_an_old_transformers_is_named_with_the_command(monkeypatch, tiny_sam3):
    from semantic_focus.segmenters import model_files

    monkeypatch.setattr(model_files, "version", lambda package: "4.57.1")
    reason = sam3.missing({"sam3": [tiny_sam3]})
    assert reason and "transformers 5.0 or newer" in reason and "4.57.1" in reason
    assert "pip install 'transformers>=5.0'" in reason


# a small fake of ComfyUI 0.28: the names, arguments and results that its SAM 3 has, and none of its network
FAKE_COMFY = {
    "comfy/__init__.py": "",
    "comfy/ldm/__init__.py": "",
    "comfy/ldm/sam3/__init__.py": "",
    "comfy/model_management.py": """
import torch
loaded = []
def load_model_gpu(patcher): loaded.append(patcher)
def get_torch_device(): return torch.device("cpu")
""",
    "comfy/sd.py": """
import torch
from types import SimpleNamespace
from torch import nn

class Decoder(nn.Module):
    def forward(self, text):
        return {"decoder_output": text, "pred_boxes": None, "presence": text.mean().reshape(1, 1)}

class Trunk(nn.Module):
    calls = 0
    def forward(self, x):
        Trunk.calls += 1
        assert x.shape == (1, 3, 1008, 1008), x.shape
        return nn.functional.avg_pool2d(x, 14).mean(1, keepdim=True)

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        vision = nn.Module()
        vision.trunk = Trunk()
        resizer = nn.Linear(4, 2)
        nn.init.constant_(resizer.weight, 0.5)
        nn.init.zeros_(resizer.bias)
        self.backbone = nn.ModuleDict(
            {"vision_backbone": vision, "language_backbone": nn.ModuleDict({"resizer": resizer})}
        )
        self.transformer = nn.Module()
        self.transformer.decoder = Decoder()

    def forward_from_trunk(self, trunk_out, text_embeddings, text_mask):
        assert text_embeddings.shape == (1, 32, 2) and text_mask.dtype == torch.bool
        self.transformer.decoder(text_embeddings)
        scores = torch.tensor([[2.0, 1.0, -9.0]])
        masks = (trunk_out - 0.5) * torch.tensor([8.0, -8.0, 1.0]).view(1, 3, 1, 1)
        return {"boxes": torch.zeros(1, 3, 4), "scores": scores, "masks": masks}

class Clip:
    words = []
    def tokenize(self, text):
        assert "," not in text and ":" not in text
        return text
    def encode_from_tokens(self, tokens, return_pooled=False, return_dict=False):
        self.words.append(tokens)
        mask = (torch.arange(32) < 3).long()[None]
        return {"cond": torch.full((1, 32, 4), 1.0), "pooled_output": None, "attention_mask": mask}

class SAM3: pass

def load_checkpoint_guess_config(path, output_vae=True, output_clip=True, output_clipvision=False):
    model = SAM3()
    model.diffusion_model = SimpleNamespace(detector=Detector())
    model.get_dtype = lambda: torch.float32
    return SimpleNamespace(model=model), Clip(), None, None
""",
}


@pytest.fixture
def fake_comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, content in FAKE_COMFY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "comfy"]:
        del sys.modules[name]


def test_outside_comfyui_there_is_no_model_of_comfyui():
    reason = sam3_comfy.missing({})
    assert reason and "inside ComfyUI only" in reason


def test_a_comfyui_without_sam3_is_told_its_version(fake_comfy):
    (fake_comfy / "comfy/ldm/sam3/__init__.py").unlink()
    (fake_comfy / "comfy/ldm/sam3").rmdir()
    reason = sam3_comfy.missing({"checkpoints": [fake_comfy / "checkpoints"]})
    assert reason and "this ComfyUI has no SAM 3 (needs 0.28 or newer)" in reason


def test_a_comfyui_without_the_checkpoint_is_told_where_it_comes_from(fake_comfy):
    reason = sam3_comfy.missing({"checkpoints": [fake_comfy / "checkpoints"]})
    assert reason and "sam3.1-comfy" in reason and str(fake_comfy / "checkpoints") in reason


def test_comfyuis_model_keeps_all_detections_and_encodes_the_picture_once(fake_comfy):
    (fake_comfy / "checkpoints" / "SAM3.1_multiplex_fp16.safetensors").write_bytes(stand_ins.SAFETENSORS)
    folders = {"checkpoints": [fake_comfy / "checkpoints"]}
    assert sam3_comfy.missing(folders) is None
    segmenter = sam3_comfy.load(folders)
    picture = torch.zeros(2, 20, 30, 3)
    picture[:, :, :15] = 1
    prompts = {"face": Prompt(("face", "eyes: 5")), "hair": Prompt(("hair",))}
    result = segmenter.segment(picture, SegmentRequest(prompts, "off"))
    comfy_sd = sys.modules["comfy.sd"]
    assert comfy_sd.Trunk.calls == 2
    assert sorted(comfy_sd.Clip.words) == ["eyes 5", "face", "hair", "person"]
    # the presence logit is the text's mean, 4 * 1.0 * 0.5 = 2; the queries' own logits are 2 and 1
    sure = 1 / (1 + 2.718281828**-2)
    scores = [sure * sure, sure / (1 + 2.718281828**-1)]
    assert scores[1] > 0.5
    assert result.provenance["scores"].count(f"{scores[0]:.4f}") == 4
    # the two detections are one half of the picture each
    left, right = result.persons[0]
    assert left[:, 2].min() > 0.9 and right[:, 2].max() < 0.1
    assert right[:, -3].min() > 0.9 and left[:, -3].max() < 0.1
    assert result.region("face")[0, :, 2].min() > 0.9
