"""Folders of cached latents and text embeddings, as the trainer None_Z-image-Turbo_trainer writes them.

    <stem>_<W>x<H>_zi.safetensors  latents_1x<h>x<w>_bf16: [16, h, w], h = H / 8, (z - shift) · scale applied;
                                   or <stem>_zi_latent.safetensors
    <stem>_zi_te.safetensors       varlen_vl_embed_bf16: [N, D]; of our own, optional: pooled_output [P]
    <stem>_zi_masks.safetensors    the regions, see `mask_file`, at the size of the picture
    <stem>.png                     the picture; if it is there, masks of another one are refused

That trainer resizes a whole picture to sides that are multiples of 8 and cuts nothing off. So the masks are
averaged over the latent's cells the same way, whatever their own size. It pads latents of odd sides to even
ones by reflection; here they keep their size, ComfyUI pads inside the network and nothing there is trained.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files.command_lines import to_run
from ..files.tensors import DamagedFileError, TensorFile
from ..regions.masks import SemanticMasks, downsample_mask_to_latent, of_another_picture
from .cache import is_untouched, picture_digest
from .contents import is_picture
from .folder import DatasetError, load_picture
from .formats import PICTURE_SUFFIXES
from .mask_file import SUFFIX as MASK_SUFFIX
from .mask_file import read_header, read_masks
from .orientation import said_of, shape_tells
from .staleness import stale_reason

LATENT_SUFFIX, NAMED_LATENT_SUFFIX, TEXT_SUFFIX = (
    "_zi.safetensors",
    "_zi_latent.safetensors",
    "_zi_te.safetensors",
)
LATENT_KEY, TEXT_KEY, POOLED_KEY = "latents_", "varlen_vl_embed_", "pooled_output"
SCALE, SHIFT = 0.3611, 0.1159
"""Of Z-Image's (and Flux's) VAE: what is cached is (z - SHIFT) · SCALE."""
CELL = 8
"""Pixels along a side of a latent cell."""
_SIZED = re.compile(r"(?P<stem>.+)_(?P<width>\d+)x(?P<height>\d+)_zi\.safetensors")

NO_CACHE = (
    "Latents and texts are cached by the Z-Image trainer; a folder of pictures without them is trained in a "
    "graph, with Prepare Training Data"
)


@dataclass(frozen=True)
class DatasetSource:
    """One folder.

    Attributes:
        cache_directory: holds latents and text embeddings.
        num_repeats: how often each picture comes in one pass, >= 1.
        resolution_limit: pictures with a longer side (in pixels) are left out; 0: none is.
        image_directory: holds pictures and mask files; None: the cache directory.
    """

    cache_directory: Path
    num_repeats: int = 1
    resolution_limit: int = 0
    image_directory: Path | None = None


@dataclass(frozen=True)
class CachedPicture:
    """The files of one picture; `pixels` is (height, width) by the latent's file name, None without."""

    stem: str
    latent: Path
    text: Path
    masks: Path
    picture: Path | None
    pixels: tuple[int, int] | None


@dataclass(frozen=True)
class OriginDataset:
    """All pictures, as ComfyUI's nodes would hand them on.

    Attributes:
        names: file stems; with their folder where other pictures have the same. Equal names are one picture
            in several sizes: of one folder of pictures, or of one content as far as mask files tell it.
        latents: LATENT each, samples Float[1, C, h, w] as VAE Encode gives them.
        conditionings: CONDITIONING each, [[Float[1, N, D], extras]].
        masks: one picture each, on its latent's grid.
        repeats: how often each picture comes in one pass; empty: once each.
    """

    names: list[str] = field(default_factory=list)
    latents: list[dict[str, Tensor]] = field(default_factory=list)
    conditionings: list[list[Any]] = field(default_factory=list)
    masks: list[SemanticMasks] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)

    @property
    def times(self) -> list[int]:
        """`repeats`, said for every picture: a LATENT may hold several."""
        return self.repeats or [1] * sum(len(latent["samples"]) for latent in self.latents)


