"""Mask files with hand layers: what is kept, what others see of it, and what damaged ones do."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from semantic_focus.datasets.hand_file import forget_hand, regions_by_hand, save_around_hand
from semantic_focus.datasets.mask_file import ENCODINGS, read_header, read_masks, save_masks
from semantic_focus.datasets.mask_header import by_hand_of
from semantic_focus.datasets.mask_levels import as_stored
from semantic_focus.datasets.ownership import (
    DamagedMaskFileError,
    HandLayersError,
    MaskFileError,
    header_of_ours,
)
from semantic_focus.regions.hand import machine_part, with_hand
from semantic_focus.regions.layers import ByHand, HandLayer
from semantic_focus.regions.masks import SemanticMasks

HEIGHT, WIDTH = 9, 12
LABELS = ("face", "hair", "background", "lighting")
FIELDS = {"image_digest": "d", "backend": "drawn", "picture_stamp": "s"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "one_zi_masks.safetensors"


def machine(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH), **fields: str) -> SemanticMasks:
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(3, *size, generator=generator).softmax(0)
    light = torch.rand(1, *size, generator=generator)
    persons = (shares[:1] + shares[1:2]).clamp(0, 1)
    return SemanticMasks(torch.cat((shares, light))[None], LABELS, (persons,), {**FIELDS, **fields})


def drawn(seed: int = 1) -> HandLayer:
    """Any bytes, decided in the upper half."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    said[: HEIGHT // 2] = True
    return HandLayer(torch.randint(0, 256, (HEIGHT, WIDTH), generator=generator) / 255, said)


HAND = {"hair": drawn(1), "lighting": drawn(2), "tattoo": drawn(3)}


