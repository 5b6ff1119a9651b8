"""Limits hold for the sum: mask files, fitted pictures and repeats that ask for more than a computer has."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from semantic_focus.datasets import fit as fit_file
from semantic_focus.datasets.fit import fit, parse_resolutions
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.freshness import PictureResult
from semantic_focus.datasets.mask_file import MaskFileError, mask_path, read_masks, save_masks
from semantic_focus.datasets.mask_levels import to_png
from semantic_focus.datasets.survey import read_entry
from semantic_focus.datasets.thumbnails import thumbnail
from semantic_focus.regions import large
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.settings.training import SOURCE
from semantic_focus.training.data import TrainingPictures

from ...by_path import REPO

GIB = 2**30


def of_pngs(path: Path, labels: int, persons: int, side: int) -> None:
    """A png mask file that says it has so many masks and persons of this side; what it holds is tiny."""
    tiny = to_png(torch.zeros(2, 2, dtype=torch.uint8))
    names = [f"own {number}" for number in range(labels)]
    header = {"encoding": "png", "image_size": f"[{side}, {side}]", "labels": json.dumps(names)}
    tensors = {f"{name}_mask": tiny.clone() for name in names}
    save_file({**tensors, "persons": tiny}, path, {**header, "persons": str(persons)})


def of_numbers(path: Path, labels: int, persons: int, side: int) -> None:
    """The same in the other encoding, as a sparse file: 8-bit masks, which take more than that in memory."""
    shapes = {f"own {number}_mask": [side, side] for number in range(labels)}
    if persons:
        shapes["persons"] = [persons, side, side]
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + int(torch.tensor(shape).prod())
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.parametrize(
    ("write", "labels", "persons", "side"),
    [
        (of_pngs, 40, 0, 16384),
        (of_pngs, 4, 5, 16384),
        (of_pngs, 1, 256, 4096),
        (of_pngs, 1000, 0, 1024),
        (of_numbers, 600, 0, 1600),
        (of_numbers, 1, 60, 5000),
    ],
)
def test_a_mask_file_that_asks_for_too_much_in_all_is_refused_undecoded(
    tmp_path: Path, write: Callable[..., None], labels: int, persons: int, side: int
):
    path = tmp_path / "one_zi_masks.safetensors"
    write(path, labels, persons, side)
    sizes = 2 if side * side > large.LARGE else 4
    assert (labels + persons) * side**2 * sizes > 2 * GIB  # what the case is about
    with pytest.raises(MaskFileError, match=r"take [\d.]+ GiB of memory, all of one picture may take 2\. "):
        read_masks(path)


def test_masks_that_would_be_too_much_to_read_are_not_written(tmp_path: Path):
    flat = torch.zeros(1, 1, 1).expand(600, 1024, 1024)
    with pytest.raises(ValueError, match=r"600 masks and 0 persons of 1024x1024 take 2\.3 GiB"):
        save_masks(
            tmp_path / "one_zi_masks.safetensors", SemanticMasks(flat[None], tuple(map(str, range(600))))
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ((1 << 20).to_bytes(8, "little") + b" " * (1 << 21), "not a complete safetensors file"),
        (
            (1 << 21).to_bytes(8, "little") + b" " * (1 << 21),
            "header is 2097152 bytes long, .* at most 1048576",
        ),
    ],
)
def test_a_header_that_is_a_file_of_its_own_is_refused(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "one_zi_masks.safetensors"
    path.write_bytes(content)
    with pytest.raises(MaskFileError, match=said):
        read_masks(path)


def test_a_file_larger_than_all_masks_may_be_is_not_opened(tmp_path: Path):
    path = tmp_path / "one_zi_masks.safetensors"
    path.touch()
    os.truncate(path, 2 * GIB + 1)
    with pytest.raises(MaskFileError, match="2147483649 bytes long, a mask file is at most 2147483648"):
        read_masks(path)


LIES = {
    "a share of 400 digits": {"coverage": '{"face": ' + "9" * 400 + "}"},
    "a share of 5,000 digits": {"coverage": '{"face": ' + "9" * 5000 + "}"},
    "an endless share": {"coverage": '{"face": 1e999}'},
    "a share that is no number": {"coverage": '{"face": NaN}'},
    "a deep share": {"coverage": "[" * 100_000},
    "deep categories": {"coverage": "{}", "categories_detected": "[" * 100_000},
    "many persons": {"persons": "9" * 400},
    "no persons": {"persons": "-3"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_not_believed_and_the_masks_are_measured(tmp_path: Path, lie: str):
    path = tmp_path / "one_zi_masks.safetensors"
    told = {"coverage": '{"face": 0.9}', "categories_detected": '["face"]', **LIES[lie]}
    face = torch.zeros(4, 4)
    face[:1] = 1
    save_file({"face_mask": face}, path, told)
    entry = read_entry(PictureResult(tmp_path / "one.png", "kept"))
    assert entry.coverage == {"face": 0.25} and entry.persons is None


def test_resolutions_of_a_picture_are_few(tmp_path: Path):
    assert len(parse_resolutions("64 " * 8)) == 8
    with pytest.raises(ValueError, match="9 more resolutions: give 8 at most"):
        parse_resolutions("64 " * 9)


def test_a_batch_is_fitted_to_so_many_pixels_at_most(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fit_file, "MOST_PIXELS", 2 * 128 * 128)
    assert fit(torch.zeros(2, 8, 8, 3), None, 128, 64)[0].shape == (2, 128, 128, 3)
    with pytest.raises(ValueError, match=r"3 pictures of 128x128 have 49152 pixels, 32768 at most.*\(128\)"):
        fit(torch.zeros(3, 8, 8, 3), None, 128, 64)


def test_repeats_have_an_upper_end():
    latents, masks = tuple(torch.zeros(2, 1, 2, 2)), tuple(torch.zeros(2, 1, 2, 2))
    assert TrainingPictures(latents, masks, ("face",), (1, 999_999))
    with pytest.raises(ValueError, match="add up to 1000001 pictures.*1000000 at most.*only their ratios"):
        TrainingPictures(latents, masks, ("face",), (1, 1_000_000))
    with pytest.raises(ValueError, match="from 1 to 100000"):
        SOURCE["num_repeats"](100_001)


class TestLargePictures:
    """Pictures with many pixels."""

    def masks(self, height: int, width: int) -> Tensor:
        """Float[2, H, W]: a disc and all around it."""
        y, x = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
        disc = (((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.09).float()
        return torch.stack((disc, 1 - disc))

    def test_a_picture_of_too_many_pixels_is_refused_by_its_header(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
        monkeypatch.setattr(large, "MOST_PIXELS", 1000)
        for read in (load_picture, lambda path: thumbnail(path, 8)):
            with pytest.raises(DatasetError, match=r"one\.png: it is 40x30, .* Make the picture smaller"):
                read(tmp_path / "one.png")

    def test_masks_of_a_large_picture_come_back_in_half_precision_and_equal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        masks, path = self.masks(60, 90), tmp_path / "one_zi_masks.safetensors"
        stack = SemanticMasks(masks[None], ("face", "background"), (masks[:1],))
        save_masks(path, stack)
        small, known = read_masks(path), path.read_bytes()
        monkeypatch.setattr(large, "LARGE", 60 * 90 - 1)
        found = read_masks(path)
        assert (small.masks.dtype, found.masks.dtype) == (torch.float32, torch.float16)
        assert torch.equal((found.masks.float() * 255).round(), (small.masks * 255).round())
        save_masks(path, found)
        assert path.read_bytes() == known

    def test_what_is_enlarged_sums_to_one_and_keeps_its_place(self, monkeypatch: pytest.MonkeyPatch):
        whole = self.masks(120, 160)
        monkeypatch.setattr(large, "LARGE", 60 * 80)
        size = large.working_size((120, 160))
        assert size == (60, 80)
        again = large.enlarged(torch.stack([large.worked_on(layer) for layer in whole]), (120, 160)).float()
        assert (again.sum(0) - 1).abs().max() < 2e-3
        hard, known = again[0] >= 0.5, whole[0] >= 0.5
        assert float((hard & known).sum() / (hard | known).sum()) > 0.98


MEASURE = """
import json, sys, torch
from benchmarks.segment_memory import measured
from pathlib import Path
print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("way", ["nodes"])
def test_a_photograph_of_16_megapixels_takes_no_more_than_its_share_of_memory(
    photographs: Path, weights: Path, tmp_path: Path, way: str
):
    picture = tmp_path / "one.jpg"
    Image.open(photographs / "zidane.jpg").resize((5120, 3125)).save(picture, quality=80)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, way, str(picture)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = json.loads(done.stdout.splitlines()[-1])
    # the picture 183 MiB, six masks in half precision 183, and 900 for what is worked on at 4 megapixels
    assert max(peaks.values()) < 1270, peaks
    assert (mask_path(picture) if way == "shell" else picture).is_file()