def load_dataset(sources: Iterable[DatasetSource]) -> OriginDataset:
    """Read the folders one after the other, each in the order of its file names.

    Raises:
        DatasetError: no such folder, files that are missing, damaged, foreign or do not belong together.
        MaskFileError: a damaged mask file.
    """
    dataset = OriginDataset()
    read: list[CachedPicture] = []
    for source in sources:
        pictures = find_pictures(source)
        _check_orientations(source.cache_directory, pictures)
        for picture in pictures:
            samples = load_latent(picture)
            read.append(picture)
            dataset.latents.append({"samples": samples / SCALE + SHIFT})
            dataset.conditionings.append(load_conditioning(picture.text))
            dataset.masks.append(load_latent_masks(picture, (samples.shape[-2], samples.shape[-1])))
            dataset.repeats.append(source.num_repeats)
    dataset.names.extend(_names(read))
    if not dataset.names:
        raise DatasetError("no [[dataset.sources]] given: name at least one folder of cached latents")
    logging.warning(
        "Training cache: text embeddings do not say how they were made. ComfyUI shows Z-Image the "
        "second-to-last layer, with the chat template: a LoRA trained on others will look weaker there"
    )
    return dataset


def _names(pictures: Sequence[CachedPicture]) -> list[str]:
    """What to call pictures: equal names for one picture in several sizes, and for no others."""
    identities = [_identity(picture) for picture in pictures]
    folders = {identity: it.masks.parent for identity, it in zip(identities, pictures, strict=True)}
    with_stem = Counter(stem for stem, _ in folders)
    with_folder = Counter((folder.name, stem) for (stem, _), folder in folders.items())

    def name(identity: tuple[str, str]) -> str:
        stem, folder = identity[0], folders[identity]
        if with_stem[stem] == 1:
            return stem
        return f"{folder.name if with_folder[folder.name, stem] == 1 else folder}/{stem}"

    return list(map(name, identities))


def _identity(picture: CachedPicture) -> tuple[str, str]:
    """The stem, and what tells pictures of one stem apart: their content, else where they are."""
    content = read_header(picture.masks).get("image_digest")
    return picture.stem, content or str(picture.masks.parent.resolve())


def _check_orientations(folder: Path, pictures: Iterable[CachedPicture]) -> None:
    """Refuse pictures of whose latents nothing tells that they are upright as the masks are."""
    files = [it.picture for it in pictures if it.picture is not None]
    if doubtful := [path for path in files if not shape_tells(path)]:
        raise DatasetError(
            f"{folder}: {said_of(doubtful)}. Nothing tells whether their latents are upright, as their masks "
            "are. Save these pictures upright, without that field, then cache their latents and make their "
            "masks again"
        )


def find_pictures(source: DatasetSource, with_masks: bool = True) -> list[CachedPicture]:
    """The pictures of a folder by name; only file names are looked at.

    Args:
        with_masks: whether each must have its masks.

    Raises:
        DatasetError: as `load_dataset`; it names up to 5 files.
    """
    pictures, left_out = _find_pictures(source, with_masks)
    if left_out:
        total = len(pictures) + left_out
        logging.info(
            f"{source.cache_directory}: {left_out} of {total} pictures are above {source.resolution_limit}"
        )
    return pictures


def source_files(source: DatasetSource) -> list[Path]:
    """The files that `load_dataset` reads of a folder.

    Raises:
        DatasetError: as `load_dataset`.
    """
    pictures, _ = _find_pictures(source)
    files = [(it.latent, it.text, it.masks, it.picture) for it in pictures]
    return [file for of_one in files for file in of_one if file is not None]


