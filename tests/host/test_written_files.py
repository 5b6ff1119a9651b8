"""What a graph writes, whatever path it was given: nothing that is not ours changes by one byte."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.datasets.mask_file import load_masks, save_masks

from .graphs import Graph, failure, node

if TYPE_CHECKING:
    from host.serve import ComfyServer

MASKS = "_zi_masks.safetensors"
SIDE = 64
BY_HAND = {"face": torch.ones(SIDE, SIDE)}


def _lora(path: Path) -> None:
    save_file({"lora_unet_a.lora_up.weight": torch.ones(2, 2)}, path, {"image_digest": "0", "labels": "[]"})


def _ours_by_header(path: Path) -> None:
    save_masks(path.with_name(f"made{MASKS}"), BY_HAND, {"image_digest": "of another picture"})
    path.with_name(f"made{MASKS}").rename(path)


BAIT: dict[str, Callable[[Path], object]] = {
    "photo.png": lambda path: Image.new("RGB", (SIDE, SIDE), "red").save(path),
    "photo.jpg": lambda path: Image.new("RGB", (SIDE, SIDE), "red").save(path),
    "photo.txt": lambda path: path.write_text("a caption"),
    "model.ckpt": lambda path: path.write_bytes(b"PK\x03\x04 a checkpoint"),
    "model.gguf": lambda path: path.write_bytes(b"GGUF" + bytes(64)),
    "model.safetensors": _lora,
    f"lora{MASKS}": _lora,
    f"empty{MASKS}": lambda path: save_file({}, path),
    "run.sh": lambda path: path.write_text("#!/bin/sh\necho mine\n"),
    "config.toml": lambda path: path.write_text("[model]\n"),
    "no_ending": lambda path: path.write_text("mine"),
    ".hidden": lambda path: path.write_text("mine"),
    "made.safetensors": _ours_by_header,
    f"small{MASKS}": lambda path: save_masks(path, {"face": torch.ones(8, 8)}),
    f"int{MASKS}": lambda path: save_file({"face_mask": torch.ones(SIDE, SIDE, dtype=torch.int32)}, path),
    f"folder{MASKS}": lambda path: (path.mkdir(), (path / "mine.txt").write_text("mine")),
    f"pipe{MASKS}": os.mkfifo,
    f"device{MASKS}": lambda path: path.symlink_to("/dev/full"),
    f"null{MASKS}": lambda path: path.symlink_to("/dev/null"),
    f"to_lora{MASKS}": lambda path: path.symlink_to(path.with_name("model.safetensors")),
    f"to_picture{MASKS}": lambda path: path.symlink_to(path.with_name("photo.png")),
    f"to_caption{MASKS}": lambda path: path.symlink_to("photo.txt"),
    f"to_folder{MASKS}": lambda path: path.symlink_to(path.parent),
    f"to_nothing{MASKS}": lambda path: path.symlink_to(path.with_name("nothing.txt")),
    f"to_no_folder{MASKS}": lambda path: path.symlink_to(path.parent / "gone" / f"a{MASKS}"),
    f"circle{MASKS}": lambda path: path.symlink_to(path),
}
"""What is there and not ours, by its name in the folder, and what makes it."""

PATHS = {
    f"relative{MASKS}": "give the whole path",
    f"./relative{MASKS}": "give the whole path",
    f"../relative{MASKS}": "give the whole path",
    f"input/relative{MASKS}": "give the whole path",
    f"C:\\Users\\me\\a{MASKS}": "give the whole path",
    f"\\\\host\\share\\a{MASKS}": "a network or device path",
    f"file:///tmp/a{MASKS}": "give the whole path",
    f"{{folder}}/mistyped/a{MASKS}": "there is no folder",
    f"{{folder}}/mistyped/deep/er/a{MASKS}": "there is no folder",
    f"{{folder}}/photo.png/a{MASKS}": "there is no folder",
    f"{{folder}}/{'n' * 250}{MASKS}": "longer than a disk takes",
    f"{{folder}}/{'n/' * 2500}a{MASKS}": "longer than a disk takes",
    f"{{folder}}/nul\0{MASKS}": "NUL character",
    f"~nobody is called so/a{MASKS}": "no such home folder",
    "{folder}": "ends in",
    "{folder}/": "ends in",
    "{folder}/new.safetensors": "ends in",
    "{folder}/new.png": "ends in",
    f"{{folder}}/a{MASKS}.png": "ends in",
    f"{{folder}}/A{MASKS.upper()}": "ends in",
    "/": "ends in",
    "/dev/full": "ends in",
    "/dev/null": "ends in",
    f"/dev/new{MASKS}": "outside /dev",
    f"/proc/self/fd/a{MASKS}": "outside /dev",
    f"/proc/self/cwd/a{MASKS}": "outside /dev",
    f"{{folder}}/../../../../../../../dev/new{MASKS}": "outside /dev",
    "COM1": "ends in",
    "123": "ends in",
    "   ": "no path given",
    '""': "no path given",
    "..": "ends in",
    "~": "ends in",
}
"""Paths at which nothing of ours may appear, and what is said of each."""


def contents(*folders: Path) -> dict[str, str]:
    """What lies below the folders, and a digest of what it holds."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "folder or pipe"
    return found


