"""The segmentation node."""

import dataclasses
import json
import logging
import time
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch
from comfy_api.latest import io

from ..semantic_focus.comfy.segmenters import BACKENDS
from ..semantic_focus.datasets.answers import BY_HAND
from ..semantic_focus.datasets.cache import ABOUT_FILE, get_or_segment, picture_digest, scores_of
from ..semantic_focus.datasets.mask_header import DIGEST
from ..semantic_focus.datasets.ownership import SUFFIX
from ..semantic_focus.datasets.remarks import said_before
from ..semantic_focus.files.text import printable
from ..semantic_focus.keywords import format_keywords, parse_keywords
from ..semantic_focus.regions.doubts import FIELD as DOUBTS
from ..semantic_focus.regions.doubts import as_field, doubts_of
from ..semantic_focus.regions.masks import PICTURE, SemanticMasks
from ..semantic_focus.regions.packed import PackedMasks
from ..semantic_focus.regions.refine import REFINEMENTS
from ..semantic_focus.segmenters.protocol import Segmenter, SegmentRequest
from ..semantic_focus.segmenters.table import WEIGHT_KINDS, LazySegmenter
from .changes import ReadsFiles, note, note_file
from .inputs import Parsed
from .paths import file_to_write
from .preview import mask_preview
from .shown import MADE_ELSEWHERE, SHOWN, Kept, kept_file
from .sockets import CATEGORY, SemanticMasksSocket

COMFY_KINDS = ("checkpoints",)
"""Kinds of weight folders that ComfyUI knows by itself; the others are registered."""


def register_weight_folders() -> None:
    """Make models/<kind> a place where ComfyUI (and extra_model_paths.yaml) can keep weights.

    Folders that are known already, from a configuration or another pack, stay.
    """
    for kind in set(WEIGHT_KINDS).difference(COMFY_KINDS):
        folder_paths.add_model_folder_path(kind, str(Path(folder_paths.models_dir) / kind))


def weight_folders() -> dict[str, list[Path]]:
    """Where ComfyUI keeps the weights of each kind."""
    return {kind: [Path(f) for f in folder_paths.get_folder_paths(kind)] for kind in WEIGHT_KINDS}


_PATCHERS: WeakKeyDictionary[Segmenter, comfy.model_patcher.ModelPatcher] = WeakKeyDictionary()
"""One for each loaded segmenter; it goes when the segmenter goes."""


def _patcher(segmenter: Segmenter, device: torch.device) -> comfy.model_patcher.ModelPatcher:
    """The networks of a loaded segmenter as one model of ComfyUI's.

    The list around them is what ComfyUI writes its notes
    to: a network's own `device` may be read-only.
    """
    if segmenter not in _PATCHERS:
        offload = comfy.model_management.unet_offload_device()
        networks = torch.nn.ModuleList(segmenter.modules).to(offload)
        _PATCHERS[segmenter] = comfy.model_patcher.ModelPatcher(networks, device, offload)
    return _PATCHERS[segmenter]


class ManagedSegmenter(LazySegmenter):
    """A segmenter whose networks ComfyUI moves to its device, and away when others need the memory."""

    def get(self) -> Segmenter:
        """The segmenter, its networks on the device.

        Raises:
            MissingWeightsError: runtime or weights are not installed.
        """
        try:
            segmenter = super().get()
        except torch.cuda.OutOfMemoryError:
            comfy.model_management.unload_all_models()
            comfy.model_management.soft_empty_cache()
            segmenter = super().get()
        device = torch.device(self.device)
        if segmenter.modules and device.type != "cpu":
            comfy.model_management.load_models_gpu([_patcher(segmenter, device)], force_full_load=True)
        return segmenter


def segmenter_in_use(backend: str) -> str:
    """Names the segmenter that a choice stands for, and its weights; none is loaded.

    Raises:
        MissingWeightsError: none can run here, or its weights are not installed.
    """
    segmenter = LazySegmenter(backend, weight_folders(), table=BACKENDS)
    return f"{segmenter.name} {segmenter.weights_id}"


def backend_choice() -> io.Combo.Input:
    """All segmenters, and what to know before choosing one."""
    lines = [f"{name} ({backend.tier}): {backend.description}" for name, backend in BACKENDS.items()]
    words = [name for name, backend in BACKENDS.items() if backend.prompted]
    lines.append(f"Categories of your own are found by {', '.join(words)}; the others read no words.")
    asked = [name for name, backend in BACKENDS.items() if backend.opt_in]
    if asked:
        lines.append(
            f"auto never takes {', '.join(asked)}: read the licence of the weights, then choose it here."
        )
    return io.Combo.Input(
        "backend",
        options=["auto", *BACKENDS],
        default="auto",
        tooltip="auto takes the best one that is installed; the node shows which one ran.\n"
        + "\n".join(lines),
    )


