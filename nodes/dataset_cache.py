"""The node that makes the mask files of a whole folder, and says what stands out in them."""

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image

from ..semantic_focus.comfy.segmenters import BACKENDS
from ..semantic_focus.datasets import report as dataset_report
from ..semantic_focus.datasets.bulk import CacheSettings, cache_pictures
from ..semantic_focus.datasets.folder import list_pictures
from ..semantic_focus.datasets.freshness import STATUSES, PictureResult
from ..semantic_focus.datasets.remarks import remarks_on
from ..semantic_focus.keywords import parse_keywords
from ..semantic_focus.segmenters.protocol import SegmentRequest
from .inputs import checked
from .paths import folder_to_read, output_folder
from .segment import (
    ManagedSegmenter,
    backend_choice,
    keywords_input,
    overlaps_choice,
    refine_choice,
    weight_folders,
)
from .sockets import CATEGORY

REPORTS = "semantic_focus"
"""Folder of the reports below ComfyUI's output folder."""
MOST_FAILURES = 10
"""More failed pictures are counted, not named."""


class CacheDatasetMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusCacheDataset",
            display_name="Cache Dataset Masks",
            category=CATEGORY,
            description="Segment every picture of a folder and keep the masks beside it. Pictures whose mask "
            "file is up to date are left alone, so it can be stopped and run again at any time.",
            is_output_node=True,
            inputs=[
                io.String.Input("folder", tooltip="Folder with the training pictures."),
                backend_choice(),
                refine_choice(),
                keywords_input(
                    "As in SAM Semantic Segment. Give both nodes the same, or masks are made twice."
                ),
                io.Boolean.Input(
                    "recursive", default=False, optional=True, tooltip="The pictures of subfolders too."
                ),
                io.Boolean.Input(
                    "force", default=False, optional=True, tooltip="Segment again what is up to date."
                ),
                io.Boolean.Input(
                    "report",
                    default=True,
                    optional=True,
                    tooltip="Write the page with all pictures: about half a second for each.",
                ),
                overlaps_choice(),
            ],
            outputs=[
                io.Image.Output(display_name="contact_sheet", tooltip="Overlays, problems first."),
                io.String.Output(display_name="summary"),
                io.String.Output(display_name="report_file", tooltip="An HTML page with all pictures."),
            ],
        )

    @classmethod
    def validate_inputs(cls, keywords):
        return checked(keywords, parse_keywords)

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        return float("nan")  # files may have changed, and finding out takes hardly any time

    @classmethod
    def execute(
        cls,
        folder,
        backend,
        refine,
        keywords,
        recursive=False,
        force=False,
        report=True,
        keep_overlaps=False,
    ) -> io.NodeOutput:
        listed = list_pictures(folder, recursive)
        root = folder_to_read(folder).resolve()
        request = SegmentRequest(parse_keywords(keywords), refine, keep_overlaps)
        device = str(comfy.model_management.get_torch_device())
        segmenter = ManagedSegmenter(backend, weight_folders(), device, BACKENDS)
        progress = comfy.utils.ProgressBar(len(listed.pictures))

        def settled(result: PictureResult) -> None:
            progress.update(1)
            if result.status in ("failed", "kept"):
                logging.warning(f"{result.picture}: {result.reason}")

        results = cache_pictures(
            listed.pictures,
            request,
            segmenter,
            CacheSettings(force=force, workers=min(4, os.cpu_count() or 1)),
            settled,
            comfy.model_management.processing_interrupted,
        )
        stop_if_asked = comfy.model_management.throw_exception_if_processing_interrupted
        stop_if_asked()
        survey = dataset_report.survey(root, results)
        remarks = remarks_on(listed.left_out, survey.entries, request, segmenter)
        survey = replace(survey, remarks=remarks)
        for remark in remarks:
            logging.warning(f"{root}: {remark}")
        page = report_file(root)
        sheet = page.with_suffix(".png")
        dataset_report.write(survey, sheet, stop_if_asked)
        if report:
            logging.info(f"{page}: writing the report of {len(results)} pictures")
            dataset_report.write(survey, page, stop_if_asked)
        found = counts(results)
        failures = [result.reason for result in results if result.status == "failed"]
        summary = "\n".join([summarize(segmenter.name, found, failures, survey.with_problems), *remarks])
        text = f"{summary}\n{page}" if report else summary
        file = {"filename": page.name, "subfolder": REPORTS, "type": "output", "path": str(page)}
        told = {
            "counts": found,
            "segmenter": segmenter.name,
            "to_look_at": survey.with_problems,
            "failures": failures[:MOST_FAILURES],
            "remarks": remarks,
            "report": file if report else None,
        }
        shown = {
            **ui.PreviewText(text).as_dict(),
            "semantic_focus_folder": [str(root)],
            "semantic_focus_masks": [told],
        }
        return io.NodeOutput(_image(sheet), summary, str(page) if report else "", ui=shown)


def report_file(root: Path) -> Path:
    """Where the report of a dataset goes: named after its folder, and told apart from others of that name."""
    digest = hashlib.sha256(str(root).encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return output_folder(REPORTS) / f"masks_{root.name or 'root'}_{digest}.html"


def counts(results: list[PictureResult]) -> dict[str, int]:
    """How many pictures came to what; nothing that none came to."""
    found = {status: sum(result.status == status for result in results) for status in STATUSES}
    return {status: count for status, count in found.items() if count}


def summarize(backend: str, found: dict[str, int], failures: list[str], with_problems: int) -> str:
    """How many pictures came to what, and the reasons of those that failed."""
    lines = [", ".join(f"{count} {status}" for status, count in found.items()) + f" ({backend})"]
    if with_problems:
        lines.append(f"{with_problems} to look at: see the report")
    lines += [f"failed: {reason}" for reason in failures[:MOST_FAILURES]]
    if len(failures) > MOST_FAILURES:
        lines.append(f"and {len(failures) - MOST_FAILURES} more")
    return "\n".join(lines)


def _image(path: Path) -> torch.Tensor:
    """Float[1, H, W, 3] of a PNG."""
    with Image.open(path, formats=["PNG"]) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255)[None]


NODES = [CacheDatasetMasks]
