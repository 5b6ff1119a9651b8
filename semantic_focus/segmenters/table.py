"""The one table of segmenters, and which of them to run.

A backend of the table is a module that keeps `protocol.BackendFunctions`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..categories import SEMANTIC_CATEGORIES
from ..keywords import Prompt
from .protocol import BackendFunctions, MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from .runtimes import broken, taken_on_trust


@dataclass(frozen=True)
class Backend:
    """Where a segmenter lives and what to say about it.

    `module` is relative to `package`. `prompted`: it goes by the words of a request, not by its category
    names alone. `fixed`: it finds the categories of the vocabulary, each for itself, and no others; None: the
    module's `is_fixed(folders)` knows. `opt_in`: "auto" never takes it, because of its licence. `overlaps`:
    it can leave regions overlapping. `variant`: one key of the module's `VARIANTS`, for example one size of a
    model; "auto" goes by the module itself, which takes the best.
    """

    module: str
    tier: str
    description: str
    prompted: bool = True
    fixed: bool | None = False
    opt_in: bool = False
    overlaps: bool = True
    variant: str = ""
    package: str = __package__ or ""

    def functions(self) -> BackendFunctions:
        """Import the module, or the variant of it."""
        module: Any = import_module(self.module, self.package)
        return module.VARIANTS[self.variant] if self.variant else module


SegmenterTable = Mapping[str, Backend]
"""A table of segmenters by name, the best first: "auto" takes the first that can run."""

BACKENDS: SegmenterTable = MappingProxyType(
    {
        "sam3": Backend(".sam3", "best", "SAM 3 (transformers): regions and persons by words"),
        "sam2": Backend(
            ".sam2.segmenter",
            "standard",
            "the largest SAM 2 here, in boxes of GroundingDINO or of the embedded detector",
            fixed=None,
        ),
        **{
            f"sam2_{size}": Backend(
                ".sam2.segmenter", "standard", f"SAM 2, {size} only", fixed=None, variant=size
            )
            for size in ("large", "base_plus", "small", "tiny")
        },
        "mediapipe": Backend(
            ".embedded.segmenter",
            "fast",
            "face, pose and person networks, CPU, no model hub (embedded default)",
            overlaps=False,
            prompted=False,
            fixed=True,
        ),
        "segformer": Backend(
            ".parsers.segformer",
            "standard",
            "SegFormer human parser of your choice: mind its licence",
            prompted=False,
            opt_in=True,
        ),
        "selfie": Backend(
            ".parsers.selfie",
            "fast",
            "multi-class selfie network, one portrait, CPU",
            prompted=False,
            opt_in=True,
        ),
    }
)
"""The segmenters that need no ComfyUI; `comfy.segmenters` has those that do as well."""

WEIGHT_KINDS = ("mediapipe", "sam3", "sam2", "sams", "grounding-dino", "parsers", "checkpoints")
"""Folders of ComfyUI's models folder in which the segmenters look for weights."""

TIERS = ("fast", "standard", "best")


def choose(
    name: str, folders: WeightFolders = MappingProxyType({}), table: SegmenterTable | None = None
) -> str:
    """The backend to run: `name` itself, for "auto" the best that can run, for a tier the best of it.

    Args:
        table: the segmenters to choose from; `BACKENDS` unless given.

    Raises:
        ValueError: no such backend or tier.
        MissingWeightsError: a tier or "auto" was asked for and none of its segmenters can run here.
    """
    table = BACKENDS if table is None else table
    if name in table:
        return name
    if name != "auto" and name not in TIERS:
        raise ValueError(f"no segmentation backend {name!r}; there are auto, {', '.join(table)}")
    reasons = []
    able = [
        candidate
        for candidate, backend in table.items()
        if not backend.opt_in and not backend.variant and name in ("auto", backend.tier)
    ]
    for candidate in able:
        # the last one need not prove itself: no other could take its place, and fresh masks need none of it
        with taken_on_trust() if candidate == able[-1] else nullcontext():
            reason = _missing(table[candidate], folders)
        if reason is None:
            return candidate
        reasons.append(f"{candidate}: {reason}")
    raise MissingWeightsError("no segmenter can run here.\n" + "\n".join(reasons))


