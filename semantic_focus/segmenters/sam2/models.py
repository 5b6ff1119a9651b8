"""SAM 2 in its two runtimes behind one interface: encode a picture once, then a soft mask for every box."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..damage import WeightsNotLoadedError, loading
from ..model_files import find_files, find_model_folders, missing_package, offers
from ..pretrained import pretrained
from ..protocol import WeightFolders
from ..runtimes import broken

FOLDERS = ("sam2", "sams")
SUFFIXES = (".pt", ".pth", ".safetensors")
MODEL_TYPES = ("sam2", "sam2_video")
OLDEST_TRANSFORMERS = (4, 57)
BOXES_AT_ONCE = 8

SIZES = MappingProxyType({"large": "l", "base_plus": "b+", "small": "s", "tiny": "t"})
"""Sizes, the best first, with the letter that ends their configuration's name in the package."""

SPELLINGS = MappingProxyType(
    {
        "large": {"large", "l"},
        "base_plus": {"base", "baseplus", "bplus", "b+", "b"},
        "small": {"small", "s"},
        "tiny": {"tiny", "t"},
    }
)

OVERRIDES: tuple[str, ...] = (
    "model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
)
"""What the package's own builder adds to a configuration: an unstable single mask is replaced by the best of
three."""


@dataclass(frozen=True)
class Sam2Weights:
    """SAM 2 weights on disk. `size` is a key of `SIZES` or empty, `runtime` "sam2" or "transformers"."""

    path: Path
    size: str
    runtime: str


class BoxModel(Protocol):
    """A model that outlines what is in a box."""

    module: nn.Module

    def encode(self, image: Tensor) -> "EncodedForBoxes":
        """Run the image encoder once on Float[H, W, 3] in 0..1."""
        ...


class EncodedForBoxes(Protocol):
    """A picture that a box model has seen."""

    def masks(self, boxes: Tensor) -> Tensor:
        """Float[N, h, w] in 0..1, on the CPU.

        Args:
            boxes: Float[N, 4] as (x0, y0, x1, y1) in shares of the picture's sides.
        """
        ...


def size_of(name: str) -> str:
    """The size that a file or folder name tells (sam2.1_hiera_base_plus.pt, sam2_hiera_l.pt); else ""."""
    words = set(re.split(r"[^a-z+]+", name.lower()))
    return next((size for size, spellings in SPELLINGS.items() if words & spellings), "")


def find_weights(folders: WeightFolders) -> list[Sam2Weights]:
    """All SAM 2 weights, the largest model first, those of unknown size last, whether or not they can run.

    A single file must tell its size: its tensors alone do not say how they are joined.
    """
    saved = find_model_folders(folders, FOLDERS, MODEL_TYPES)
    single = find_files(
        folders, FOLDERS, SUFFIXES, lambda name: name.startswith("sam2") and bool(size_of(name))
    )
    found = [Sam2Weights(path, size_of(path.name), "transformers") for path in saved]
    found += [Sam2Weights(path, size_of(path.name), "sam2") for path in single]
    rank = ["", *reversed(SIZES)]
    return sorted(found, key=lambda weights: rank.index(weights.size), reverse=True)


def missing_runtime(runtime: str) -> str | None:
    """What keeps a runtime from running; None when nothing does."""
    if runtime == "sam2":
        return missing_package("sam2", "sam2", (), "sam2") or broken("sam2", "sam2")
    return missing_package("sam2", "transformers", OLDEST_TRANSFORMERS, "transformers>=4.57") or broken(
        "transformers", "transformers"
    )


def load_model(weights: Sam2Weights, device: str) -> BoxModel:
    """Load SAM 2 from disk, in 32 bit.

    Raises:
        WeightsNotLoadedError: the weights are damaged, or not SAM 2 of the size that their name says.
    """
    name = f"sam2.1-{(weights.size or 'large').replace('_', '-')}"
    with loading("sam2", weights.path, offers([name], {"sam2": [weights.path.parent]})):
        if weights.runtime == "sam2":
            return Sam2Package(build(weights).to(device).eval())
        from transformers import Sam2Model, Sam2Processor

        model = pretrained(Sam2Model, weights.path, torch.float32)
        processor = Sam2Processor.from_pretrained(weights.path, local_files_only=True)
        return Sam2Transformers(model.to(device).eval(), processor)


