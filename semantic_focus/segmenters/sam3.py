"""SAM 3 through transformers, from a folder on disk: instances by words, the picture encoded once."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from .damage import loading
from .model_files import (
    find_model_folders,
    fingerprint,
    first_found,
    missing_message,
    missing_package,
    offers,
)
from .pretrained import pretrained
from .prompted import Instances, PromptedSegmenter
from .protocol import Segmenter, WeightFolders
from .runtimes import broken

NAME = "sam3"
FOLDER = "sam3"
MODEL_TYPES = ("sam3", "sam3_video")
OLDEST_TRANSFORMERS = (5, 0)

REVISION = 1
"""Raised with every change of what is made of the model's output: older cached masks are stale then."""

THRESHOLD = 0.5
WORDS_AT_ONCE = 4
"""Words per pass: one by one takes up to a third longer, and a pass holds 200 masks of 288x288 for each."""


def missing(folders: WeightFolders = MappingProxyType({})) -> str | None:
    """What keeps SAM 3 from being loaded, and what to do about it; None when nothing does."""
    return missing_package(NAME, "transformers", OLDEST_TRANSFORMERS, "transformers>=5.0") or (
        broken("transformers", "transformers")
        if _folders(folders)
        else missing_message(NAME, ["sam3"], folders)
    )


def weights_id(folders: WeightFolders = MappingProxyType({})) -> str:
    """Names the folder that `load` takes and what is in it.

    Raises:
        MissingWeightsError: there is none.
    """
    return f"{fingerprint(first_found(_folders(folders), missing(folders)))} revision {REVISION}"


def load(folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
    """Load the first SAM 3 found in the "sam3" folders, without asking the hub for anything.

    Raises:
        MissingWeightsError: transformers or the weights are not on this machine.
        WeightsNotLoadedError: the weights are damaged.
    """
    folder = first_found(_folders(folders), missing(folders))
    with loading(NAME, folder, offers(["sam3"], folders)):
        from transformers import Sam3Model, Sam3Processor

        model = pretrained(Sam3Model, folder, precision(device))
        processor = Sam3Processor.from_pretrained(folder, local_files_only=True)
    return PromptedSegmenter(Sam3(model.to(device).eval(), processor, weights_id(folders)))


def precision(device: str) -> torch.dtype:
    """32 bit on the CPU; on a GPU 16 bit, of the kind that it computes natively."""
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _folders(folders: WeightFolders) -> list[Path]:
    return find_model_folders(folders, [FOLDER], MODEL_TYPES)


class Sam3:
    """A loaded SAM 3. The encodings of words are kept: they do not depend on the picture."""

    name = NAME
    threshold = THRESHOLD

    def __init__(self, model: Any, processor: Any, weights: str):
        import transformers

        self.weights_id = weights
        self.modules: Sequence[nn.Module] = (model,)
        self.details: Mapping[str, str] = {"transformers": transformers.__version__}
        self._model, self._processor = model, processor
        self._words: dict[str, tuple[Tensor, Tensor]] = {}
        self._as_features: Callable[[Tensor], Any] = lambda text: text

    def encode(self, image: Tensor) -> "EncodedBySam3":
        """Run the vision encoder on Float[H, W, 3] in 0..1."""
        pixels = self._processor.image_processor(
            (image * 255).round().byte().movedim(-1, 0),
            input_data_format="channels_first",
            return_tensors="pt",
        ).pixel_values
        return EncodedBySam3(self, self._model.get_vision_features(pixel_values=pixels.to(self._place())))

    def detect(self, vision: Any, words: Sequence[str]) -> Any:
        """The model's output for several words on one encoded picture, batched over the words."""
        features, masks = zip(*(self._encoded(word) for word in words), strict=True)
        place = self._place()
        return self._model(
            vision_embeds=_repeated(vision, len(words)),
            text_embeds=self._as_features(torch.cat(features).to(place)),
            attention_mask=torch.cat(masks).to(place.device),
        )

    def _place(self) -> Tensor:
        """A parameter: the device and precision that the model has now."""
        return next(self._model.parameters())

    def _encoded(self, word: str) -> tuple[Tensor, Tensor]:
        """Text features Float[1, L, D] and attention mask Int[1, L] of a word."""
        if word not in self._words:
            length = self._model.config.text_config.max_position_embeddings
            tokens = self._processor.tokenizer(
                [word], return_tensors="pt", padding="max_length", max_length=length, truncation=True
            ).to(self._place().device)
            features = self._model.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            )
            if not isinstance(features, Tensor):
                # transformers 5.0 returns and takes the tensor, later releases an output object around it
                features = features.pooler_output
                self._as_features = _output_object
            self._words[word] = (features, tokens.attention_mask)
        return self._words[word]


def _output_object(text: Tensor) -> Any:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=text)  # type: ignore[arg-type]


def _repeated(vision: Any, times: int) -> Any:
    """The vision encoding as a batch of the same picture; no copy is made."""
    if times == 1:
        return vision
    return type(vision)(
        fpn_hidden_states=tuple(level.expand(times, -1, -1, -1) for level in vision.fpn_hidden_states),
        fpn_position_encoding=tuple(
            level.expand(times, -1, -1, -1) for level in vision.fpn_position_encoding
        ),
    )


class EncodedBySam3:
    """A picture that SAM 3 has seen."""

    def __init__(self, model: Sam3, vision: Any):
        self._model, self._vision = model, vision

    def find(self, thresholds: Mapping[str, float]) -> dict[str, Instances]:
        """Instances by word; a score is the query's own times that of the word being there at all."""
        words, found = list(thresholds), {}
        for start in range(0, len(words), WORDS_AT_ONCE):
            chunk = words[start : start + WORDS_AT_ONCE]
            output = self._model.detect(self._vision, chunk)
            scores = (output.pred_logits.sigmoid() * output.presence_logits.sigmoid()).float()
            for word, score, logits in zip(chunk, scores, output.pred_masks, strict=True):
                kept = score >= thresholds[word]
                found[word] = Instances(logits[kept].float().sigmoid().cpu(), score[kept].cpu())
        return found
