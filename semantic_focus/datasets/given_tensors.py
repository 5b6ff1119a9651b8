"""What a graph trains on, in a folder: tensors of any shape and type, exactly as its nodes gave them.

    index.json                     which files there are, and what belongs to what
    latents_000001.safetensors     samples [B, C, *grid] of a LATENT
    masks_000001.safetensors       masks [B, K, h, w] on the latents' grid, with the names of the K regions
    prompt_000001.safetensors      a CONDITIONING with all its extras
    scene_000001.safetensors       samples [1, C, *grid] of a scene

A conditioning of many pictures is there once, and is one object again when it is read.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import parsed_json
from ..files.writing import write_text
from ..regions.masks import SemanticMasks
from .folder import DatasetError
from .prepared_file import STRUCTURE, put_together, taken_apart

INDEX, FORMAT = "index.json", 1
LABELS = "labels"
"""Header field of a file of masks."""
AGAIN = "Save it again from the graph"


@dataclass(frozen=True)
class GivenTensors:
    """What a training is given besides its settings.

    Attributes:
        latents: LATENT samples, Float[B, C, *grid] each.
        masks: on the latent grid, as many pictures in all.
        conditionings: CONDITIONING of each picture.
        unconditional: CONDITIONING of the empty prompt.
        repeats: of each picture; empty: once each.
        names: of the pictures' files; empty: unknown.
        scenes: LATENT samples Float[1, C, *grid].
        with_trigger, without: CONDITIONING of each composite, and of each stranger; empty: there are none.
    """

    latents: Sequence[Tensor]
    masks: Sequence[SemanticMasks]
    conditionings: Sequence[Any]
    unconditional: Any = None
    repeats: Sequence[int] = ()
    names: Sequence[str] = ()
    scenes: Sequence[Tensor] = ()
    with_trigger: Sequence[Any] = ()
    without: Sequence[Any] = ()


def save_given(folder: Path, given: GivenTensors) -> None:
    """Write all of it into a folder that is there and empty.

    Raises:
        CannotBeKeptError: a conditioning has something in it that a file of tensors does not hold.
        NotWrittenError: the disk is full, say.
    """
    for kind, tensors in (("latents", given.latents), ("scene", given.scenes)):
        for number, samples in enumerate(tensors):
            write_safetensors(_file(folder, kind, number), {"samples": samples})
    for number, masks in enumerate(given.masks):
        labels = {LABELS: json.dumps(masks.labels)}
        write_safetensors(_file(folder, "masks", number), {"masks": masks.masks}, labels)
    prompts = _Prompts(folder)
    index = {
        "format": FORMAT,
        "latents": len(given.latents),
        "masks": len(given.masks),
        "scenes": len(given.scenes),
        "conditionings": prompts.numbers(given.conditionings),
        "with_trigger": prompts.numbers(given.with_trigger),
        "without": prompts.numbers(given.without),
        "empty_prompt": None if given.unconditional is None else prompts.number(given.unconditional),
        "repeats": list(given.repeats),
        "names": list(given.names),
    }
    write_text(folder / INDEX, json.dumps(index) + "\n")


class _Prompts:
    """Writes conditionings, one that comes again not again."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._written: dict[int, tuple[int, Any]] = {}

    def numbers(self, conditionings: Iterable[Any]) -> list[int]:
        return [self.number(conditioning) for conditioning in conditionings]

    def number(self, conditioning: Any) -> int:
        if id(conditioning) not in self._written:
            number = len(self._written)
            structure, tensors = taken_apart(conditioning)
            # one tensor may be in it twice, or be a part of another
            own = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            write_safetensors(_file(self._folder, "prompt", number), own, {STRUCTURE: structure})
            self._written[id(conditioning)] = number, conditioning
        return self._written[id(conditioning)][0]


def load_given(folder: Path) -> GivenTensors:
    """Read the folder.

    Raises:
        DatasetError: no such folder, of a newer version, or files that are missing or damaged.
    """
    index = _index(folder)
    prompts: dict[int, Any] = {}

    def prompt(number: int) -> Any:
        if number not in prompts:
            prompts[number] = _prompt(_file(folder, "prompt", number))
        return prompts[number]

    def each(name: str) -> tuple[Any, ...]:
        return tuple(prompt(number) for number in index[name])

    try:
        return GivenTensors(
            tuple(_samples(folder, "latents", index["latents"])),
            tuple(_masks(_file(folder, "masks", number)) for number in range(index["masks"])),
            each("conditionings"),
            None if index["empty_prompt"] is None else prompt(index["empty_prompt"]),
            tuple(index["repeats"]),
            tuple(index["names"]),
            tuple(_samples(folder, "scene", index["scenes"])),
            each("with_trigger"),
            each("without"),
        )
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{folder / INDEX}: damaged ({error!r}). {AGAIN}") from error


def _file(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}_{number + 1:06}.safetensors"


def _index(folder: Path) -> Mapping[str, Any]:
    path = folder / INDEX
    try:
        index = parsed_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file. Give the folder that the node Save Training Job has written"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}). {AGAIN}") from error
    found = index.get("format") if isinstance(index, dict) else None
    if found != FORMAT:
        raise DatasetError(f"{path}: its format is {found!r}, this version reads {FORMAT}: update the pack")
    return index


def _opened(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        file = TensorFile(path)
        return file.tensors(), file.metadata
    except (DamagedFileError, OSError) as error:
        raise DatasetError(f"{path}: {error}. {AGAIN}") from error


def _samples(folder: Path, kind: str, count: int) -> Iterable[Tensor]:
    return (_opened(_file(folder, kind, number))[0]["samples"] for number in range(count))


def _masks(path: Path) -> SemanticMasks:
    tensors, header = _opened(path)
    try:
        return SemanticMasks(tensors["masks"], tuple(parsed_json(header[LABELS])))
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{path}: no masks of a training job ({error}). {AGAIN}") from error


def _prompt(path: Path) -> Any:
    tensors, header = _opened(path)
    try:
        return put_together(header[STRUCTURE], tensors)
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{path}: no prompt of a training job ({error}). {AGAIN}") from error
