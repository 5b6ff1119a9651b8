"""Whether the server keeps answering while nodes and routes of this pack are at work.

    python -m benchmarks.answering [--megapixels 12] [--pictures 1000] [--labels 40] [--many 90000]

Starts a real ComfyUI, asks it for /system_stats without a pause, and prints for each kind of work the
longest time that an answer took. An idle server's is printed first: on a busy machine that is not nothing.
Ends with 1 when a bar is missed.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from host.serve import ComfyServer
from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.keywords import format_keywords
from semantic_focus.segmenters.protocol import SegmentRequest

CHECKOUT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = CHECKOUT / ".cache" / "photographs" / "zidane.jpg"
SILENCE_BAR = 1.0
"""Most seconds that /system_stats may take beyond an idle server's longest."""
IDLE_SECONDS = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description="How long the server is silent while this pack works.")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--many", type=int, default=90_000, help="pictures of one more folder, without masks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="answering_") as name:
        folder = Path(name)
        first, large = (one_photograph(folder / f"{size:g}", size) for size in (0.1, options.megapixels))
        many = small_pictures(folder / "many", options.pictures)
        linked = links_to_one_picture(folder / "linked", options.many)
        masks = many_labels(folder / "labels", options.labels)
        with ComfyServer(folder / "comfyui") as server:
            idle = longest(server, lambda: time.sleep(IDLE_SECONDS))
            print(f"{'idle':<44} {idle:6.2f} s", flush=True)
            works = {
                "the segmenter is loaded": lambda: server.run(drawn(first)),
                f"a picture of {options.megapixels:g} MP is segmented and drawn": lambda: server.run(
                    drawn(large)
                ),
                "its thumbnail and regions": lambda: listed(server, large, looked_at=True),
                f"a folder of {options.pictures} pictures is listed": lambda: listed(server, many),
                f"a folder of {options.many} pictures is opened": lambda: opened(server, linked),
                f"a mask file of {options.labels} labels is read and drawn": lambda: server.run(shown(masks)),
                "a request of 20 MB of brackets": lambda: asked(server, "[" * 20_000_000),
                "a request of 20 MB of keywords": lambda: asked(server, "a: b\n" * 4_000_000),
            }
            silences = {what: silence(server, what, work) for what, work in works.items()}
    return int(any(longest_one > idle + SILENCE_BAR for longest_one in silences.values()))


def silence(server: ComfyServer, what: str, work: Callable[[], object]) -> float:
    """Print and give the longest answer while a work is under way."""
    found = longest(server, work)
    print(f"{what:<44} {found:6.2f} s", flush=True)
    return found


def longest(server: ComfyServer, work: Callable[[], object]) -> float:
    """Seconds of the longest answer while a work is under way."""
    with asking(server) as answers:
        work()
    return max(answers)


@contextmanager
def asking(server: ComfyServer) -> Iterator[list[float]]:
    """Ask the server for /system_stats again and again; the seconds that each answer took."""
    over, answers = threading.Event(), [0.0]

    def ask() -> None:
        while not over.is_set():
            began = time.monotonic()
            server._json("/system_stats")
            answers.append(time.monotonic() - began)
            time.sleep(0.01)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        over.set()
        asker.join()


def one_photograph(folder: Path, megapixels: float) -> Path:
    """A folder with one photograph of so many pixels."""
    folder.mkdir()
    with Image.open(PHOTOGRAPH) as file:
        scale = (megapixels * 1e6 / (file.width * file.height)) ** 0.5
        size = (round(file.width * scale), round(file.height * scale))
        file.convert("RGB").resize(size).save(folder / "one.jpg", quality=92)
    return folder


def small_pictures(folder: Path, count: int) -> Path:
    """A folder of small pictures with mask files."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (32, 32), (number % 256, 0, 0)).save(folder / f"{number}.png")
        save_masks(folder / f"{number}_zi_masks.safetensors", {"face": torch.zeros(32, 32)})
    return folder


def links_to_one_picture(folder: Path, count: int) -> Path:
    """A folder of so many names of one small picture, without mask files."""
    folder.mkdir()
    first = folder / "0.png"
    Image.new("RGB", (8, 8)).save(first)
    for number in range(1, count):
        (folder / f"{number}.png").hardlink_to(first)
    return folder


def many_labels(folder: Path, labels: int) -> Path:
    """A folder with one picture of 4 megapixels and a mask file of so many labels."""
    folder.mkdir()
    Image.new("RGB", (2048, 2048)).save(folder / "one.png")
    layer = torch.zeros(2048, 2048)
    layer[::3] = 1
    save_masks(folder / "one_zi_masks.safetensors", {f"own {number}": layer for number in range(labels)})
    return folder


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def drawn(folder: Path) -> dict[str, Any]:
    """Segment a folder, keep the masks, and draw them."""
    return {
        "1": node("SemanticFocusLoadDataset", folder=str(folder), default_caption="x"),
        "2": node(
            "SemanticFocusSegment",
            images=["1", 0],
            backend="mediapipe",
            refine="fast",
            keywords=format_keywords(SegmentRequest().prompts),
            mask_file=["1", 2],
        ),
        "3": node("SemanticFocusPreview", images=["1", 0], masks=["2", 0], opacity=0.5),
    }


def shown(folder: Path) -> dict[str, Any]:
    """Read the mask file of a folder and draw it."""
    return {
        "1": node("SemanticFocusLoadDataset", folder=str(folder), default_caption="x"),
        "2": node("SemanticFocusLoadMasks", mask_file=["1", 2]),
        "3": node("SemanticFocusPreview", images=["1", 0], masks=["2", 0], opacity=0.5),
    }


def listed(server: ComfyServer, folder: Path, looked_at: bool = False) -> None:
    """List a folder until all of it is checked; `looked_at`: its first picture and regions too."""
    answer: dict[str, Any] = {"complete": False}
    while not answer["complete"]:
        answer = server._json("/semantic_focus/dataset", {"folder": str(folder)})
    if looked_at:
        place = f"folder={answer['folder']}&name={answer['pictures'][0]['name']}&side=1024"
        for layer in ("", "&layer=regions"):
            server._request(f"/semantic_focus/thumbnail?{place}{layer}")


def opened(server: ComfyServer, folder: Path) -> None:
    """What the browser asks for at first: the list, however far it is checked, and once more."""
    for _ in range(2):
        # not read as JSON: that would keep this process from asking meanwhile
        answer = server._request("/semantic_focus/dataset", {"folder": str(folder)})
        count, left = answer.count(b'"status":'), answer.count(b'"status": "unchecked"')
        print(f"  {count} pictures, {count - left} checked", file=sys.stderr)


def asked(server: ComfyServer, text: str) -> None:
    """A request that says nothing, at length; it may be refused."""
    try:
        server._json("/semantic_focus/dataset", {"folder": "nowhere", "keywords": text})
    except OSError as error:
        print(f"  refused: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
