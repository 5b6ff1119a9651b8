"""GroundingDINO through transformers, from a folder on disk: boxes by words, all words in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..damage import loading
from ..model_files import find_model_folders, offers
from ..pretrained import pretrained
from ..protocol import WeightFolders

FOLDER = "grounding-dino"
MODEL_TYPES = ("grounding-dino",)
THRESHOLD = 0.3
SAME_BOX = 0.8
"""Two boxes of one word with this much of their union in common are one."""


@dataclass(frozen=True)
class Boxes:
    """What one word found: boxes Float[N, 4] as (x0, y0, x1, y1) in shares of the picture's sides, and scores
    Float[N] in 0..1, the best first.
    """

    boxes: Tensor
    scores: Tensor


def find_detector(folders: WeightFolders) -> Path | None:
    """The first GroundingDINO in the "grounding-dino" folders; None when there is none."""
    return next(iter(find_model_folders(folders, [FOLDER], MODEL_TYPES)), None)


def load_detector(folder: Path, device: str) -> "GroundingDino":
    """Load a saved detector, in 32 bit: its deformable attention knows no other precision everywhere.

    Raises:
        WeightsNotLoadedError: the weights are damaged.
    """
    with loading("sam2", folder, offers(["grounding-dino-tiny"], {FOLDER: [folder.parent]})):
        from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

        model = pretrained(GroundingDinoForObjectDetection, folder, torch.float32)
        processor = GroundingDinoProcessor.from_pretrained(folder, local_files_only=True)
    return GroundingDino(model.to(device).eval(), processor)


class GroundingDino:
    """A loaded detector."""

    def __init__(self, model: Any, processor: Any):
        self.module: nn.Module = model
        self._model, self._processor = model, processor

    def detect(self, image: Tensor, thresholds: Mapping[str, float]) -> dict[str, Boxes]:
        """Boxes of every word with at least that word's score.

        Args:
            image: Float[H, W, 3] in 0..1.
        """
        pixels = self._processor.image_processor(
            (image * 255).round().byte().movedim(-1, 0),
            input_data_format="channels_first",
            return_tensors="pt",
        ).to(next(self._model.parameters()).device)
        tokenizer = self._processor.tokenizer
        tokens = {word: tokenizer(_phrase(word), add_special_tokens=False).input_ids for word in thresholds}
        found = {}
        for chunk in _chunks(tokens, self._model.config.max_text_len - 2):
            ids = [token for word in chunk for token in (*tokens[word], self._stop())]
            output = self._run(pixels, [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id])
            start = 1
            for word in chunk:
                end = start + len(tokens[word])
                # as in the model's own post-processing, a phrase is as sure as the surest of its tokens
                score = output.logits[0, :, start:end].sigmoid().amax(-1)
                found[word] = _best(output.pred_boxes[0], score, thresholds[word])
                start = end + 1
        return found

    def _stop(self) -> int:
        return self._processor.tokenizer.convert_tokens_to_ids(".")

    def _run(self, pixels: Any, ids: Sequence[int]) -> Any:
        text = torch.tensor([ids], device=pixels.pixel_values.device)
        return self._model(
            pixel_values=pixels.pixel_values,
            pixel_mask=pixels.pixel_mask,
            input_ids=text,
            token_type_ids=torch.zeros_like(text),
            attention_mask=torch.ones_like(text),
        )


def _phrase(word: str) -> str:
    """A word without the marks that end a phrase."""
    return " ".join(word.lower().replace(".", " ").replace("?", " ").split()) or "thing"


def _chunks(tokens: Mapping[str, Sequence[int]], limit: int) -> list[list[str]]:
    """Words in groups of at most `limit` tokens, each word with the stop that ends it."""
    groups: list[list[str]] = [[]]
    used = 0
    for word, ids in tokens.items():
        if used and used + len(ids) + 1 > limit:
            groups.append([])
            used = 0
        groups[-1].append(word)
        used += len(ids) + 1
    return groups


def _best(boxes: Tensor, scores: Tensor, threshold: float) -> Boxes:
    """Boxes (centre, size) as corners inside the picture, each object once."""
    from torchvision.ops import nms

    kept = scores >= threshold
    centre, half = boxes[kept, :2], boxes[kept, 2:] / 2
    corners = torch.cat((centre - half, centre + half), 1).float().clamp(0, 1)
    order = nms(corners, scores[kept].float(), SAME_BOX)
    return Boxes(corners[order].cpu(), scores[kept][order].float().cpu())
