"""Human parsers of the SegFormer kind through transformers, from a folder. Opt-in: mind the licence."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ...regions.masks import SemanticMasks
from ..compose import Findings, resized, segment_pictures
from ..damage import loading
from ..model_files import (
    MODELS,
    find_model_folders,
    fingerprint,
    first_found,
    missing_message,
    missing_package,
    offers,
)
from ..pretrained import pretrained
from ..protocol import Segmenter, SegmentRequest, WeightFolders
from ..runtimes import broken
from .labels import EmbeddedPersons, regions, unsupported

NAME = "segformer"
FOLDER = "parsers"
MODEL_TYPES = ("segformer",)
OFFERED = ("segformer-clothes", "segformer-face", "segformer-fashn")

REVISION = 1
"""Raised with every change of what is made of the model's output: older cached masks are stale then."""


def missing(folders: WeightFolders = MappingProxyType({})) -> str | None:
    """What keeps a parser from being loaded, and what to do about it; None when nothing does."""
    return missing_package(NAME, "transformers", (4, 57), "transformers>=4.57") or (
        broken("transformers", "transformers")
        if _folders(folders)
        else missing_message(NAME, OFFERED, folders)
    )


def weights_id(folders: WeightFolders = MappingProxyType({})) -> str:
    """Names the parser that `load` takes, and whether it can tell persons apart.

    Raises:
        MissingWeightsError: there is none.
    """
    from ..embedded import segmenter as embedded

    persons = "no persons" if embedded.missing(folders) else embedded.weights_id(folders)
    return f"{fingerprint(first_found(_folders(folders), missing(folders)))} + {persons} revision {REVISION}"


def load(folders: WeightFolders = MappingProxyType({}), device: str = "cpu") -> Segmenter:
    """Load the first parser of the "parsers" folders, in 32 bit.

    Raises:
        MissingWeightsError: transformers or the weights are not on this machine.
        ValueError: the parser names no part of a person that we know.
    """
    folder = first_found(_folders(folders), missing(folders))
    with loading(NAME, folder, offers(OFFERED, folders)):
        from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

        model = pretrained(SegformerForSemanticSegmentation, folder, torch.float32)
        processor = SegformerImageProcessor.from_pretrained(folder, local_files_only=True)
    parser = SegformerParser(
        model.to(device).eval(), processor, EmbeddedPersons(folders), weights_id(folders), licence(folder)
    )
    if not regions(torch.zeros(len(parser.labels), 1, 1), parser.labels, ()):
        raise ValueError(
            f"{folder / 'config.json'}: id2label names no part of a person that is known here "
            f"({', '.join(parser.labels[:8])}...): take another parser, for example {MODELS[OFFERED[0]].hub}"
        )
    return parser


def licence(folder: Path) -> str:
    """The licence of a parser of the table, told by its folder's name."""
    known = {MODELS[name].hub.split("/")[1]: MODELS[name].licence for name in OFFERED}
    return known.get(folder.name, "unknown, see where it was downloaded from")


def _folders(folders: WeightFolders) -> list[Path]:
    return find_model_folders(folders, [FOLDER], MODEL_TYPES)


class SegformerParser:
    """A loaded parser. Its labels are mapped to our categories by name; words make no difference."""

    name = NAME

    def __init__(self, model: Any, processor: Any, persons: EmbeddedPersons, weights: str, licence: str):
        self.weights_id = weights
        self.modules: Sequence[nn.Module] = (model,)
        names = model.config.id2label
        self.labels = tuple(str(names[index]) for index in sorted(names))
        self._model, self._processor, self._persons = model, processor, persons
        self._licence = licence

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """See `Segmenter.segment`; words, exclusions and thresholds make no difference."""
        provenance = {
            "backend": self.name,
            "weights": self.weights_id,
            "licence": self._licence,
            "unsupported": unsupported(self.labels, request.labels),
            **self._persons.details,
        }
        with torch.inference_mode():
            return segment_pictures(images, request, lambda picture: self._find(picture, request), provenance)

    def _find(self, picture: Tensor, request: SegmentRequest) -> Findings:
        size = (picture.shape[0], picture.shape[1])
        pixels = self._processor(
            (picture * 255).round().byte().movedim(-1, 0),
            input_data_format="channels_first",
            return_tensors="pt",
        ).pixel_values
        logits = self._model(pixel_values=pixels.to(next(self._model.parameters()))).logits[0]
        shares = logits.float().softmax(0).cpu()
        found = regions(shares, self.labels, request.labels)
        persons = self._persons.find(picture)
        return Findings(
            {name: resized(layer[None], size)[0] for name, layer in found.items()},
            None if persons is None else resized(persons, size),
            shared_out=True,
        )