def _find_pictures(source: DatasetSource, with_masks: bool = True) -> tuple[list[CachedPicture], int]:
    """The pictures of a folder, and how many were left out for their size."""
    folder = source.cache_directory
    images = source.image_directory or folder
    for path in (folder, images):
        if not path.is_dir():
            raise DatasetError(f"{path}: no such folder. Give the folder that holds the cached latents")
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    latents, problems = _latents_by_stem(files)
    beside = _pictures_by_stem(images)
    for stem in sorted({*_stems(files, TEXT_SUFFIX), *_stems(files, MASK_SUFFIX)} - set(latents)):
        problems.append(f"{stem}: no latents ({stem}_<W>x<H>{LATENT_SUFFIX})")
    pictures = []
    for stem, name in latents.items():
        sized = _SIZED.fullmatch(name)
        pixels = (int(sized["height"]), int(sized["width"])) if sized else None
        if pixels and source.resolution_limit and max(pixels) > source.resolution_limit:
            continue
        picture = CachedPicture(
            stem,
            folder / name,
            folder / f"{stem}{TEXT_SUFFIX}",
            images / f"{stem}{MASK_SUFFIX}",
            beside.get(stem),
            pixels,
        )
        problems += _missing(picture, with_masks)
        pictures.append(picture)
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        without_masks = with_masks and any(not it.masks.is_file() for it in pictures)
        advice = f"\nMake the masks:{to_run('masks', images)}" if without_masks else ""
        advice += "" if latents else f"\n{NO_CACHE}"
        said = "\n  ".join([f"{folder}: its files do not make a dataset", *problems[:5]])
        raise DatasetError(said + more + advice)
    if not pictures:
        limit = f" of at most {source.resolution_limit} pixels a side" if latents else ""
        advice = "" if latents else f". {NO_CACHE}"
        raise DatasetError(f"{folder}: no cached latents{limit} (<stem>_<W>x<H>{LATENT_SUFFIX}){advice}")
    return pictures, len(latents) - len(pictures)


