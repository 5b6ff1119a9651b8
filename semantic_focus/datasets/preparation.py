"""A folder of pictures made ready for a training, picture by picture: latents, masks on their grid, captions.

One model after the other goes over all pictures, so that only one has to be in memory. What was made of a
picture is kept beside it (`prepared_file.py`) and read when it is used: a thousand pictures take the memory
of one. Of another run, only what does not fit any more is made anew.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files.tensors import not_finite
from ..files.text import printable
from ..files.writing import check_can_write
from ..regions.masks import PICTURE, SemanticMasks
from ..regions.memory import give_back
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .bulk import cache_pictures
from .cache import get_or_segment, is_untouched, picture_digest, picture_stamp
from .fit import fit, fit_masks
from .folder import Dataset, DatasetError, load_picture, refuse, scan
from .formats import has_several_frames
from .freshness import PictureResult
from .mask_file import mask_path
from .prepared_file import STRUCTURE, CannotBeKeptError, PreparedFile, put_together, taken_apart
from .remarks import first_frame_lines, left_out_lines
from .staleness import request_fields

log = logging.getLogger("semantic_focus.datasets.preparation")

Conditioning = list[Any]
"""ComfyUI's CONDITIONING: [[Float[1, N, D], extras]]."""

CHUNK = 1 << 20
"""Bytes of a mask file that are read at once."""
PASSES = 4
"""How often the pictures are gone over: for latents, mask files, masks on the grids, captions."""


@dataclass(frozen=True)
class Preparation:
    """What is to be made of a folder.

    Attributes:
        resolutions: every picture at each of them, see `fit.training_size`.
        multiple_of: what both sides of a picture are divisible by.
        request: the regions.
        default_caption: of pictures without a caption file.
        trigger: word that every caption has; it is put before those that lack it.
        literal_brackets: ( ) in captions are no emphasis.
    """

    resolutions: tuple[int, ...] = (1024,)
    multiple_of: int = 64
    request: SegmentRequest = field(default_factory=SegmentRequest)
    default_caption: str = ""
    trigger: str = ""
    literal_brackets: bool = False


@dataclass(frozen=True)
class Encoders:
    """What pictures and captions are encoded with.

    Attributes:
        picture: Float[1, H, W, 3] in 0..1 -> latent Float[1, C, *grid].
        text: a caption -> its conditioning.
        picture_id, text_id: the same for the same weights and settings, and for no others.
    """

    picture: Callable[[Tensor], Tensor]
    text: Callable[[str], Conditioning]
    picture_id: str
    text_id: str


@dataclass(frozen=True)
class Watcher:
    """Who is told how it goes.

    Attributes:
        begin: told how many pictures there are.
        done: called after each picture of each pass.
        segmented: told what became of each picture's mask file.
        say: told in sentences what is odd.
        check: called before each picture; what it raises ends the work, and what was made stays.
        should_stop: asked while pictures are segmented; `check` raises then.
    """

    begin: Callable[[int], None] = lambda pictures: None
    done: Callable[[], None] = lambda: None
    segmented: Callable[[PictureResult], None] = lambda result: None
    say: Callable[[str], None] = log.warning
    check: Callable[[], None] = lambda: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class PreparedDataset:
    """All pictures at all resolutions, as ComfyUI's nodes would hand them on; tensors wait on the disk.

    Attributes:
        pictures: their files, once each.
        latents: Float[1, C, *grid] each, as VAE Encode gives them.
        conditionings: one each; those of equal captions are the same object.
        masks: of one picture each, on its latent's grid.
        empty_prompt: the conditioning of no words.
        notes: what is worth knowing of the folder, in sentences.
        made: how many latents, masks and captions were made now; all others were there.
        files: what all of it is read from, mask files among them.
        unkept: whether something could not be kept, and is to be made again next time.
    """

    pictures: list[Path]
    latents: list[Tensor]
    conditionings: list[Conditioning]
    masks: list[SemanticMasks]
    empty_prompt: Conditioning
    notes: list[str]
    made: Counter[str]
    files: list[Path]
    unkept: bool


