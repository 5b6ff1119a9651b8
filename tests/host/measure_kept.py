"""What test_kept.py asserts, measured inside a ComfyUI: `python measure_kept.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI and looks into the cache of its executor. The pack is loaded
as ComfyUI loads it, so that its classes are known by their names here.
"""

import asyncio
import importlib
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing(False)

from comfy.cli_args import args  # noqa: E402

args.cpu = True

import folder_paths  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from semantic_focus.datasets.fit import fit  # noqa: E402
from semantic_focus.datasets.folder import load_picture  # noqa: E402
from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks  # noqa: E402
from semantic_focus.regions.masks import SemanticMasks  # noqa: E402

nodes, execution = map(importlib.import_module, ("nodes", "execution"))
REPO = Path(__file__).resolve().parents[2]
PICTURES, SIZE, RESOLUTION, MULTIPLE = 6, (1200, 1600), 256, 64
LABELS = ("face", "background")
LOAD, SEGMENT, FIT, SCALE, SHOW = "load", "segment", "fit", "scale", "show"
logging.disable(logging.WARNING)


class Server:
    """Stands in for the server of an executor."""

    client_id = last_node_id = last_prompt_id = None

    def send_sync(self, *_: Any) -> None:
        pass


def make_dataset(folder: Path) -> list[Path]:
    """Photograph-like noise, each with masks of a soft disc and of one person."""
    rows, columns = torch.arange(SIZE[0])[:, None], torch.arange(SIZE[1])[None]
    made = []
    for number in range(PICTURES):
        path = folder / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(noise).save(path, compress_level=0)
        path.with_suffix(".txt").write_text("noise")
        distance = ((rows - 600) ** 2 + (columns - 500 - 100 * number) ** 2).sqrt()
        face = ((400 - distance) / 8).clamp(0, 1)
        save_masks(
            mask_path(path), SemanticMasks(torch.stack((face, 1 - face))[None], LABELS, (face[None] * 0.5,))
        )
        made.append(path)
    return made


def graph(folder: Path) -> dict[str, Any]:
    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        LOAD: node("SemanticFocusLoadDataset", folder=str(folder), default_caption=""),
        SEGMENT: node(
            "SemanticFocusSegment",
            images=[LOAD, 0],
            backend="mediapipe",
            refine="off",
            keywords="face:\nbackground:",
            mask_file=[LOAD, 2],
        ),
        FIT: node(
            "SemanticFocusFit",
            images=[LOAD, 0],
            masks=[SEGMENT, 0],
            resolution=RESOLUTION,
            multiple_of=MULTIPLE,
        ),
        SCALE: node(
            "ImageScale", image=[LOAD, 0], upscale_method="area", width=80, height=60, crop="disabled"
        ),
        SHOW: node("PreviewImage", images=[SCALE, 0]),
    }


def taken(value: Any, seen: set[int]) -> int:
    """Bytes that a value of the cache keeps, those that were seen already not counted again."""
    kind = type(value).__name__
    if kind == "OnDisk":
        last = type(value)._read_last
        return sum(taken(one, seen) for one in (value._changed, last and last[1]))
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        is_new = storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        return storage.nbytes() if is_new else 0
    if kind == "PackedMasks":
        return value.bytes_kept
    if kind == "SemanticMasks":
        return sum(taken(one, seen) for one in (value.masks, *value.persons))
    return sum(taken(one, seen) for one in value) if isinstance(value, list | tuple) else 0


def run(folder: Path) -> dict[str, list[Any]]:
    """The outputs of each node, as the executor keeps them."""
    settings = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
    executor = execution.PromptExecutor(Server(), execution.CacheType.CLASSIC, settings)
    executor.execute(graph(folder), "kept", {}, [FIT, SEGMENT, SHOW])
    assert executor.success, executor.status_messages
    kept = executor.caches.outputs
    return {
        name: kept.cache[kept.cache_key_set.get_data_key(name)].outputs
        for name in (LOAD, SEGMENT, FIT, SCALE)
    }


def compare(outputs: dict[str, list[Any]], paths: list[Path]) -> dict[str, list[bool]]:
    """Whether each is, to the bit, what the library and ComfyUI make of the files themselves."""
    same = {"pictures": [], "masks": [], "persons": [], "scaled": []}
    for number, path in enumerate(paths):
        picture = load_picture(path)[None]
        pictures, masks = fit(picture, read_masks(mask_path(path)), RESOLUTION, MULTIPLE)
        assert masks is not None
        found = outputs[FIT][1][number].unpacked()
        scaled = nodes.ImageScale().upscale(picture, "area", 80, 60, "disabled")[0]
        same["pictures"].append(torch.equal(outputs[FIT][0][number], pictures))
        same["masks"].append(torch.equal(found.masks, masks.masks))
        same["persons"].append(torch.equal(found.persons[0], masks.persons[0]))
        same["scaled"].append(torch.equal(outputs[SCALE][0][number], scaled))
    return same


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        folder_paths.set_temp_directory(place)
        paths = make_dataset(folder)
        assert asyncio.run(nodes.load_custom_node(str(REPO)))
        outputs = run(folder)
        seen: set[int] = set()
        found = {
            "kept": {name: taken(values, seen) for name, values in outputs.items()},
            "same": compare(outputs, paths),
            "sizes": [list(picture.shape) for picture in outputs[FIT][0]],
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
