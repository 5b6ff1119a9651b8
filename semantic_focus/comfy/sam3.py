"""SAM 3 as ComfyUI itself loads it, from a checkpoint: the picture encoded once, every detection kept.

ComfyUI's own detection node encodes the picture for each prompt and keeps one detection unless the prompt
says otherwise; the model's parts are called here in the order in which ComfyUI tracks videos with them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..segmenters.damage import loading
from ..segmenters.model_files import find_files, fingerprint, first_found, missing_message, offers
from ..segmenters.prompted import Instances, PromptedSegmenter
from ..segmenters.protocol import Segmenter, WeightFolders
from ..segmenters.runtimes import is_installed

NAME = "sam3_comfy"
FOLDER = "checkpoints"

REVISION = 1
"""Raised with every change of what is made of the model's output: older cached masks are stale then."""

SIDE = 1008
"""Pictures are shown to the model at this width and height, in 0..1, as ComfyUI's node does."""
THRESHOLD = 0.5


def missing(folders: WeightFolders = MappingProxyType({})) -> str | None:
    """What keeps ComfyUI's SAM 3 from being loaded, and what to do about it; None when nothing does."""
    if not is_installed("comfy.model_management"):
        return f"segmentation backend {NAME!r} runs inside ComfyUI only, and this is not ComfyUI"
    if not is_installed("comfy.ldm.sam3"):
        return "this ComfyUI has no SAM 3 (needs 0.28 or newer): update ComfyUI, or use another backend"
    return None if _files(folders) else missing_message(NAME, ["sam3.1-comfy"], folders)


def weights_id(folders: WeightFolders = MappingProxyType({})) -> str:
    """Names the checkpoint that `load` takes.

    Raises:
        MissingWeightsError: there is none, or no ComfyUI that can load it.
    """
    return f"{fingerprint(first_found(_files(folders), missing(folders)))} revision {REVISION}"


def load(folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
    """Load the checkpoint through ComfyUI, which decides device and precision itself, whatever `device` says.

    Raises:
        MissingWeightsError: the checkpoint or a new enough ComfyUI is not there.
        ValueError: the file is no SAM 3.
    """
    file = first_found(_files(folders), missing(folders))
    import comfy.sd

    with loading(NAME, file, offers(["sam3.1-comfy"], folders)):
        patcher, clip = comfy.sd.load_checkpoint_guess_config(
            str(file), output_vae=False, output_clip=True, output_clipvision=False
        )[:2]
    if patcher is None or not hasattr(patcher.model.diffusion_model, "detector"):
        raise ValueError(f"{file} is no SAM 3 checkpoint: rename it so that 'sam3' is not in its name")
    return PromptedSegmenter(Sam3OfComfy(patcher, clip, weights_id(folders)))


def _files(folders: WeightFolders) -> list[Path]:
    return find_files(folders, [FOLDER], [".safetensors"], lambda name: "sam3" in name)


class Sam3OfComfy:
    """A loaded checkpoint, which ComfyUI moves: there are no `modules`. Encodings of words are kept."""

    name = NAME
    threshold = THRESHOLD
    modules: Sequence[nn.Module] = ()

    def __init__(self, patcher: Any, clip: Any, weights: str):
        self.weights_id = weights
        self.details: Mapping[str, str] = {"detector": type(patcher.model).__name__}
        self._patcher, self._clip = patcher, clip
        self._words: dict[str, tuple[Tensor, Tensor]] = {}

    def encode(self, image: Tensor) -> "EncodedByComfy":
        """Run the vision trunk on Float[H, W, 3] in 0..1; its words are encoded when they are asked for."""
        return EncodedByComfy(self, image)

    def to_device(self) -> tuple[Any, torch.device, torch.dtype]:
        """The model on ComfyUI's device, that device, and the model's precision."""
        import comfy.model_management

        comfy.model_management.load_model_gpu(self._patcher)
        model = self._patcher.model
        return model.diffusion_model.detector, comfy.model_management.get_torch_device(), model.get_dtype()

    def word(self, word: str) -> tuple[Tensor, Tensor]:
        """Text embedding Float[1, L, D] and mask Int[1, L] of a word.

        ComfyUI reads a comma as the next prompt and a colon as the number of detections wanted.
        """
        if word not in self._words:
            said = " ".join(word.replace(",", " ").replace(":", " ").split())
            encoded = self._clip.encode_from_tokens(
                self._clip.tokenize(said), return_pooled=True, return_dict=True
            )
            mask = encoded.get("attention_mask")
            embedding = encoded["cond"]
            self._words[word] = (embedding, torch.ones(embedding.shape[:2]) if mask is None else mask)
        return self._words[word]


class EncodedByComfy:
    """A picture for ComfyUI's SAM 3."""

    def __init__(self, model: Sam3OfComfy, image: Tensor):
        self._model, self._image = model, image

    def find(self, thresholds: Mapping[str, float]) -> dict[str, Instances]:
        """Instances by word; a score is the query's own times that of the word being there at all.

        All words are encoded first: ComfyUI may swap the text encoder for the detector.
        """
        texts = {word: self._model.word(word) for word in thresholds}
        detector, device, dtype = self._model.to_device()
        frame = functional.interpolate(
            self._image.movedim(-1, 0)[None], (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        presence: list[Tensor] = []
        # the detector computes this score and leaves it out of what it returns
        hook = detector.transformer.decoder.register_forward_hook(
            lambda module, arguments, output: presence.append(output["presence"])
        )
        try:
            trunk = detector.backbone["vision_backbone"].trunk(frame.to(device=device, dtype=dtype))
            resizer = detector.backbone["language_backbone"]["resizer"]
            found = {}
            for word, (embedding, mask) in texts.items():
                text = resizer(embedding.to(device=device, dtype=dtype))
                output = detector.forward_from_trunk(trunk, text, mask.to(device).bool())
                there = presence.pop().float().sigmoid().reshape(1)
                scores = output["scores"][0].float().sigmoid() * there
                kept = scores >= thresholds[word]
                masks = output["masks"][0][kept].float().sigmoid()
                found[word] = Instances(masks.cpu(), scores[kept].cpu())
            return found
        finally:
            hook.remove()