def prepare(
    folder: str | Path,
    settings: Preparation,
    encoders: Encoders,
    segmenter: LazySegmenter,
    watcher: Watcher = Watcher(),  # noqa: B008
) -> PreparedDataset:
    """Make a folder ready for a training.

    Raises:
        DatasetError: as `scan`, or pictures that cannot be read or segmented; all of them in one message.
        MaskFileError: a mask file made by hand that does not fit its picture.
        MissingWeightsError, SegmenterLoadError: masks have to be made, and the segmenter cannot be loaded.
    """
    dataset = scan(folder, settings.default_caption, settings.literal_brackets, settings.trigger)
    run = _Run(settings, encoders, segmenter, watcher)
    paths = [picture.path for picture in dataset.pictures]
    watcher.begin(len(paths))
    latents = run.all_latents(paths)
    run.make_mask_files(paths)
    masks = [run.masks(path, *of_one) for path, of_one in zip(paths, latents, strict=True)]
    conditionings = [run.conditioning(picture.path, picture.caption) for picture in dataset.pictures]
    each = range(len(settings.resolutions))
    return PreparedDataset(
        paths,
        [latent for of_one, _ in latents for latent in of_one],
        [conditioning for conditioning in conditionings for _ in each],
        [mask for of_one in masks for mask in of_one],
        run.empty_prompt(paths[0]),
        _notes(dataset),
        run.made,
        [*run.files, *map(mask_path, paths)],
        run.unkept,
    )


def _notes(dataset: Dataset) -> list[str]:
    moving = [picture.path.name for picture in dataset.pictures if has_several_frames(picture.path)]
    return [*left_out_lines(dataset.left_out), *dataset.notes, *first_frame_lines(moving)]