@pytest.fixture(scope="module")
def baits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baits")
    for name, make in BAIT.items():
        make(folder / name)
    return folder


def saving(path: Any) -> Graph:
    return {
        "solid": node("SolidMask", value=1.0, width=SIDE, height=SIDE),
        "masks": node("SemanticFocusFromMask", mask=["solid", 0], name="hair", merge="one mask per picture"),
        "save": node("SemanticFocusSaveMasks", masks=["masks", 0], mask_file=path),
    }


def segmenting(path: str) -> Graph:
    """As a stranger's workflow does it: the path comes out of another node."""
    return {
        "picture": node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=0x808080),
        "path": node("PrimitiveString", value=path),
        "segment": node(
            "SemanticFocusSegment",
            images=["picture", 0],
            backend="mediapipe",
            refine="off",
            keywords="face: face\nbackground: wall",
            mask_file=["path", 0],
        ),
    }


def refused(server: "ComfyServer", comfy: ModuleType, graph: Graph) -> str:
    said = failure(server, comfy, graph)
    assert not any(bare in said for bare in ("Error:", "[Errno", "Traceback", "(os error")), said
    return said


@pytest.mark.parametrize("name", BAIT)
def test_what_is_there_and_not_ours_stays(server: "ComfyServer", comfy: ModuleType, baits: Path, name: str):
    before = contents(baits)
    for make in (saving, segmenting):
        said = refused(server, comfy, make(str(baits / name)))
        assert name in said
    assert contents(baits) == before


@pytest.mark.parametrize("path", PATHS)
def test_no_file_and_no_folder_appears_at_a_wrong_path(
    server: "ComfyServer", comfy: ModuleType, baits: Path, path: str
):
    places = (baits, server.base_directory, Path.home())
    before = [set(os.listdir(folder)) for folder in (*places, "/dev", "/")], contents(baits)
    for make in (saving, segmenting):
        said = refused(server, comfy, make(path.replace("{folder}", str(baits))))
        assert re.search(PATHS[path], said), said
    assert ([set(os.listdir(folder)) for folder in (*places, "/dev", "/")], contents(baits)) == before


def test_masks_made_by_hand_are_read_and_damaged_ones_kept_under_another_name(
    server: "ComfyServer", comfy: ModuleType, tmp_path: Path, logged: Callable[[], str]
):
    path = tmp_path / f"one{MASKS}"
    save_masks(path, BY_HAND)
    content = path.read_bytes()
    (shown,) = server.run(segmenting(str(path)))["outputs"]["segment"]["semantic_focus"]
    assert (shown["backend"], shown["cache"], shown["absent"]) == ("by hand", "1/1", "background")
    assert [region["coverage"] for region in shown["regions"]] == [1, 0]
    assert "by hand or by another program, and is read as it is" in logged()
    assert "never replaced" in refused(server, comfy, saving(str(path)))
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]

    path.write_bytes(content[:-1])
    os.utime(path, (1, 1))
    graph = segmenting(str(path))
    graph["segment"]["inputs"]["refine"] = "fast"  # or ComfyUI has the answer already
    (shown,) = server.run(graph)["outputs"]["segment"]["semantic_focus"]
    aside = Path(shown["aside"])
    assert aside.parent == tmp_path and "damaged" in aside.name and aside.read_bytes() == content[:-1]
    assert logged().count(f"kept as {aside}") == 1
    assert set(load_masks(path)) == {"face", "background"}


def test_ours_is_replaced_and_what_a_person_saves_is_kept_from_then_on(
    server: "ComfyServer", comfy: ModuleType, tmp_path: Path
):
    path = tmp_path / f"one{MASKS}"
    server.run(segmenting(str(path)))
    assert set(load_masks(path)) == {"face", "background"}
    server.run(saving(str(path)))
    assert set(load_masks(path)) == {"hair", "background"}
    server.free()
    server.run(saving(str(path)))  # the same again is no fault
    graph = saving(str(path))
    graph["solid"]["inputs"]["value"] = 0.5
    assert "never replaced" in refused(server, comfy, graph)
    assert list(tmp_path.iterdir()) == [path] and load_masks(path)["hair"].min() == 1


