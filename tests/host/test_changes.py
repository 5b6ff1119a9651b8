"""A change of a file that a node reads is seen, wherever its name comes from; without one nothing runs."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.files.tensors import write_safetensors
from semantic_focus.regions.masks import SemanticMasks

from .graphs import Graph, node, run_folder

if TYPE_CHECKING:
    from host.serve import ComfyServer

WIDTH, HEIGHT = 64, 48
OLD_RUN = Path(__file__).parent.parent / "unit" / "saved" / "0.2.0" / "person"
"""Holds states of three different steps."""
SEGMENTATION = {"backend": "mediapipe", "refine": "off", "keywords": "face:\nbackground:"}


def write_picture(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(path)


def write_mask_picture(path: Path, seed: int) -> None:
    Image.new("L", (WIDTH, HEIGHT), 50 + seed).save(path)


def write_masks(path: Path, seed: int) -> None:
    face = torch.rand(1, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    path.unlink(missing_ok=True)  # masks that no segmenter made are never replaced
    save_masks(path, SemanticMasks(torch.cat((face, 1 - face), 1), ("face", "background")))


def write_latents(path: Path, seed: int) -> None:
    save_file({"latents_1x6x8_bf16": torch.full((16, 6, 8), seed / 8, dtype=torch.bfloat16)}, path)


def write_text_embedding(path: Path, seed: int) -> None:
    save_file({"varlen_vl_embed_bf16": torch.full((3, 8), seed / 8, dtype=torch.bfloat16)}, path)


def write_lora(path: Path, seed: int) -> None:
    names = ("lora_up", "lora_down")
    tensors = {f"diffusion_model.layer.{name}.weight": torch.full((2, 2), seed / 8) for name in names}
    write_safetensors(path, tensors)


def write_words(path: Path, seed: int) -> None:
    path.write_text(f"word {seed}")


def write_state(path: Path, seed: int) -> None:
    path.write_bytes((OLD_RUN / f"state_{(4, 6, 8)[seed % 3]:06}.safetensors").read_bytes())


@dataclass(frozen=True)
class Case:
    """A node in a folder of its own, twice: with its texts typed, and with each from a node of its own.

    Attributes:
        inputs: `{folder}` stands for the folder. `["dataset", n]`: an output of Load Semantic Dataset there.
        reads: what it reads there, each with what writes it: every seed another content.
        dataset: what Load Semantic Dataset reads there.
        leaves: what lies there, and is not read.
        without: what follows when a file that it reads is deleted: an error or another result.
    """

    class_type: str
    inputs: dict[str, Any]
    reads: dict[str, Callable[[Path, int], None]]
    dataset: dict[str, Callable[[Path, int], None]] = field(default_factory=dict)
    leaves: dict[str, Callable[[Path, int], None]] = field(default_factory=dict)
    without: str = "an error"


CASES = {
    "dataset": Case(
        "SemanticFocusLoadDataset",
        {"folder": "{folder}", "default_caption": "-"},
        {"one.png": write_picture, "two.PNG": write_picture, "two.txt": write_words},
        leaves={"one_zi_masks.safetensors": write_masks, "three.txt": write_words, "one.npz": write_words},
        without="another result",
    ),
    "quoted": Case(
        "SemanticFocusLoadDataset",
        {"folder": ' "{folder}" ', "default_caption": "-"},
        {"one.png": write_picture, "two.png": write_picture},
        without="another result",
    ),
    "masks": Case(
        "SemanticFocusLoadMasks", {"mask_file": "{folder}/a.safetensors"}, {"a.safetensors": write_masks}
    ),
    "masks of a dataset": Case(
        "SemanticFocusLoadMasks",
        {"mask_file": ["dataset", 2]},
        {"one_zi_masks.safetensors": write_masks, "two_zi_masks.safetensors": write_masks},
        dataset={"one.png": write_picture, "two.png": write_picture},
        leaves={"three_zi_masks.safetensors": write_masks},
    ),
    "segmented": Case(
        "SemanticFocusSegment",
        {**SEGMENTATION, "images": ["dataset", 0], "mask_file": ["dataset", 2]},
        {},
        dataset={"one.png": write_picture, "two.png": write_picture},
    ),
    "masklabels": Case(
        "SemanticFocusLoadMaskPictures",
        {"folder": "'{folder}'", "form": "masklabel", "mask_folder": ""},
        {"one.png": write_picture, "one-masklabel.png": write_mask_picture},
        leaves={"one.txt": write_words, "two-masklabel.png": write_mask_picture},
    ),
    "mask folder": Case(
        "SemanticFocusLoadMaskPictures",
        {"folder": "{folder}", "form": "folder", "mask_folder": '"{folder}/masks"'},
        {"one.png": write_picture, "masks/one.webp": write_mask_picture},
        leaves={"masks/two.png": write_mask_picture, "one-masklabel.png": write_mask_picture},
    ),
    "training cache": Case(
        "SemanticFocusLoadTrainingCache",
        {"folder": "{folder}", "resolution_limit": 0, "image_folder": "{folder}/pictures"},
        {
            "one_64x48_zi.safetensors": write_latents,
            "one_zi_te.safetensors": write_text_embedding,
            "pictures/one_zi_masks.safetensors": write_masks,
        },
        leaves={
            "lora.safetensors": write_lora,
            "pictures/two.png": write_picture,
            "pictures/one.txt": write_words,
        },
    ),
    "state": Case(
        "SemanticFocusLoadTrainState",
        {"path": "{folder}/state.safetensors"},
        {"state.safetensors": write_state},
    ),
    "states": Case(
        "SemanticFocusLoadTrainState",
        {"path": "{folder}"},
        {"state_000004.safetensors": write_state},
        leaves={"lora_000004.safetensors": write_lora},
    ),
    "cached": Case(
        "SemanticFocusCacheDataset",
        {**SEGMENTATION, "folder": "{folder}", "report": False},
        {"one.png": write_picture, "two.png": write_picture},
        leaves={"one.txt": write_words},
        without="another result",
    ),
}

UNRELATED = ("notes.md", "unrelated.safetensors", ".hidden.png", "thumbs.db")
READS = [(name, file) for name, case in CASES.items() for file in case.reads]


@dataclass
class Changes:
    """All cases in one graph, which has run; each in a folder of its name below `place`."""

    server: "ComfyServer"
    place: Path
    graph: Graph
    seeds: Iterator[int]

    def write(self, name: str, file: str) -> None:
        """A file of a case, with a content that it never had."""
        case = CASES[name]
        path = self.place / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        {**case.reads, **case.dataset, **case.leaves}[file](path, next(self.seeds))

    def ran(self) -> set[str]:
        """The nodes that a run of the graph had to run."""
        return executed(self.server, self.graph)


def executed(server: "ComfyServer", graph: Graph) -> set[str]:
    """The nodes that ComfyUI did not have the result of, when it ran the graph."""
    messages = server.run(graph)["status"]["messages"]
    kept = {it for kind, data in messages if kind == "execution_cached" for it in data["nodes"]}
    return set(graph) - kept


def of(name: str) -> set[str]:
    """The nodes of a case that run when it reads something new."""
    return {f"{name} {way}{part}" for way in ("typed", "linked") for part in ("", " shown")}


def both_ways(name: str, case: Case, folder: Path) -> Graph:
    graph: Graph = {}
    for way in ("typed", "linked"):
        inputs = dict(case.inputs)
        for key, value in case.inputs.items():
            if isinstance(value, list):
                graph[f"{name} {way} dataset"] = node(
                    "SemanticFocusLoadDataset", folder=str(folder), default_caption="-"
                )
                inputs[key] = [f"{name} {way} dataset", value[1]]
            elif isinstance(value, str) and "{folder}" in value:
                inputs[key] = value.format(folder=folder)
                if way == "linked":
                    graph[f"{name} {key}"] = node("PrimitiveString", value=inputs[key])
                    inputs[key] = [f"{name} {key}", 0]
        graph[f"{name} {way}"] = node(case.class_type, **inputs)
        graph[f"{name} {way} shown"] = node("PreviewAny", source=[f"{name} {way}", 0])
    return graph


@pytest.fixture(scope="module")
def changes(server: "ComfyServer", tmp_path_factory: pytest.TempPathFactory) -> Changes:
    place = tmp_path_factory.mktemp("changes")
    graph: Graph = {}
    for name, case in CASES.items():
        graph.update(both_ways(name, case, place / name))
    changes = Changes(server, place, graph, itertools.count())
    for name, case in CASES.items():
        for file in (*case.reads, *case.dataset, *case.leaves):
            changes.write(name, file)
    assert changes.ran() == set(graph)
    assert changes.ran() == set()
    return changes


@pytest.fixture
def settled(changes: Changes, logged: Callable[[], str]) -> Iterator[None]:
    """After each test a run of all runs nothing; and no fingerprint made ComfyUI complain."""
    yield
    assert changes.ran() == set()
    assert "WARNING: " not in logged()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("name", "file"), READS)
def test_what_is_edited_replaced_or_deleted_is_seen_by_who_reads_it(
    changes: Changes, comfy: ModuleType, name: str, file: str
):
    changes.write(name, file)
    assert changes.ran() == of(name)
    path = changes.place / name / file
    before = path.stat()
    changes.write(name, file)
    path.with_name("new").write_bytes(path.read_bytes())
    os.utime(path.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(path.with_name("new"), path)  # another content of the same time
    assert changes.ran() == of(name)
    path.unlink()
    if CASES[name].without == "an error":
        with pytest.raises(comfy.PromptFailed) as caught:
            changes.ran()
        assert name in caught.value.node_id
    else:
        assert changes.ran() == of(name)
    changes.write(name, file)
    assert changes.ran() == of(name)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", CASES)
def test_what_has_nothing_to_do_with_it_makes_nothing_run(changes: Changes, name: str):
    case = CASES[name]
    for folder in {(changes.place / name / file).parent for file in (*case.reads, *case.dataset)}:
        for file in UNRELATED:
            (folder / file).write_bytes(b"unrelated")
    for file in case.leaves:
        changes.write(name, file)
    assert changes.ran() == set()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dataset])
def test_a_change_that_the_node_before_sees_goes_through(changes: Changes, name: str):
    changes.write(name, "one.png")
    assert changes.ran() == of(name) | {f"{name} {way} dataset" for way in ("typed", "linked")}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", ["segmented", "cached"])
def test_a_mask_file_that_was_deleted_is_made_again(changes: Changes, name: str):
    file = changes.place / name / "one_zi_masks.safetensors"
    masks = file.read_bytes()
    file.unlink()
    assert changes.ran() == of(name)
    assert file.read_bytes() == masks


def test_a_lora_of_the_list_is_read_again(server: "ComfyServer"):
    folder = server.base_directory / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    write_lora(folder / "changes.safetensors", 1)
    graph = {
        "lora": node("SemanticFocusLoadLoRA", lora_name="changes.safetensors"),
        "shown": node("PreviewAny", source=["lora", 1]),
    }
    assert executed(server, graph) == set(graph)
    assert executed(server, graph) == set()
    write_lora(folder / "changes.safetensors", 2)
    write_lora(folder / "unrelated.safetensors", 2)
    assert executed(server, graph) == set(graph)
    assert executed(server, graph) == set()
    for name in ("changes", "unrelated"):
        (folder / f"{name}.safetensors").unlink()


def test_what_a_node_has_saved_and_somebody_deleted_is_saved_again(server: "ComfyServer", tmp_path: Path):
    write_masks(tmp_path / "masks.safetensors", 1)
    saved = tmp_path / "saved_zi_masks.safetensors"
    graph = {
        "masks": node("SemanticFocusLoadMasks", mask_file=str(tmp_path / "masks.safetensors")),
        "save": node("SemanticFocusSaveMasks", masks=["masks", 0], mask_file=str(saved)),
    }
    assert executed(server, graph) == {"masks", "save"}
    assert executed(server, graph) == set()
    saved.unlink()
    assert executed(server, graph) == {"save"}
    assert saved.is_file()


def test_a_training_whose_folder_was_deleted_is_done_again(server: "ComfyServer", training: Graph):
    training["9"]["inputs"]["run_name"] = "deleted"
    server.run(training)
    assert executed(server, training) == set()
    shutil.rmtree(run_folder(server, "deleted"))
    assert executed(server, training) == {"9", "10"}
    assert (run_folder(server, "deleted") / "lora_000003.safetensors").is_file()