def same_layers(one: SemanticMasks, layers: dict[str, HandLayer]) -> bool:
    """Whether masks have exactly these decided pixels."""
    found = {} if one.hand is None else one.hand.layers
    return found.keys() == layers.keys() and all(
        torch.equal(found[name].said, layer.said)
        and torch.equal(found[name].value[layer.said], layer.value[layer.said].to(found[name].value))
        for name, layer in layers.items()
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_person_decided_comes_back_bit_for_bit(file: Path, encoding: str):
    save_masks(file, with_hand(machine(), HAND), encoding=encoding)
    found, known = read_masks(file), file.read_bytes()
    assert same_layers(found, HAND) and found.labels == (*LABELS, "tattoo")
    stored = as_stored(machine(), encoding)
    assert torch.equal(machine_part(found).masks, stored.masks)
    assert torch.equal(found.persons[0], stored.persons[0])
    assert torch.equal(found.masks, with_hand(stored, HAND).masks)
    for name, layer in HAND.items():
        assert torch.equal(found.region(name)[0][layer.said], layer.value[layer.said])
    assert {name: found.provenance[name] for name in FIELDS} == FIELDS
    save_masks(file, found, encoding=encoding, over_hand=True)
    assert file.read_bytes() == known
    for other in (*ENCODINGS, encoding):
        save_masks(file, read_masks(file), encoding=other, over_hand=True)
        assert same_layers(read_masks(file), HAND)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_taking_back_gives_the_file_that_was_there(file: Path, encoding: str):
    save_masks(file, as_stored(machine(), encoding), encoding=encoding)
    known = file.read_bytes()
    save_masks(file, with_hand(read_masks(file), HAND), encoding=encoding)
    assert file.read_bytes() != known and regions_by_hand(file) == tuple(HAND)
    assert forget_hand(file) == tuple(HAND)
    assert file.read_bytes() == known and forget_hand(file) == () and regions_by_hand(file) == ()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_program_that_knows_no_hand_layers_sees_masks_made_by_hand(file: Path, encoding: str):
    """As version 0.2.0: without this field it replaces nothing, and it reads what ends in _mask."""
    save_masks(file, with_hand(machine(), HAND), encoding=encoding)
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert "image_digest" not in header and json.loads(header["labels"]) == [*LABELS, "tattoo"]
    # a file of these tensors alone is one that any version reads
    tensors = {name: tensor for name, tensor in load_file(file).items() if name.endswith("_mask")}
    old = file.with_name("old_zi_masks.safetensors")
    save_file(tensors, old, {"format_version": "2", **{key: header[key] for key in SEEN}})
    step = {"png": 1 / 31 / 2 + 1e-6, "float": 1e-3}[encoding]
    read, wanted = read_masks(old), read_masks(file)
    inside = [index for index, label in enumerate(read.labels) if label != "lighting"]
    assert float((read.masks - wanted.masks)[:, inside].abs().max()) <= max(step, 1 / 51)


SEEN = ("encoding", "labels", "image_size")


def test_the_header_tells_of_hand_and_machine_together(file: Path):
    everywhere = HandLayer(torch.ones(HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    save_masks(file, with_hand(machine(), {"face": everywhere, "hair": drawn()}))
    header = header_of_ours(file)
    assert header == read_header(file) and header["format_version"] == "2" and header["image_digest"] == "d"
    assert by_hand_of(header) == ("face", "hair")
    assert by_hand_of(header, "by_hand_everywhere") == ("face",)
    coverage = json.loads(header["coverage"])
    assert coverage["face"] == 1 and coverage["background"] < 0.5
    assert "by_hand" not in read_masks(file).provenance


def test_masks_of_another_picture_that_were_mended_once_are_made_by_hand_as_a_whole(file: Path):
    save_masks(file, with_hand(machine(), HAND))
    moved = file.with_name("moved_zi_masks.safetensors")
    save_masks(moved, read_masks(file).mirrored())
    assert read_masks(moved).hand is None and "image_digest" not in read_header(moved)


class TestSavingOverIt:
    """What is put in place of a file with hand layers."""

    @pytest.fixture(autouse=True)
    def mended(self, file: Path):
        save_masks(file, with_hand(machine(), HAND))

    def test_nobody_replaces_it_unread(self, file: Path):
        known = file.read_bytes()
        with pytest.raises(HandLayersError, match=r"made by hand: hair, lighting, tattoo; that is never"):
            save_masks(file, machine(5))
        assert file.read_bytes() == known

    def test_a_new_answer_is_put_around_it(self, file: Path):
        found = save_around_hand(file, as_stored(machine(5)))
        assert same_layers(found, HAND)
        assert torch.equal(read_masks(file).masks, found.masks)
        assert torch.equal(machine_part(read_masks(file)).masks, as_stored(machine(5)).masks)

    def test_a_newer_hand_wins_where_it_decides_and_the_older_stays_elsewhere(self, file: Path):
        newer = HandLayer(torch.zeros(HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH, dtype=torch.bool))
        newer.said[0, :3] = newer.said[-1] = True
        stale = HandLayer(torch.ones(HEIGHT, WIDTH), torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
        # what was read long ago and not changed since does not count
        save_around_hand(file, with_hand(machine(5), {"tattoo": newer, "lighting": stale}, new=["tattoo"]))
        found = read_masks(file)
        assert found.hand is not None
        value, said = HAND["tattoo"].value.clone(), HAND["tattoo"].said | newer.said
        value[newer.said] = 0
        assert same_layers(found, {**HAND, "tattoo": HandLayer(value, said)})

    @pytest.mark.parametrize(
        ("masks", "said"),
        [
            (replace(machine(5), provenance={"backend": "drawn"}), "made by hand: hair, lighting, tattoo"),
            (machine(5, (HEIGHT, WIDTH + 1)), "for a picture of 12x9: hair, lighting, .* is 13x9 now"),
        ],
    )
    def test_other_masks_are_refused(self, file: Path, masks: SemanticMasks, said: str):
        known = file.read_bytes()
        with pytest.raises(MaskFileError, match=said):
            save_around_hand(file, masks)
        assert file.read_bytes() == known

    def test_the_same_content_is_not_written_again(self, file: Path):
        known = file.stat().st_ino, file.stat().st_mtime_ns
        save_around_hand(file, read_masks(file))
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == known

    def test_a_damaged_one_is_moved_aside(self, file: Path):
        content = bytearray(file.read_bytes())
        content[-5] ^= 255
        file.write_bytes(content)
        save_around_hand(file, as_stored(machine(5)))
        aside = file.with_name(f"{file.name}.damaged")
        assert aside.read_bytes() == content and regions_by_hand(file) == ()


def header(**fields: str | None) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    def change(tensors: dict[str, Tensor], said: dict[str, str]) -> None:
        for name, text in fields.items():
            said.pop(name, None)
            if text is not None:
                said[name] = text

    return change


def tensors(**changed: Tensor | None) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    def change(found: dict[str, Tensor], said: dict[str, str]) -> None:
        for name, tensor in changed.items():
            del found[name]
            if tensor is not None:
                found[name] = tensor

    return change


HOSTILE: dict[str, Any] = {
    "no such layer": (header(by_hand='["hair", "face"]'), "no tensor named face_hand"),
    "a layer twice": (header(by_hand='["hair", "hair"]'), "field 'by_hand' is"),
    "no layer": (header(by_hand="[]"), "field 'by_hand' is"),
    "no list": (header(by_hand='{"hair": 1}'), "field 'by_hand' is"),
    "deep brackets": (header(by_hand="[" * 100_000), "field 'by_hand' is not JSON"),
    "many layers": (
        header(by_hand=json.dumps([f"a{number}" for number in range(20000)]), image_size="[4000, 4000]"),
        "20000 made by hand, take .* GiB of memory",
    ),
    "no machine": (header(machine_labels=None), "machine_labels' is None|and says"),
    "another machine": (header(machine_labels='["face", "sword"]'), "no tensor named sword_machine|and says"),
    "another size": (header(image_size="[9, 13]"), "12x9, expected L 13x9"),
    "a lost layer": (tensors(hair_hand=None), "no tensor named hair_hand"),
    "a lost place": (tensors(hair_said=None), "no tensor named hair_said"),
    "no PNG": (tensors(hair_said=torch.zeros(20, dtype=torch.uint8)), "not a complete PNG"),
    "numbers": (tensors(hair_hand=torch.zeros(9, 12)), "expected the bytes of a PNG"),
    "a lost region": (tensors(hair_machine=None), "no tensor named hair_machine|and says"),
}


IN_TENSORS = ("another size", "many layers")
"""What a float file says by its tensors alone."""


@pytest.mark.parametrize(
    ("what", "encoding"),
    [(what, kind) for what in HOSTILE for kind in ENCODINGS if kind == "png" or what not in IN_TENSORS],
)
def test_hostile_layers_are_named_and_never_replaced(file: Path, what: str, encoding: str):
    change, said = HOSTILE[what]
    save_masks(file, with_hand(machine(), HAND), encoding=encoding)
    found = load_file(file)
    with safe_open(file, framework="pt") as opened:
        fields = opened.metadata()
    del fields["semantic_focus.digest"]
    change(found, fields)
    save_file(found, file, fields)
    known = file.read_bytes()
    with pytest.raises(DamagedMaskFileError, match=said):
        read_masks(file)
    if by_hand_of(read_header(file)):
        save_around_hand(file, as_stored(machine(5)))
        assert file.with_name(f"{file.name}.damaged").read_bytes() == known


def test_a_version_to_come_is_left_alone(file: Path):
    """Whatever it means by hand layers, nothing of it is replaced."""
    save_masks(file, with_hand(machine(), HAND))
    found = load_file(file)
    with safe_open(file, framework="pt") as opened:
        fields = {**opened.metadata(), "format_version": "4"}
    del fields["semantic_focus.digest"]
    save_file(found, file, fields)
    with pytest.raises(MaskFileError, match="made by hand or by another program, and is never replaced"):
        save_around_hand(file, machine(5))


def test_more_than_memory_may_take_is_not_written(file: Path):
    flat = torch.zeros(1, 1, 1).expand(170, 1024, 1024)
    everywhere = HandLayer(torch.ones(1024, 1024), torch.ones(1024, 1024, dtype=torch.bool))
    names = tuple(map(str, range(170)))
    layers = ByHand(flat, names, dict.fromkeys(names, everywhere))
    # 170 x 1024 x 1024 x (4 + 4 + 5) bytes
    with pytest.raises(ValueError, match=r"170 masks .* with 170 made by hand, take 2\.2 GiB of memory"):
        save_masks(file, SemanticMasks(flat[None], names, (), FIELDS, layers))