def build(weights: Sam2Weights) -> nn.Module:
    """The package's model with the weights of a file.

    The configuration is read as the plain file that it is: the package's own builder composes it through
    hydra's global state, which another program in this process may hold.

    Raises:
        WeightsNotLoadedError: the file is not SAM 2 of the size that its name says.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    state = read_state(weights.path)
    release = "sam2.1" if "no_obj_embed_spatial" in state else "sam2"
    name = f"configs/{release}/{release}_hiera_{SIZES[weights.size]}.yaml"
    configuration = OmegaConf.merge(
        OmegaConf.load(str(files("sam2") / name)), OmegaConf.from_dotlist(list(OVERRIDES))
    )
    model = instantiate(OmegaConf.select(configuration, "model"), _recursive_=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsNotLoadedError(
            f"{weights.path} does not fit {release} {weights.size}, the size that its name says: name it "
            f"after its size ({', '.join(SIZES)}) or download it again. {str(error)[:200]}"
        ) from error
    return model.float()


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file; no code in it is ever run.

    Raises:
        WeightsNotLoadedError: it holds something else.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged archive raises depends on where it is damaged
        raise WeightsNotLoadedError(
            f"{path} is no file of tensors alone ({error}): download it again"
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsNotLoadedError(
            f"{path} holds no SAM 2 weights (a 'model' of named tensors): download it again"
        )
    return state


class Sam2Package:
    """SAM 2 through its own package."""

    def __init__(self, model: Any):
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        self.module: nn.Module = model
        self._predictor = SAM2ImagePredictor(model)

    def encode(self, image: Tensor) -> "Sam2PackagePicture":
        """Run the image encoder; the predictor holds one picture at a time, the one encoded last."""
        self._predictor.set_image((image * 255).round().byte().numpy())
        return Sam2PackagePicture(self._predictor, image.shape)


class Sam2PackagePicture:
    """The picture that the predictor holds."""

    def __init__(self, predictor: Any, shape: Sequence[int]):
        self._predictor, self._shape = predictor, shape

    def masks(self, boxes: Tensor) -> Tensor:
        """See `EncodedForBoxes.masks`."""
        if not len(boxes):
            return torch.zeros(0, 1, 1)
        found = []
        for chunk in in_pixels(boxes, self._shape).split(BOXES_AT_ONCE):
            _, _, logits = self._predictor.predict(
                box=chunk.numpy(), multimask_output=False, return_logits=True
            )
            low = torch.from_numpy(logits).float()
            found.append(low.reshape(len(chunk), *low.shape[-2:]).sigmoid())
        return torch.cat(found)


class Sam2Transformers:
    """SAM 2 through transformers."""

    def __init__(self, model: Any, processor: Any):
        self.module: nn.Module = model
        self._model, self._processor = model, processor

    def encode(self, image: Tensor) -> "Sam2TransformersPicture":
        """Run the image encoder."""
        pixels = self._processor.image_processor(
            (image * 255).round().byte().movedim(-1, 0),
            input_data_format="channels_first",
            return_tensors="pt",
        ).pixel_values.to(next(self._model.parameters()))
        embeddings = self._model.get_image_embeddings(pixels)
        return Sam2TransformersPicture(self._model, self._processor, embeddings, image.shape)


class Sam2TransformersPicture:
    """A picture that the model has seen."""

    def __init__(self, model: Any, processor: Any, embeddings: list[Tensor], shape: Sequence[int]):
        self._model, self._processor = model, processor
        self._embeddings, self._shape = embeddings, shape

    def masks(self, boxes: Tensor) -> Tensor:
        """See `EncodedForBoxes.masks`."""
        if not len(boxes):
            return torch.zeros(0, 1, 1)
        found = []
        for chunk in in_pixels(boxes, self._shape).split(BOXES_AT_ONCE):
            prompt = self._processor(
                input_boxes=[chunk.tolist()], original_sizes=[list(self._shape[:2])], return_tensors="pt"
            )
            output = self._model(
                image_embeddings=self._embeddings,
                input_boxes=prompt["input_boxes"].to(self._embeddings[-1].device),
                multimask_output=False,
            )
            found.append(output.pred_masks[0, :, 0].float().sigmoid().cpu())
        return torch.cat(found)


def in_pixels(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Float[N, 4] in pixels of a picture of (height, width), each box at least one pixel wide and high."""
    height, width = shape[0], shape[1]
    low = boxes[:, :2] * torch.tensor([width, height])
    high = boxes[:, 2:] * torch.tensor([width, height])
    return torch.cat((low, torch.maximum(high, low + 1)), 1)