def _latents_by_stem(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Stem -> file name, and what is wrong with the names."""
    found: dict[str, str] = {}
    problems = []
    for name in names:
        sized = _SIZED.fullmatch(name)
        if sized:
            stem = sized["stem"]
        elif name.endswith(NAMED_LATENT_SUFFIX):
            stem = name.removesuffix(NAMED_LATENT_SUFFIX)
        elif name.endswith(LATENT_SUFFIX):
            problems.append(f"{name}: no size in its name (<stem>_<W>x<H>{LATENT_SUFFIX})")
            continue
        else:
            continue
        if stem in found:
            problems.append(f"{found[stem]} and {name} are latents of one picture: keep one of them")
        found[stem] = name
    return found, problems


def _stems(names: Iterable[str], suffix: str) -> Iterator[str]:
    return (name.removesuffix(suffix) for name in names if name.endswith(suffix))


def _pictures_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder; of several with one stem the one that comes first in `PICTURE_SUFFIXES`."""
    pictures = [path for path in folder.iterdir() if is_picture(path) and path.is_file()]
    pictures.sort(key=lambda path: (PICTURE_SUFFIXES.index(path.suffix.lower()), path.name), reverse=True)
    return {path.stem: path for path in pictures}


def _missing(picture: CachedPicture, with_masks: bool) -> Iterator[str]:
    if not picture.text.is_file():
        yield f"{picture.stem}: no text embedding ({picture.text.name}). Cache it with the origin trainer"
    if with_masks and not picture.masks.is_file():
        yield f"{picture.stem}: no masks ({picture.masks.name})"


def load_latent(picture: CachedPicture) -> Tensor:
    """Float[1, C, h, w] as it is in the file, latent format applied.

    Raises:
        DatasetError: damaged, foreign, or of another size than its name says.
    """
    path = picture.latent
    latent = _only(path, LATENT_KEY, "latents")
    if latent.ndim == 4 and latent.shape[1] == 1:
        latent = latent[:, 0]  # a picture as a video of one frame
    if latent.ndim != 3:
        raise DatasetError(f"{path}: latents are {list(latent.shape)}, expected [channels, height, width]")
    rows, columns = latent.shape[-2:]
    if picture.pixels and picture.pixels != (rows * CELL, columns * CELL):
        height, width = picture.pixels
        raise DatasetError(
            f"{path}: its name says {width}x{height}, its latents are of {columns * CELL}x{rows * CELL} "
            f"pixels ({columns}x{rows} cells). Cache the picture again"
        )
    latent = latent.float()
    _check_finite(path, "latents", latent / SCALE)
    return latent[None]


def load_conditioning(path: Path) -> list[Any]:
    """CONDITIONING [[Float[1, N, D], extras]] of a text file; extras has `pooled_output` [1, P] if it does.

    Raises:
        DatasetError: damaged or foreign.
    """
    text = _only(path, TEXT_KEY, "a text embedding")
    if text.ndim != 2 or not len(text):
        raise DatasetError(f"{path}: its embedding is {list(text.shape)}, expected [tokens, width]")
    pooled = _tensors(path).get(POOLED_KEY)
    if pooled is not None:
        _check_finite(path, POOLED_KEY, pooled.float())
    return [[text.float()[None], {} if pooled is None else {"pooled_output": pooled.float().reshape(1, -1)}]]


def load_latent_masks(picture: CachedPicture, grid: tuple[int, int]) -> SemanticMasks:
    """The regions of a picture, averaged over the cells of its latent (rows, columns).

    Raises:
        DatasetError: they were made from another picture, or of another shape than the latent.
        MaskFileError: the file is damaged.
    """
    path = picture.masks
    if picture.picture is not None:
        header = read_header(path)
        if "image_digest" in header and not is_untouched(picture.picture, path, header):
            digest = picture_digest(load_picture(picture.picture))
            if reason := stale_reason(header, {"image_digest": digest}):
                raise DatasetError(
                    f"{path}: stale: {reason} ({picture.picture.name}). If the picture was edited, cache its "
                    f"latents again; make the masks again in any case:{to_run('masks', path.parent)}"
                )
    masks = read_masks(path)
    _check_shape(path, masks.size, grid)
    return replace(
        masks,
        masks=downsample_mask_to_latent(masks.masks[0], grid)[None],
        persons=(),
        provenance=of_another_picture(masks.provenance),
        hand=None,
    )


def _check_shape(path: Path, size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Refuse masks of another shape than a picture that was resized as a whole to multiples of a cell."""
    (height, width), (rows, columns) = size, grid
    if width >= height:
        cells, exact = rows, columns * height / width
    else:
        cells, exact = columns, rows * width / height
    if abs(exact - cells) > 1:
        raise DatasetError(
            f"{path}: masks are {width}x{height}, the latents are of {columns * CELL}x{rows * CELL} pixels: "
            f"the aspect ratio differs ({width / height:.3f} against {columns / rows:.3f}). Segment the "
            "picture that was cached, or cache the picture that was segmented: whole, and turned alike"
        )


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    try:
        return TensorFile(path).tensors()
    except PermissionError as error:
        raise DatasetError(str(error)) from error
    except (DamagedFileError, OSError) as error:
        raise DatasetError(f"{path}: {error}. Cache it again") from error


def _only(path: Path, prefix: str, what: str) -> Tensor:
    """The one tensor whose key starts with `prefix`."""
    tensors = _tensors(path)
    keys = [key for key in tensors if key.startswith(prefix)]
    if len(keys) != 1:
        raise DatasetError(
            f"{path}: holds {', '.join(sorted(tensors)) or 'nothing'}, expected {what} as one {prefix}…. "
            "It is no cache of this kind of model"
        )
    tensor = tensors[keys[0]]
    if not tensor.is_floating_point():
        raise DatasetError(f"{path}: {keys[0]} is {tensor.dtype}, expected a float type. Cache it again")
    _check_finite(path, keys[0], tensor.float())
    return tensor


def _check_finite(path: Path, name: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise DatasetError(f"{path}: {name} has values that are no numbers. Cache it again")
