"""The node that makes the mask files of a whole folder, and says what stands out in them."""

import hashlib
import logging
import os
from collections.abc import Callable
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
from ..semantic_focus.datasets.folder import list_pictures, picture_files
from ..semantic_focus.datasets.freshness import STATUSES, PictureResult
from ..semantic_focus.datasets.listing import Bounds
from ..semantic_focus.datasets.mask_file import mask_path
from ..semantic_focus.datasets.remarks import remarks_on, said_before
from ..semantic_focus.datasets.survey import DatasetSurvey
from ..semantic_focus.datasets.survey import survey as survey_of
from ..semantic_focus.files.text import printable
from ..semantic_focus.files.writing import NotWrittenError
from ..semantic_focus.keywords import parse_keywords
from ..semantic_focus.segmenters.protocol import SegmentRequest
from .changes import ReadsFiles, note, note_existence, note_files, note_to_ask_again
from .dataset import folder_that_is_there
from .inputs import Parsed
from .paths import folder_to_read, output_folder, refusals
from .segment import (
    ManagedSegmenter,
    backend_choice,
    keywords_input,
    overlaps_choice,
    refine_choice,
    segmenter_in_use,
    weight_folders,
)
from .sockets import CATEGORY

REPORTS = "semantic_focus"
"""Folder of the reports below ComfyUI's output folder."""
MOST_FAILURES = 10
"""More failed pictures are counted, not named."""


class CacheDatasetMasks(ReadsFiles):
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
                Parsed("folder", folder_that_is_there, tooltip="Folder with the training pictures."),
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
        stop_if_asked = comfy.model_management.throw_exception_if_processing_interrupted
        root = folder_to_read(folder).resolve()
        note(segmenter_in_use, backend)
        note_files(picture_files, root, recursive)
        listed = list_pictures(root, recursive, Bounds(check=stop_if_asked, refused=refusals()))
        request = SegmentRequest(parse_keywords(keywords), refine, keep_overlaps)
        device = str(comfy.model_management.get_torch_device())
        segmenter = ManagedSegmenter(backend, weight_folders(), device, BACKENDS)
        for warning in said_before(request, segmenter):
            logging.warning(f"{root}: {warning}")
        progress = comfy.utils.ProgressBar(len(listed.pictures))

        def settled(result: PictureResult) -> None:
            progress.update(1)
            if result.status in ("failed", "kept"):
                logging.warning(f"{result.picture}: {result.reason}")
            if result.said:
                logging.warning(f"{result.picture}: {result.said}")

        results = cache_pictures(
            listed.pictures,
            request,
            segmenter,
            CacheSettings(force=force, workers=min(4, os.cpu_count() or 1)),
            settled,
            comfy.model_management.processing_interrupted,
        )
        stop_if_asked()
        survey = survey_of(root, results)
        remarks = remarks_on(listed.left_out, survey.entries, request, segmenter)
        survey = replace(survey, remarks=remarks)
        for remark in remarks:
            logging.warning(f"{root}: {remark}")
        page = report_file(root)
        sheet = dataset_report.contact_sheet(survey, stop_if_asked)
        problem = _write_reports(survey, sheet, page, report, stop_if_asked)
        report = report and not problem
        found = counts(results)
        failures = [printable(result.reason) for result in results if result.status == "failed"]
        summary = "\n".join([summarize(segmenter.name, found, failures, survey.with_problems), *remarks])
        if problem:
            summary = printable(f"{summary}\nreport: {problem}")
        note_files(_mask_files, root, recursive)
        note_existence(page if report else page.with_suffix(".png"))
        if force or failures or problem:
            note_to_ask_again()
        text = printable(f"{summary}\n{page}") if report else printable(summary)
        file = {"filename": page.name, "subfolder": REPORTS, "type": "output", "path": str(page)}
        told = {
            "folder": str(root),
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
        pixels = torch.from_numpy(np.array(sheet, dtype=np.float32) / 255)[None]
        return io.NodeOutput(pixels, summary, str(page) if report else "", ui=shown)


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
    return printable("\n".join(lines))


def _mask_files(root: Path, recursive: bool) -> list[Path]:
    return [mask_path(picture) for picture in picture_files(root, recursive)]


def _write_reports(
    survey: DatasetSurvey,
    sheet: Image.Image,
    page: Path,
    with_page: bool,
    stop_if_asked: Callable[[], None],
) -> str:
    """Write the contact sheet and, if wanted, the page. Returns why they could not be written."""
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        dataset_report.write_sheet(sheet, page.with_suffix(".png"))
        if with_page:
            logging.info(f"{page}: writing the report of {len(survey.entries)} pictures")
            dataset_report.write(survey, page, stop_if_asked)
    except OSError as error:
        said = error if isinstance(error, NotWrittenError) else NotWrittenError(page, error)
        logging.warning(f"the masks are there, but not their report: {said}")
        return str(said)
    return ""


NODES = [CacheDatasetMasks]
