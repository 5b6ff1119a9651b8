"""What we wrote and what was damaged since: no flipped bit is read as if nothing was."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from semantic_focus.datasets.mask_file import MaskFileError, check_file, read_header, read_masks, save_masks
from semantic_focus.files.tensors import DIGEST_KEY, DamagedFileError, TensorFile, write_safetensors
from semantic_focus.lora.file import load_lora, load_metadata, save_lora
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.training.state import TrainState, TrainStateError, load_train_state, save_train_state

SAVED = Path(__file__).parents[1] / "saved" / "0.2.0"
TENSORS = {
    "diffusion_model.a.lora_up.weight": torch.linspace(-1, 1, 40).view(8, 5),
    "diffusion_model.a.lora_down.weight": torch.linspace(-2, 3, 30).view(5, 6).bfloat16(),
    "diffusion_model.a.alpha": torch.tensor(4.0),
}


def write_lora(path: Path) -> None:
    save_lora(path, TENSORS, {"ss_steps": "12", "semantic_focus.settings": '{"rank": 5}'})


def write_state(path: Path) -> None:
    values = {"sampler": {"to_come": [1, 0], "waiting": [[2]]}, "averaged": 0}
    save_train_state(path, TrainState(12, TENSORS, values, {"model": "m"}))


def write_masks(path: Path, encoding: str) -> None:
    face = torch.linspace(0, 1, 24 * 16).view(24, 16)
    masks = SemanticMasks(
        torch.stack((face, 1 - face))[None], ("face", "background"), (torch.ones(2, 24, 16),)
    )
    save_masks(path, masks, {"image_digest": "0" * 64}, encoding)


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], type[Exception]]] = {
    "a LoRA": (write_lora, load_lora, ValueError),
    "a state": (write_state, load_train_state, TrainStateError),
    "png masks": (lambda path: write_masks(path, "png"), read_masks, MaskFileError),
    "float masks": (lambda path: write_masks(path, "float"), read_masks, MaskFileError),
    "masks in a check": (lambda path: write_masks(path, "png"), check_file, MaskFileError),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path: Path):
    write, read, error = request.param
    path = tmp_path / "a.safetensors"
    write(path)
    read(path)
    return path, read, error


def flip(path: Path, whole: bytes, bit: int) -> None:
    content = bytearray(whole)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_no_flipped_bit_is_read_as_if_nothing_was(kind):
    path, read, error = kind
    whole, chance = path.read_bytes(), random.Random(1)
    begin = whole.index(DIGEST_KEY.encode()) * 8
    bits = [*range(begin, begin + 8 * 140, 7), *chance.sample(range(8 * len(whole)), 100)]
    for bit in bits:
        flip(path, whole, bit)
        with pytest.raises(error, match=f"^{path}: "):
            read(path)


def test_a_header_is_checked_alone(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    write_lora(path)
    whole = path.read_bytes()
    for position in range(whole.index(b"ss_steps"), whole.index(b"ss_steps") + 13):
        flip(path, whole, 8 * position)
        with pytest.raises(ValueError, match="damaged|complete"):
            load_metadata(path)
    flip(path, whole, 8 * (len(whole) - 1))
    assert load_metadata(path)["ss_steps"] == "12"


@pytest.mark.parametrize("metadata", [None, {}, {"a": "b"}])
def test_a_file_of_no_tensors_is_written_and_read(metadata: dict[str, str] | None, tmp_path: Path):
    write_safetensors(tmp_path / "a.safetensors", {}, metadata)
    file = TensorFile(tmp_path / "a.safetensors")
    assert (file.metadata, file.tensors()) == (metadata or {}, {})


def test_parts_that_change_places_are_noticed(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": torch.arange(64.0), "b": torch.arange(64.0) + 64})
    whole = path.read_bytes()
    path.write_bytes(whole[:-512] + whole[-256:] + whole[-512:-256])
    assert load_file(path)["a"][0] == 64
    with pytest.raises(DamagedFileError, match="not what was written"):
        TensorFile(path).tensors()


class TestOtherPrograms:
    """They know nothing of the digest, and may take it over with the rest of the header."""

    def rewritten(self, path: Path, change: Callable[[dict, dict], None]) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        change(tensors, metadata)
        save_file(tensors, path, metadata)

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensors, metadata: None,
            lambda tensors, metadata: metadata.update(ss_training_comment="the best one"),
            lambda tensors, metadata: metadata.pop("ss_steps"),
            lambda tensors, metadata: metadata.pop(DIGEST_KEY),
            lambda tensors, metadata: metadata.clear(),
            lambda tensors, metadata: tensors.update({name: tensors[name].half() for name in list(TENSORS)}),
            lambda tensors, metadata: tensors.popitem(),
        ],
        ids=["as it is", "a field more", "a field less", "no digest", "no header", "fp16", "a tensor less"],
    )
    def test_a_file_that_was_written_anew_is_read(self, change: Callable[[dict, dict], None], tmp_path: Path):
        path = tmp_path / "a.safetensors"
        for _ in range(4):  # the library has the metadata in another order each time
            write_lora(path)
            self.rewritten(path, change)
            assert load_lora(path).keys() <= TENSORS.keys()
            assert DIGEST_KEY not in load_metadata(path)

    def test_their_readers_find_tensors_and_metadata(self, tmp_path: Path):
        path = tmp_path / "a.safetensors"
        write_lora(path)
        assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in load_file(path).items())
        with safe_open(path, "pt") as file:
            assert file.metadata()["ss_steps"] == "12"

    def test_what_is_read_and_written_again_has_its_own_digest(self, tmp_path: Path):
        one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
        write_masks(one, "png")
        masks = read_masks(one)
        save_masks(other, masks, {**read_header(one), "note": "by hand"})
        assert torch.equal(read_masks(other).masks, masks.masks)
        assert read_header(other) == {**read_header(one), "note": "by hand"}

    def test_files_of_0_2_0_have_none(self):
        assert load_lora(SAVED / "lora.safetensors") and check_file(SAVED / "png_zi_masks.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2]
)
def test_a_lora_with_values_that_are_no_numbers_is_refused_by_name(
    value: float, dtype: torch.dtype, tmp_path: Path
):
    path = tmp_path / "a.safetensors"
    save_lora(path, {**TENSORS, "b.lora_up.weight": torch.tensor([[0.0, value]]).to(dtype)})
    with pytest.raises(ValueError, match=f"{path}: b.lora_up.weight has values that are no finite numbers"):
        load_lora(path)


HOSTILE = {
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "a length beyond the file": b"\xff" * 8 + b"{}",
    "a header above the limit": (17 << 20).to_bytes(8, "little") + b" " * (17 << 20),
    "no JSON": (2).to_bytes(8, "little") + b"\xff\xfe",
    "a list": (2).to_bytes(8, "little") + b"[]",
    "deep brackets": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "deep objects": (100_000).to_bytes(8, "little") + b'{"a":' * 20_000,
    "a number of 5000 digits": (5010).to_bytes(8, "little") + b'{"a":' + b"1" * 5004 + b"}",
    "a tensor that is no object": (7).to_bytes(8, "little") + b'{"a":3}',
    "metadata of numbers": (24).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}',
    "metadata that is a list": (19).to_bytes(8, "little") + b'{"__metadata__":[]} '[:19],
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_is_a_sentence(content: bytes, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for read, error in (
        (load_lora, ValueError),
        (load_train_state, TrainStateError),
        (read_masks, MaskFileError),
    ):
        with pytest.raises(error, match=f"^{path}: ") as raised:
            read(path)
        assert len(str(raised.value)) < 500