class _Run:
    """One preparation, pass by pass."""

    def __init__(self, settings: Preparation, encoders: Encoders, segmenter: LazySegmenter, watcher: Watcher):
        self.settings, self.encoders, self.segmenter, self.watcher = settings, encoders, segmenter, watcher
        wanted = [request_fields(settings.request, segmenter), settings.request.labels]
        self.regions_id = json.dumps(wanted)
        self.made: Counter[str] = Counter()
        self.files: list[Path] = []
        self._captions: dict[str, Conditioning] = {}
        self._said: set[str] = set()

    @property
    def unkept(self) -> bool:
        """Whether something was told that is not kept."""
        return bool(self._said)

    def all_latents(self, pictures: Sequence[Path]) -> list[tuple[list[Tensor], str]]:
        """Latents at all resolutions, and the digest, of each picture.

        Raises:
            DatasetError: pictures that cannot be read.
        """
        found, faults = [], []
        for picture in pictures:
            self.watcher.check()
            try:
                found.append(self._latents(picture))
            except (DatasetError, FileNotFoundError) as error:
                faults.append(str(error))
            self.watcher.done()
        refuse(faults)
        return found

    def _latents(self, picture: Path) -> tuple[list[Tensor], str]:
        latents, image, about = [], None, {}
        for resolution in self.settings.resolutions:
            made_with = (self.encoders.picture_id, str(resolution), str(self.settings.multiple_of))
            file = self._file(picture, "latent", made_with)
            header = file.header()
            if header and is_untouched(picture, file.path, header):
                latent = file.waiting_one("latent")
                if latent is not None and latent.ndim >= 4:
                    about = header
                    latents.append(latent)
                    continue
            if image is None:
                stamp = picture_stamp(picture)  # before reading: a later edit is noticed by the next run
                image = load_picture(picture)
                about = {"image_digest": picture_digest(image), "picture_stamp": stamp}
            is_same = header.get("image_digest") == about["image_digest"]
            latent = file.waiting_one("latent") if is_same else None
            if latent is None:
                fitted, _ = fit(image[None], None, resolution, self.settings.multiple_of)
                latent = self.encoders.picture(fitted).detach().cpu().float()
                self._count("latents")
            latents.append(self._kept(file, {"latent": latent}, about)["latent"])
        return latents, about["image_digest"]

    def make_mask_files(self, pictures: Sequence[Path]) -> None:
        """Bring the mask files up to date. Where none can be written, masks are made without.

        Raises:
            DatasetError: pictures that cannot be segmented.
        """

        def settled(result: PictureResult) -> None:
            if result.status == "segmented":
                self._count(result.status)
            self.watcher.segmented(result)
            self.watcher.done()

        results = []
        try:
            results = cache_pictures(
                pictures, self.settings.request, self.segmenter, None, settled, self.watcher.should_stop
            )
        except DatasetError:
            if not self._is_full(pictures[0]):
                raise
        self.watcher.check()
        failed = [result for result in results if result.status == "failed"]
        if failed and not self._is_full(failed[0].picture):
            refuse([result.reason for result in failed])

    def _is_full(self, picture: Path) -> bool:
        """Whether no mask file can be written; then it is said."""
        try:
            check_can_write(mask_path(picture))
        except OSError as error:
            self._say_once("masks", f"{error}. Masks are used all the same, and made again next time")
            return True
        return False

    def masks(self, picture: Path, latents: Sequence[Tensor], image_digest: str) -> list[SemanticMasks]:
        """The masks of a picture on the grids of its latents."""
        self.watcher.check()
        source, whole, found = mask_path(picture), None, []
        state, named = _digest(source), {PICTURE: printable(picture.name)}
        for resolution, latent in zip(self.settings.resolutions, latents, strict=True):
            grid = (latent.shape[-2], latent.shape[-1])
            sizes = (str(grid), str(resolution), str(self.settings.multiple_of))
            file = self._file(picture, "masks", (self.regions_id, *sizes))
            header = file.header()
            if state and (header.get("mask_file"), header.get("image_digest")) == (state, image_digest):
                masks = file.waiting_one("masks")
                if masks is not None and masks.shape == (1, len(self.settings.request.labels), *grid):
                    found.append(SemanticMasks(masks, self.settings.request.labels, provenance=named))
                    continue
            if whole is None:
                image = load_picture(picture)[None]
                whole = get_or_segment(image, self.settings.request, self.segmenter, [source], log.warning)
                state = _digest(source)
                self._count("masks")
            fitted = fit_masks(whole, resolution, self.settings.multiple_of).to_latent(grid)
            masks = fitted.masks.float()
            if state:
                about = {"mask_file": state, "image_digest": image_digest}
                masks = self._kept(file, {"masks": masks}, about)["masks"]
            found.append(SemanticMasks(masks, fitted.labels, provenance=named))
        self.watcher.done()
        return found

    def conditioning(self, picture: Path, caption: str) -> Conditioning:
        """A caption encoded; equal captions are encoded once."""
        self.watcher.check()
        if caption not in self._captions:
            self._captions[caption] = self._encoded(picture, "text", caption)
        self.watcher.done()
        return self._captions[caption]

    def empty_prompt(self, picture: Path) -> Conditioning:
        """No words encoded; kept beside this picture."""
        return self._captions.get("") or self._encoded(picture, "empty", "")

    def _encoded(self, picture: Path, kind: str, words: str) -> Conditioning:
        it = self.settings
        asked = (it.default_caption, it.trigger, str(it.literal_brackets)) if kind == "text" else ()
        file = self._file(picture, kind, (self.encoders.text_id, *asked))
        digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
        header = file.header()
        if header.get("caption_digest") == digest:
            try:
                return put_together(header[STRUCTURE], file.waiting())
            except (ValueError, KeyError) as error:
                log.info("%s: %s; encoding again", file.path, error)
        conditioning = self.encoders.text(words)
        self._count("captions")
        try:
            structure, tensors = taken_apart(conditioning)
        except CannotBeKeptError as error:
            said = f"encoded captions stay in memory, and are made again next time: {error}"
            self._say_once("captions", said)
            return conditioning
        return put_together(
            structure, self._kept(file, tensors, {"caption_digest": digest, STRUCTURE: structure})
        )

    def _file(self, picture: Path, kind: str, made_with: Sequence[str]) -> PreparedFile:
        file = PreparedFile.of(picture, kind, made_with)
        self.files.append(file.path)
        return file

    def _kept(
        self, file: PreparedFile, tensors: dict[str, Tensor], about: dict[str, str]
    ) -> dict[str, Tensor]:
        """The tensors as they wait in their file; as they are where it cannot be written."""
        if (name := not_finite(tensors)) is not None:  # next time it is tried again
            self._say_once("values", f"{file.picture.name}: {name} has values that are no numbers")
            return tensors
        try:
            file.write(tensors, about)
        except OSError as error:
            said = f"{error}. What was made stays in memory, and is made again next time"
            self._say_once("files", said)
            return tensors
        return file.waiting()

    def _count(self, what: str) -> None:
        self.made[what] += 1
        give_back()  # it takes a millisecond

    def _say_once(self, kind: str, sentence: str) -> None:
        """Of a full or read-only disk one picture tells as much as a thousand."""
        if kind not in self._said:
            self._said.add(kind)
            self.watcher.say(sentence)


def _digest(file: Path) -> str:
    """SHA-256 of a file; empty where none can be read."""
    found = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                found.update(chunk)
    except OSError:
        return ""
    return found.hexdigest()
