"""The node that makes a folder ready for a training, in the place of a chain of nodes."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..semantic_focus.comfy.encoding import encoders_of
from ..semantic_focus.comfy.segmenters import BACKENDS
from ..semantic_focus.datasets.cache import picture_digest
from ..semantic_focus.datasets.fit import parse_resolutions
from ..semantic_focus.datasets.folder import dataset_files, load_picture
from ..semantic_focus.datasets.freshness import PictureResult
from ..semantic_focus.datasets.mask_file import mask_path, read_masks
from ..semantic_focus.datasets.preparation import PASSES, Preparation, PreparedDataset, Watcher, prepare
from ..semantic_focus.datasets.remarks import said_before
from ..semantic_focus.files.text import printable
from ..semantic_focus.keywords import parse_keywords
from ..semantic_focus.segmenters.protocol import SegmentRequest
from .changes import ReadsFiles, note, note_files, note_to_ask_again
from .dataset import (
    brackets_choice,
    folder_input,
    more_resolutions_input,
    multiple_input,
    resolution_input,
)
from .paths import folder_to_read
from .preview import mask_preview
from .segment import (
    ManagedSegmenter,
    backend_choice,
    keywords_input,
    overlaps_choice,
    refine_choice,
    segmenter_in_use,
    weight_folders,
)
from .shown import SHOWN, Kept
from .sockets import CATEGORY, LatentMasksSocket

MOST_SHOWN = 4
"""Pictures whose masks the node reports."""


class PrepareTrainingData(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusPrepare",
            display_name="Prepare Training Data",
            category=CATEGORY,
            description="A folder of pictures to latents, encoded captions and masks for LoRA Train Step, "
            "picture by picture. What was made is kept beside the pictures; only what has changed is made "
            "again.",
            is_output_node=True,
            inputs=[
                io.Vae.Input("vae"),
                io.Clip.Input("clip"),
                folder_input(),
                io.String.Input(
                    "trigger_word",
                    default="",
                    tooltip="Put before every caption that does not have it. Pictures without a caption "
                    "file have it as their caption.",
                ),
                io.String.Input(
                    "default_caption",
                    default="",
                    tooltip="Caption of pictures without a caption file. Empty, and no trigger word: such a "
                    "picture is an error.",
                ),
                resolution_input(),
                backend_choice(),
                refine_choice(),
                keywords_input("As in SAM Semantic Segment: one category per line, name: word, word."),
                multiple_input(optional=True),
                more_resolutions_input(),
                brackets_choice(),
                overlaps_choice(),
            ],
            outputs=[
                io.Latent.Output(display_name="latents", is_output_list=True),
                io.Conditioning.Output(display_name="conditioning", is_output_list=True),
                LatentMasksSocket.Output(display_name="latent_masks", is_output_list=True),
                io.Conditioning.Output(
                    display_name="empty_prompt",
                    tooltip="The encoded empty text: for caption dropout, and the negative of samples.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        vae,
        clip,
        folder,
        trigger_word,
        default_caption,
        resolution,
        backend,
        refine,
        keywords,
        multiple_of=64,
        more_resolutions="",
        literal_brackets=False,
        keep_overlaps=False,
    ) -> io.NodeOutput:
        root = folder_to_read(folder)
        note(segmenter_in_use, backend)
        note_files(dataset_files, root)
        request = SegmentRequest(parse_keywords(keywords), refine, keep_overlaps)
        device = str(comfy.model_management.get_torch_device())
        segmenter = ManagedSegmenter(backend, weight_folders(), device, BACKENDS)
        settings = Preparation(
            (resolution, *parse_resolutions(more_resolutions)),
            multiple_of,
            request,
            default_caption,
            trigger_word,
            literal_brackets,
        )
        remarks = said_before(request, segmenter)
        prepared = prepare(root, settings, encoders_of(vae, clip), segmenter, _watcher(root, remarks))
        remarks += prepared.notes
        for remark in remarks:
            logging.warning(f"{root}: {remark}")
        logging.info(f"{root}: {summary(prepared)}")
        note_files(_these, *prepared.files)
        if prepared.unkept:
            note_to_ask_again()
        return io.NodeOutput(
            [{"samples": latent} for latent in prepared.latents],
            prepared.conditionings,
            prepared.masks,
            prepared.empty_prompt,
            ui={
                "semantic_focus": _previews(prepared.pictures),
                "semantic_focus_folder": [str(root.resolve())],
                "semantic_focus_remarks": [remarks],
                "text": (printable("\n".join([summary(prepared), *remarks])),),
            },
        )


def _watcher(root: Path, remarks: list[str]) -> Watcher:
    """Shows how far it is and stops when the user does; what is odd goes to the log and to `remarks`."""
    bar: list[comfy.utils.ProgressBar] = []

    def begin(pictures: int) -> None:
        bar.append(comfy.utils.ProgressBar(pictures * PASSES))

    def segmented(result: PictureResult) -> None:
        if result.status in ("failed", "kept"):
            logging.warning(f"{result.picture}: {result.reason}")
        if result.said:
            logging.warning(f"{result.picture}: {result.said}")

    return Watcher(
        begin,
        lambda: bar[0].update(1),
        segmented,
        remarks.append,
        comfy.model_management.throw_exception_if_processing_interrupted,
        comfy.model_management.processing_interrupted,
    )


def _previews(pictures: Sequence[Path]) -> list[dict[str, Any]]:
    """The first pictures with their masks, as far as they have a mask file, for the panels that show them."""
    shown = []
    for picture in pictures[:MOST_SHOWN]:
        file = mask_path(picture)
        try:
            image, masks = load_picture(picture)[None], read_masks(file)
        except (ValueError, OSError):  # what could not be kept, or has changed meanwhile
            continue
        if masks.size == (image.shape[1], image.shape[2]):
            digest = picture_digest(image[0])
            SHOWN.note_file(digest, file)
            shown += mask_preview(image, masks, None, [Kept(digest, file)])
    return shown


def _these(*files: Path) -> tuple[Path, ...]:
    return files


def summary(prepared: PreparedDataset) -> str:
    """How much there is, and how much of it was made now."""
    made = ", ".join(f"{what} {count}" for what, count in prepared.made.items() if count)
    return f"{len(prepared.latents)} ready; made now: {made or 'nothing, all was there'}"


NODES = [PrepareTrainingData]