def _missing(backend: Backend, folders: WeightFolders) -> str | None:
    """What keeps a segmenter from running: its runtime and weights, or OpenCV, which refines all masks."""
    return backend.functions().missing(folders) or _broken_opencv()


def _broken_opencv() -> str | None:
    return broken("cv2", "opencv-python-headless", ["resize"])


@lru_cache(maxsize=2)
def _loaded(
    backend: Backend, weights_id: str, folders: tuple[tuple[str, tuple[Path, ...]], ...], device: str
) -> Segmenter:
    """`weights_id` only tells one state of the folders from another: new weights are loaded anew."""
    if reason := _broken_opencv():
        raise MissingWeightsError(reason)
    return backend.functions().load(dict(folders), device)


@dataclass(frozen=True)
class LazySegmenter:
    """A backend of the table that is loaded when its first picture comes, so that cached masks need no model.

    Attributes:
        name: key in `table`; "auto" or a tier is replaced by the one it stands for, see `choose`.
        folders: where to look for weights before the backend's default folder.
        device: where its networks run, as torch names it.
        table: the segmenters to choose from.
    """

    name: str
    folders: WeightFolders = field(default_factory=dict)
    device: str = "cpu"
    table: SegmenterTable = field(default_factory=lambda: BACKENDS, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "name", choose(self.name, self.folders, self.table))

    def __getstate__(self) -> dict[str, object]:
        """For another process, which reads for itself what its weights are."""
        given = {"name": self.name, "folders": dict(self.folders), "device": self.device}
        return {**given, "table": dict(self.table)}

    @property
    def backend(self) -> Backend:
        """Its entry in the table."""
        return self.table[self.name]

    @property
    def prompted(self) -> bool:
        """Whether the words of a request make a difference."""
        return self.backend.prompted

    @cached_property
    def fixed(self) -> bool:
        """Whether it finds the categories of the vocabulary, each for itself, and no others. Read once."""
        if self.backend.fixed is not None:
            return self.backend.fixed
        functions: Any = self.backend.functions()
        return functions.is_fixed(self.folders)

    @property
    def overlaps(self) -> bool:
        """Whether `SegmentRequest.keep_overlaps` makes a difference."""
        return self.backend.overlaps

    def answerable(self, request: SegmentRequest) -> SegmentRequest:
        """The part of a request that makes a difference to a mask file.

        One that finds what it knows and nothing else is asked for that only, always in one order, so that
        words and categories of the user's own make no mask file stale.
        """
        if not self.fixed:
            return request
        known = [name for name in SEMANTIC_CATEGORIES if name in request.prompts]
        return replace(request, prompts={name: Prompt((name,)) for name in known or SEMANTIC_CATEGORIES})

    def cannot_look_for(self, request: SegmentRequest) -> tuple[str, ...]:
        """The categories of a request that are the user's own, where it reads no words."""
        reads_words = self.prompted and not self.fixed
        return tuple(name for name in request.labels if not reads_words and name not in SEMANTIC_CATEGORIES)

    def missing(self) -> str | None:
        """Why it cannot run here and what to do about it; None when it can."""
        return _missing(self.backend, self.folders)

    @cached_property
    def weights_id(self) -> str:
        """Names the weights, in every cache file. Read once: it takes file I/O, and `get` asks for it."""
        return self.backend.functions().weights_id(self.folders)

    def get(self) -> Segmenter:
        """The loaded segmenter; the two used last stay loaded.

        Raises:
            MissingWeightsError: runtime or weights are not installed.
        """
        folders = tuple((kind, tuple(Path(p) for p in paths)) for kind, paths in self.folders.items())
        return _loaded(self.backend, self.weights_id, folders, self.device)
