"""The sizes of a folder's cached latents and text embeddings, from the headers of its files."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..files.tensors import DamagedFileError, TensorFile
from .cached_latents import LATENT_KEY, POOLED_KEY, TEXT_KEY, DatasetSource, find_pictures
from .folder import DatasetError
from .given_tensors import load_given


@dataclass(frozen=True)
class LargestInputs:
    """What a training on cached files takes most memory for.

    Attributes:
        latent: [C, *grid] of the largest picture.
        text: tokens and width of the longest text embedding.
        pooled: width of the pooled embedding; 0: there is none.
        repeats: of all pictures.
    """

    latent: tuple[int, ...]
    text: tuple[int, int]
    pooled: int
    repeats: tuple[int, ...]


def largest_inputs(sources: Iterable[DatasetSource]) -> LargestInputs:
    """Read the headers of all latents and text embeddings.

    Raises:
        DatasetError: as `cached_latents.load_dataset`.
    """
    latents, texts, pooled, repeats = [], [], 0, []
    for source in sources:
        for picture in find_pictures(source):
            text = _shapes(picture.text)
            latents.append(_shape(picture.latent, _shapes(picture.latent), LATENT_KEY, "latents"))
            texts.append(_shape(picture.text, text, TEXT_KEY, "text embedding"))
            pooled = max(pooled, math.prod(text.get(POOLED_KEY, [0])))
            repeats.append(source.num_repeats)
    if not latents:
        raise DatasetError("no [[dataset.sources]] given: name at least one folder of cached latents")
    longest = max(texts, key=lambda shape: shape[0])
    return LargestInputs(max(latents, key=math.prod), (longest[0], longest[-1]), pooled, tuple(repeats))


def largest_given(folder: Path) -> LargestInputs:
    """The same of tensors that a graph gave.

    Raises:
        DatasetError: as `given_tensors.load_given`.
    """
    given = load_given(folder)
    latents = [tuple(picture.shape) for samples in given.latents for picture in samples]
    texts, pooled = [], 0
    for [[text, extras], *_] in given.conditionings:
        texts.append((text.shape[-2], text.shape[-1]))
        found = extras.get(POOLED_KEY)
        pooled = max(pooled, 0 if found is None else found.numel())
    longest = max(texts, key=lambda shape: shape[0])
    repeats = tuple(given.repeats) or (1,) * len(latents)
    return LargestInputs(max(latents, key=math.prod), longest, pooled, repeats)


def _shape(path: Path, shapes: dict[str, list[int]], prefix: str, what: str) -> tuple[int, ...]:
    found = [shape for key, shape in shapes.items() if key.startswith(prefix)]
    if len(found) != 1 or len(found[0]) < 2:
        raise DatasetError(f"{path}: holds no {what} ({prefix}…). It is no cache of this kind of model")
    return tuple(found[0])


def _shapes(path: Path) -> dict[str, list[int]]:
    try:
        return TensorFile(path).shapes
    except (DamagedFileError, OSError) as error:
        raise DatasetError(f"{path}: {error}. Cache it again") from error
