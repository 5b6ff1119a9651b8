"""Segmenters behind one small protocol, and the one table that names them.

A backend is a module with three functions, and is imported when it is first asked for, never with the
package: segmenter runtimes are heavy and optional.

    missing(folders) -> str | None    why it cannot run here and what to do about it; None when it can. Cheap.
    weights_id(folders) -> str        names the weights that `load` would take, without loading them. Cheap.
    load(folders, device) -> Segmenter
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor, nn

from ..categories import SEMANTIC_CATEGORIES
from ..keywords import Prompt
from ..masks import SemanticMasks

WeightFolders = Mapping[str, Sequence[Path]]
"""Where to look for weights: the folders of each kind, by the name that ComfyUI's models folder gives it."""


@dataclass(frozen=True)
class SegmentRequest:
    """What to find in the pictures.

    Attributes:
        prompts: each wanted category with its words; a backend without text prompts goes by the category
            names.
        refine: one of `refine.REFINEMENTS`.
        keep_overlaps: leave the regions as they were found instead of sharing every pixel out between them
            (see `masks.partition`).
    """

    prompts: Mapping[str, Prompt] = field(
        default_factory=lambda: {
            name: Prompt(category.keywords) for name, category in SEMANTIC_CATEGORIES.items()
        }
    )
    refine: str = "fast"
    keep_overlaps: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The wanted categories, in order."""
        return tuple(self.prompts)


class Segmenter(Protocol):
    """Finds persons and their parts. `name` and `weights_id` go into every cache file.

    `modules` are the networks that ComfyUI may move between devices; empty when there are none of torch.
    """

    name: str
    weights_id: str
    modules: Sequence[nn.Module]

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """Segment every picture of a batch.

        Args:
            images: Float[B, H, W, 3] in 0..1, sRGB.
            request: categories wanted; the result has exactly these labels, in this order.

        Returns:
            Masks of the pictures' own size. A picture without a person gives background 1 and zeros
            elsewhere.
        """
        ...


@dataclass(frozen=True)
class Backend:
    """Where a segmenter lives and what to say about it.

    `module` is relative to this package. `prompted`: it goes by the words of a request, not by its category
    names alone. `opt_in`: "auto" never takes it, because of its licence. `overlaps`: it can leave regions
    overlapping. `variant`: one key of the module's
    `VARIANTS`, for example one size of a model; "auto" goes by the module itself, which takes the best.
    """

    module: str
    tier: str
    description: str
    prompted: bool = True
    opt_in: bool = False
    overlaps: bool = True
    variant: str = ""


class BackendFunctions(Protocol):
    """What a backend is to its users; see the top of this file."""

    def missing(self, folders: WeightFolders = ..., /) -> str | None: ...
    def weights_id(self, folders: WeightFolders = ..., /) -> str: ...
    def load(self, folders: WeightFolders = ..., device: str = ..., /) -> Segmenter: ...


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "sam3": Backend(".sam3", "best", "SAM 3 (transformers): regions and persons by words"),
        "sam3_comfy": Backend(
            ".sam3_comfy", "best", "SAM 3 from ComfyUI's checkpoints, ComfyUI 0.28 or newer"
        ),
        "sam2": Backend(
            ".sam2",
            "standard",
            "the largest SAM 2 here, in boxes of GroundingDINO or of the embedded detector",
        ),
        **{
            f"sam2_{size}": Backend(".sam2", "standard", f"SAM 2, {size} only", variant=size)
            for size in ("large", "base_plus", "small", "tiny")
        },
        "mediapipe": Backend(
            ".mediapipe",
            "fast",
            "face, pose and person networks, CPU, no model hub (embedded default)",
            overlaps=False,
            prompted=False,
        ),
        "segformer": Backend(
            ".parser_segformer",
            "standard",
            "SegFormer human parser of your choice: mind its licence",
            prompted=False,
            opt_in=True,
        ),
        "selfie": Backend(
            ".parser_selfie",
            "fast",
            "multi-class selfie network, one portrait, CPU",
            prompted=False,
            opt_in=True,
        ),
    }
)
"""All backends, the best first: "auto" takes the first that can run."""

WEIGHT_KINDS = ("mediapipe", "sam3", "sam2", "sams", "grounding-dino", "parsers", "checkpoints")
"""Folders of ComfyUI's models folder in which the backends look for weights."""

TIERS = ("fast", "standard", "best")


class MissingWeightsError(FileNotFoundError):
    """Weights or a runtime that a backend needs are not on this machine; the message says how to get them."""


def backend_module(name: str) -> BackendFunctions:
    """The functions of a backend of the table: its module, or one variant of it.

    Raises:
        ValueError: no such backend.
    """
    if name not in BACKENDS:
        raise ValueError(f"no segmentation backend {name!r}; there are auto, {', '.join(BACKENDS)}")
    module: Any = import_module(BACKENDS[name].module, __package__)
    variant = BACKENDS[name].variant
    return module.VARIANTS[variant] if variant else module


def choose(name: str, folders: WeightFolders = MappingProxyType({})) -> str:
    """The backend to run: `name` itself, for "auto" the best that can run, for a tier the best of it.

    Raises:
        ValueError: no such backend or tier.
        MissingWeightsError: a tier or "auto" was asked for and none of its backends can run here.
    """
    if name in BACKENDS:
        return name
    if name != "auto" and name not in TIERS:
        raise ValueError(f"no segmentation backend {name!r}; there are auto, {', '.join(BACKENDS)}")
    reasons = []
    for candidate, backend in BACKENDS.items():
        if not backend.opt_in and not backend.variant and name in ("auto", backend.tier):
            reason = backend_module(candidate).missing(folders)
            if reason is None:
                return candidate
            reasons.append(f"{candidate}: {reason}")
    raise MissingWeightsError("no segmenter can run here.\n" + "\n".join(reasons))


@lru_cache(maxsize=2)
def _loaded(
    name: str, weights_id: str, folders: tuple[tuple[str, tuple[Path, ...]], ...], device: str
) -> Segmenter:
    """`weights_id` only tells one state of the folders from another: new weights are loaded anew."""
    return backend_module(name).load(dict(folders), device)


@dataclass(frozen=True)
class LazySegmenter:
    """A backend of the table that is loaded when its first picture comes, so that cached masks need no model.

    Attributes:
        name: key in `BACKENDS`; "auto" or a tier is replaced by the one it stands for, see `choose`.
        folders: where to look for weights before the backend's default folder.
        device: where its networks run, as torch names it.
    """

    name: str
    folders: WeightFolders = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self):
        object.__setattr__(self, "name", choose(self.name, self.folders))

    @cached_property
    def weights_id(self) -> str:
        """Names the weights, in every cache file. Read once: it takes file I/O, and `get` asks for it."""
        return backend_module(self.name).weights_id(self.folders)

    @property
    def prompted(self) -> bool:
        """Whether the words of a request make a difference."""
        return BACKENDS[self.name].prompted

    @property
    def overlaps(self) -> bool:
        """Whether `SegmentRequest.keep_overlaps` makes a difference."""
        return BACKENDS[self.name].overlaps

    def get(self) -> Segmenter:
        """The loaded segmenter; the two used last stay loaded.

        Raises:
            MissingWeightsError: runtime or weights are not installed.
        """
        folders = tuple((kind, tuple(Path(p) for p in paths)) for kind, paths in self.folders.items())
        return _loaded(self.name, self.weights_id, folders, self.device)
