"""Pictures that wait on the disk: tensors to everybody, and no numbers in memory."""

import copy
import os
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semantic_focus.datasets.folder import DatasetError, load_picture, pictures_on_disk
from semantic_focus.datasets.on_disk import OnDisk

SHAPE = (1, 6, 5, 3)


class Source:
    """Reads numbers, counts how often, and knows which of them are still in memory."""

    def __init__(self, seed: int = 0):
        self.numbers = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
        self.given: list[weakref.ref[Tensor]] = []

    def __call__(self) -> Tensor:
        read = self.numbers.clone()
        self.given.append(weakref.ref(read))
        return read

    def in_memory(self) -> int:
        return sum(one() is not None for one in self.given)


USES: dict[str, Callable[[Any], Any]] = {
    "a slice": lambda it: it[..., :3],
    "a slice of one": lambda it: it[0],
    "rows": lambda it: torch.stack(list(it)),
    "another order": lambda it: it.movedim(-1, 1),
    "interpolate": lambda it: torch.nn.functional.interpolate(it.movedim(-1, 1), (3, 4), mode="bicubic"),
    "cat": lambda it: torch.cat([it, it]),
    "to": lambda it: it.to(torch.float16),
    "arithmetic": lambda it: 255.0 * (1 - it) / 2,
    "compare": lambda it: (it > 0.5) & (it == it),
    "where": lambda it: torch.where(it > 0.5, it, 0),
    "a number": lambda it: it.mean().item(),
    "a list": lambda it: it.tolist(),
    "numpy": lambda it: np.clip(it.cpu().numpy() * 255, 0, 255).astype(np.uint8),
    "an array": np.asarray,
    "dlpack": np.from_dlpack,
    "a copy": copy.deepcopy,
    "pickled": lambda it: pickle.loads(pickle.dumps(it)),
    "as a tensor": lambda it: torch.as_tensor(it) + 0,
    "printed": lambda it: str(it[0, 0]),
    "keywords": lambda it: torch.add(input=it, other=it),
    "memory of its own": lambda it: it.contiguous().untyped_storage().nbytes(),
    "steps through memory": lambda it: it.stride(),
}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # numpy says it of every tensor
def test_torch_and_numpy_do_with_it_what_they_do_with_a_tensor(name: str, mode: Callable[[], Any]):
    source = Source()
    with mode():
        found = USES[name](OnDisk(source, SHAPE))
        expected = USES[name](source.numbers)
    assert type(found) is type(expected) and not isinstance(found, OnDisk)
    if isinstance(expected, Tensor | np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(np.array(found), np.array(expected))
    else:
        assert found == expected


def test_its_form_is_known_without_reading():
    source = Source()
    waiting = OnDisk(source, SHAPE)
    assert isinstance(waiting, Tensor) and torch.is_tensor(waiting)
    assert (waiting.shape, waiting.size(1), len(waiting), waiting.ndim, waiting.dim()) == (SHAPE, 6, 1, 4, 4)
    assert (waiting.numel(), waiting.element_size(), waiting.dtype) == (90, 4, torch.float32)
    assert waiting.device.type == "cpu" and waiting.is_floating_point() and not waiting.is_nested
    assert not source.given


def test_at_hand_it_is_the_callers_and_nothing_stays():
    source, other = Source(), Source(1)
    waiting = OnDisk(source, SHAPE)
    OnDisk(other, SHAPE).mean()
    found = waiting.at_hand()
    assert type(found) is Tensor and torch.equal(found, source.numbers)
    assert other.in_memory() == 0
    del found
    assert source.in_memory() == 0


def test_of_many_only_the_last_one_stays_and_a_loop_reads_it_once():
    sources = [Source(seed) for seed in range(4)]
    waiting = [OnDisk(source, SHAPE) for source in sources]
    for one in waiting:
        for row in range(6):
            one[0, row].sum()
    assert [len(source.given) for source in sources] == [1, 1, 1, 1]
    assert [source.in_memory() for source in sources] == [0, 0, 0, 1]


def put(it: Tensor) -> None:
    it[0, 0] = 0.25


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "put": put,
    "in place": lambda it: it.mul_(0.5),
    "an operator": lambda it: it.__imul__(0.5),
    "out": lambda it: torch.mul(it, 0.5, out=it),
    "a function of torch": lambda it: torch.relu_(it.sub_(0.5)),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_into_it_stays(name: str):
    source = Source()
    waiting, expected = OnDisk(source, SHAPE), source.numbers.clone()
    WRITES[name](waiting)
    WRITES[name](expected)
    OnDisk(Source(1), SHAPE).mean()
    assert torch.equal(waiting[:], expected) and torch.equal(waiting.at_hand(), expected)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_picture_of_a_folder_is_what_is_in_its_file(picture: Path):
    (waiting,) = pictures_on_disk([picture])
    assert isinstance(waiting, OnDisk) and waiting.shape == (1, 8, 12, 3)
    assert torch.equal(waiting.at_hand()[0], load_picture(picture))


@pytest.mark.parametrize("change", ["written", "deleted"])
def test_a_file_that_is_another_one_since_is_refused_by_name(picture: Path, change: str):
    (waiting,) = pictures_on_disk([picture])
    if change == "written":
        Image.new("RGB", (12, 8)).save(picture)
        os.utime(picture, ns=(1, 1))
    else:
        picture.unlink()
    for use in (waiting.at_hand, waiting.mean):
        with pytest.raises(DatasetError, match=r"a\.png: it was changed, moved or deleted .* Run again"):
            use()