PREFIXES = {
    "": "empty",
    "  ": "empty",
    "loras/": "empty",
    "loras//a": "empty",
    "../a": "leads out",
    "loras/../../a": "leads out",
    "..\\..\\a": "leads out",
    "/tmp/a": "leads out",
    "\\\\host\\share\\a": "leads out",
    "C:\\a": "leads out",
    "C:a": "leads out",
    "a:b": "leads out",
    "a*": "may not be in it",
    'a"b': "may not be in it",
    "a|b": "may not be in it",
    "a\0b": "NUL character",
    "a\nb": "cannot be printed",
    "loras\u2028/a": "cannot be printed",
    "nul": "device",
    "loras/con.x/a": "device",
    "a.": "dot or a blank",
    "./a": "dot or a blank",
    ".a/b": "dot or a blank",
    "n" * 300: "200 is the limit",
    "m/" * 2500 + "a": "cannot be made",
    "taken/file/a": "cannot be made",
}
"""Names of LoRAs that are refused, and why."""


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_lora_has_a_plain_name_in_the_output_folder(
    server: "ComfyServer", comfy: ModuleType, saved: str, training: Graph, prefix: str
):
    output = server.base_directory / "output"
    (output / "taken").mkdir(exist_ok=True)
    (output / "taken" / "file").write_text("mine")
    before = contents(output / "taken"), set(os.listdir(output)), set(os.listdir(server.base_directory))
    said = refused(server, comfy, saving_lora(training, saved, prefix))
    assert re.search(PREFIXES[prefix], said), said
    assert (
        contents(output / "taken"),
        set(os.listdir(output)),
        set(os.listdir(server.base_directory)),
    ) == before


def saving_lora(training: Graph, saved: str, prefix: str) -> Graph:
    return {
        "1": training["1"],
        "lora": node("SemanticFocusLoadLoRA", lora_name=saved),
        "save": node(
            "SemanticFocusSaveLoRA",
            lora=["lora", 0],
            model=["1", 0],
            filename_prefix=prefix,
            key_style="comfyui",
        ),
    }


def test_a_lora_replaces_nothing_also_where_a_link_leads_out(
    server: "ComfyServer", saved: str, training: Graph, tmp_path: Path
):
    """Links in the output folder are the owner's; ComfyUI's own nodes follow them, too."""
    (server.base_directory / "output" / "linked").symlink_to(tmp_path)
    (tmp_path / "person_00001_.safetensors").write_bytes(b"mine")
    (tmp_path / "person_00002_.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "person_00003_.safetensors").mkdir()
    before = contents(tmp_path)
    server.run(saving_lora(training, saved, "linked/person"))
    after = contents(tmp_path)
    (new,) = set(after) - set(before)
    assert Path(new).name == "person_00004_.safetensors" and before.items() <= after.items()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../a",
        "/tmp/a",
        "a/b",
        "a\\b",
        "C:a",
        "nul",
        "con.x",
        "a.",
        "a ",
        "a\0",
        "a\nb",
        "n" * 300,
    ],
)
def test_a_run_has_a_plain_name(server: "ComfyServer", comfy: ModuleType, training: Graph, name: str):
    runs = server.base_directory / "output" / "semantic_focus"
    runs.mkdir(exist_ok=True, parents=True)
    before = [set(os.listdir(folder)) for folder in (runs, runs.parent, server.base_directory)]
    training["9"]["inputs"]["run_name"] = name
    said = refused(server, comfy, training)
    assert "LoRA Train Step, run_name: " in said
    assert "Give a plain folder name, such as my_person" in said or "NUL character" in said
    assert [set(os.listdir(folder)) for folder in (runs, runs.parent, server.base_directory)] == before


def test_a_run_leaves_folders_and_files_of_others_alone(
    server: "ComfyServer", training: Graph, tmp_path: Path
):
    runs = server.base_directory / "output" / "semantic_focus"
    runs.mkdir(exist_ok=True, parents=True)
    (tmp_path / "mine.txt").write_text("mine")
    (runs / "others").symlink_to(tmp_path)
    (runs / "others_2").write_text("a file")
    (runs / "others_3").symlink_to(tmp_path / "nowhere")
    (runs / "others_4").mkdir()
    (runs / "others_4" / "state_000001.safetensors").write_bytes(b"mine")
    before = contents(tmp_path, runs / "others_4"), (runs / "others_2").read_text()
    server.run(train_of(training, "others"))
    assert (contents(tmp_path, runs / "others_4"), (runs / "others_2").read_text()) == before
    assert not (tmp_path / "nowhere").exists() and (runs / "others_5" / "run.json").is_file()


def train_of(training: Graph, name: str) -> Graph:
    training["9"]["inputs"]["run_name"] = name
    return training