def refine_choice() -> io.Combo.Input:
    """How edges are refined."""
    return io.Combo.Input(
        "refine",
        options=[*REFINEMENTS],
        default="fast",
        tooltip="How much work goes into holes, specks and edges.",
    )


def overlaps_choice() -> io.Boolean.Input:
    """Whether regions may overlap."""
    return io.Boolean.Input(
        "keep_overlaps",
        default=False,
        optional=True,
        tooltip="Leave the regions as they were found, overlapping, instead of sharing every pixel out "
        "between them. The embedded segmenter always shares out.",
    )


def keywords_input(tooltip: str) -> io.String.Input:
    """The categories to look for."""
    default = format_keywords(SegmentRequest().prompts)
    return Parsed("keywords", parse_keywords, multiline=True, default=default, tooltip=tooltip)


class SamSemanticSegment(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSegment",
            display_name="SAM Semantic Segment",
            category=CATEGORY,
            description="Find face, body, clothing, hair, background and lighting in every picture.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images"),
                backend_choice(),
                refine_choice(),
                keywords_input(
                    "One category per line, name: word, word. A word with a minus is taken away "
                    "again, @ and 0 to 1 is the score that a detection needs: "
                    "clothing: dress, shirt, -bag, @0.4. Add categories of your own, if the backend reads "
                    "words."
                ),
                io.String.Input(
                    "mask_file",
                    optional=True,
                    force_input=True,
                    tooltip="Keep the masks in this file, and read them from it while they fit. Masks made "
                    "by hand are read as they are. The whole path, ending in _zi_masks.safetensors.",
                ),
                overlaps_choice(),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, images, backend, refine, keywords, mask_file=None, keep_overlaps=False) -> io.NodeOutput:
        pictures = images[..., :3]
        request = SegmentRequest(parse_keywords(keywords), refine, keep_overlaps)
        device = comfy.model_management.get_torch_device()
        segmenter = ManagedSegmenter(backend, weight_folders(), str(device), BACKENDS)
        digests = [picture_digest(picture) for picture in pictures]
        files = [file_to_write("mask_file", mask_file)] if mask_file else [kept_file(one) for one in digests]
        note(segmenter_in_use, backend)
        for file in files:
            note_file(file)
        warnings = said_before(request, segmenter)
        for warning in warnings:
            logging.warning(warning)
        started = time.monotonic()
        # what nobody has mended is kept only where a node is told to
        places = files if mask_file else [file if file.is_file() else None for file in files]
        masks = get_or_segment(pictures, request, segmenter, places, report=logging.warning)
        all_read = masks.provenance["cache"] == f"{len(pictures)}/{len(pictures)}"
        if not all_read:
            for file in files:  # it has just been written
                note_file(file)
        seconds = None if all_read else time.monotonic() - started
        about = {name: masks.provenance.get(name, "") for name in ABOUT_FILE}
        told = {name: value for name, value in masks.provenance.items() if name not in ABOUT_FILE}
        if mask_file and len(pictures) == 1:
            told[PICTURE] = printable(files[0].name.removesuffix(SUFFIX))
        masks = dataclasses.replace(masks, provenance=told)
        kept = [_kept(masks, index, digest, files[index]) for index, digest in enumerate(digests)]
        shown = [{**preview, **about} for preview in mask_preview(pictures, masks, seconds, kept)]
        said = {"text": ("\n".join(warnings),)} if warnings else {}
        return io.NodeOutput(masks, ui={"semantic_focus": shown, **said})


def _kept(masks: SemanticMasks, index: int, digest: str, file: Path) -> Kept:
    """Where the masks of one of the pictures are kept, or will be when they are mended."""
    if masks.provenance.get("backend") == BY_HAND:
        return Kept(why_not=MADE_ELSEWHERE)
    SHOWN.note_file(digest, file)
    if file.is_file():
        return Kept(digest, file)
    persons = (masks.persons[index],) if masks.persons else ()
    scores, doubts = scores_of(masks.provenance), doubts_of(masks.provenance)
    said = {
        **{name: text for name, text in masks.provenance.items() if name not in ("scores", DOUBTS)},
        DIGEST: digest,
        **({"scores": json.dumps([scores[index]])} if index < len(scores) else {}),
        **(as_field([doubts[index]]) if index < len(doubts) else {}),
    }
    alone = SemanticMasks(masks.masks[index : index + 1], masks.labels, persons, said)
    return Kept(digest, file, PackedMasks.of(alone))


NODES = [SamSemanticSegment]
