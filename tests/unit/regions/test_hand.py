"""Hand layers: a person decides, the other regions give way, and taking back costs nothing."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_focus.regions import large
from semantic_focus.regions.by_hand import set_category
from semantic_focus.regions.hand import (
    category_by_hand,
    decides_all,
    joined,
    machine_part,
    made_by_hand,
    whole,
    with_hand,
)
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.packed import PackedMasks
from semantic_focus.regions.persons import select_persons
from semantic_focus.regions.refine import RefineSettings, refine_masks

LABELS = ("face", "hair", "clothing", "body", "background", "lighting", "sword")
FIELDS = {"image_digest": "d", "backend": "drawn"}


def masks(*pixels: tuple[float, ...], labels: tuple[str, ...] = LABELS) -> SemanticMasks:
    """Of a picture one pixel high: for each pixel what each label has."""
    stack = torch.tensor(pixels, dtype=torch.float32).T[None, :, None]
    return SemanticMasks(stack, labels, (torch.ones(1, 1, len(pixels)),), FIELDS)


def layer(*values: float | None) -> HandLayer:
    """One pixel high; None where nothing is decided."""
    said = torch.tensor([[value is not None for value in values]])
    return HandLayer(torch.tensor([[9.0 if value is None else float(value) for value in values]]), said)


@pytest.mark.parametrize(
    ("before", "hand", "after"),
    [
        # nothing decided here: as the machine has it
        ((0.2, 0.3, 0.1, 0.1, 0.3, 0.7, 0.4), {"face": None}, (0.2, 0.3, 0.1, 0.1, 0.3, 0.7, 0.4)),
        # a part takes its pixel from the others
        ((0, 0, 0, 1, 0, 0.7, 0.4), {"clothing": 1}, (0, 0, 1, 0, 0, 0.7, 0.4)),
        ((0, 0, 0, 0, 1, 0, 0), {"clothing": 1}, (0, 0, 1, 0, 0, 0, 0)),
        # half of it: the rest is shared out by priority, face before hair before body
        ((0.4, 0.4, 0, 0.2, 0, 0, 0), {"clothing": 0.5}, (0.4, 0.1, 0.5, 0, 0, 0, 0)),
        # erased: the background takes what nobody has
        ((0, 0, 1, 0, 0, 0, 0), {"clothing": 0}, (0, 0, 0, 0, 1, 0, 0)),
        ((0.5, 0, 0.25, 0, 0.25, 0, 0), {"clothing": 0}, (0.5, 0, 0, 0, 0.5, 0, 0)),
        # two parts by hand, and what they leave
        ((0, 1, 0, 0, 0, 0, 0), {"face": 0.25, "body": 0.5}, (0.25, 0.25, 0, 0.5, 0, 0, 0)),
        # more than there is: the first keeps it
        ((0, 0, 0, 0, 1, 0, 0), {"body": 1, "face": 0.75}, (0.75, 0, 0, 0.25, 0, 0, 0)),
        # the background by hand takes from all
        ((0.5, 0, 0.5, 0, 0, 0, 0), {"background": 1}, (0, 0, 0, 0, 1, 0, 0)),
        ((0.5, 0, 0.5, 0, 0, 0, 0), {"background": 0.25}, (0.5, 0, 0.25, 0, 0.25, 0, 0)),
        # and gives its pixel back to nobody where it is erased
        ((0, 0, 0, 0, 1, 0, 0), {"background": 0}, (0, 0, 0, 0, 0, 0, 0)),
        # soft layers and own categories take nothing
        ((0.5, 0.5, 0, 0, 0, 0.2, 0.3), {"lighting": 1, "sword": 0.5}, (0.5, 0.5, 0, 0, 0, 1, 0.5)),
        # parts that nobody asked for keep their room: 0.4 is somebody's
        ((0, 0.1, 0.2, 0, 0.3, 0, 0), {"clothing": 0}, (0, 0.1, 0, 0, 0.5, 0, 0)),
    ],
)
def test_what_follows_from_the_machine_and_a_person(
    before: tuple[float, ...], hand: dict[str, float | None], after: tuple[float, ...]
):
    """The second pixel is decided nowhere, and stays."""
    other = (0.1, 0.2, 0.3, 0.1, 0.3, 0.5, 0.6)
    one = masks(before, other)
    made = with_hand(one, {name: layer(value, None) for name, value in hand.items()})
    torch.testing.assert_close(made.masks[0, :, 0, 0], torch.tensor(after, dtype=torch.float32))
    assert torch.equal(made.masks[0, :, 0, 1], one.masks[0, :, 0, 1])
    assert made.persons == one.persons and made.provenance == FIELDS
    said = {name for name, value in hand.items() if value is not None}
    assert set(made_by_hand(made)) == said
    back = with_hand(made, {})
    assert torch.equal(back.masks, one.masks) and back.hand is None and back.labels == LABELS


def test_regions_that_were_left_to_overlap_give_nothing_away():
    one = masks((1, 1, 0, 0, 0, 0, 0), (0, 1, 1, 0, 0, 0, 0))
    made = with_hand(one, {"clothing": layer(0.75, None)})
    assert made.masks[0, :, 0, 0].tolist() == [1, 1, 0.75, 0, 0, 0, 0]


def test_a_region_of_ones_own_becomes_the_last_label():
    one = masks((1, 0), (0, 1), labels=("face", "background"))
    made = with_hand(one, {"tattoo": layer(0.5, None)})
    assert made.labels == ("face", "background", "tattoo")
    assert made.masks[0, :, 0].tolist() == [[1, 0], [0, 1], [0.5, 0]]
    part = with_hand(one, {"hair": layer(None, 1)})
    assert part.masks[0, :, 0].tolist() == [[1, 0], [0, 0], [0, 1]]


def test_every_value_of_a_byte_stays_as_it_was_made():
    steps = (torch.arange(256) / 255)[None]
    one = SemanticMasks(torch.ones(1, 2, 1, 256), ("hair", "background"), (), FIELDS)
    one.masks[:, 1] = 0
    made = with_hand(one, {"face": HandLayer(steps, torch.ones(1, 256, dtype=torch.bool))})
    assert torch.equal(made.region("face")[0], steps)
    torch.testing.assert_close(made.masks.sum(1), torch.ones(1, 1, 256))


@pytest.mark.parametrize(
    ("older", "newer", "shared_out", "expected"),
    [
        # the newer wins at the same pixel of the same label, the older stays elsewhere
        ({"face": (0.2, 0.4)}, {"face": (None, 1)}, True, {"face": (0.2, 1)}),
        ({"face": (None, 0.4)}, {"face": (0, None)}, True, {"face": (0, 0.4)}),
        # an older one of another part gives way where both want too much
        ({"face": (1, 1)}, {"hair": (0.25, None)}, True, {"face": (0.75, 1), "hair": (0.25, None)}),
        ({"face": (0.5, 1)}, {"hair": (0.5, 0)}, True, {"face": (0.5, 1), "hair": (0.5, 0)}),
        ({"background": (1, 1)}, {"body": (1, None)}, True, {"background": (0, 1), "body": (1, None)}),
        # of two new ones the first by priority keeps all
        ({}, {"hair": (1, 1), "face": (0.75, None)}, True, {"hair": (0.25, 1), "face": (0.75, None)}),
        # overlapping ones, soft layers and own categories stay
        ({"face": (1, 1)}, {"hair": (1, 1)}, False, {"face": (1, 1), "hair": (1, 1)}),
        ({"sword": (1, 1)}, {"face": (1, 1)}, True, {"sword": (1, 1), "face": (1, 1)}),
    ],
)
def test_a_newer_hand_goes_over_an_older_one(older, newer, shared_out, expected):
    def layers(values):
        return {name: layer(*of_pixels) for name, of_pixels in values.items()}

    found = joined(layers(older), layers(newer), shared_out)
    for name, values in expected.items():
        assert found[name].said[0].tolist() == [value is not None for value in values]
        wanted = torch.tensor([float(value or 0) for value in values])
        torch.testing.assert_close(torch.where(found[name].said[0], found[name].value[0], 0), wanted)
    assert found.keys() == expected.keys()


def test_bytes_that_add_up_to_one_are_not_cut_by_rounding():
    """0.6 + 0.4 in floats is not 1."""
    steps = torch.arange(256) / 255
    one = HandLayer(steps[None], torch.ones(1, 256, dtype=torch.bool))
    rest = HandLayer((torch.arange(255, -1, -1) / 255)[None], one.said)
    found = joined({"hair": one}, {"face": rest})
    assert torch.equal(found["hair"].value, one.value) and torch.equal(found["face"].value, rest.value)


@pytest.mark.parametrize(
    ("labels", "everywhere", "expected"),
    [
        (("face", "hair"), ("face", "hair", "tattoo"), True),
        (("face", "hair"), ("face",), False),
        (("face", "background"), ("face",), False),
        (("face", "background"), ("face", "background"), True),
        (("face", "background"), ("face", "hair", "clothing", "body"), True),
        (("face", "lighting"), ("face", "hair", "clothing", "body"), False),
        ((), ("face",), False),
    ],
)
def test_whether_anything_is_left_to_a_segmenter(labels, everywhere, expected: bool):
    assert decides_all(labels, everywhere) is expected


class TestCategoryByHand:
    """What Mask To Category makes of a segmenter's answer."""

    one = masks((0, 0, 0, 1, 0, 0.5, 0), (0.5, 0, 0, 0, 0.5, 0, 0))
    mask = torch.tensor([[[0.25, 1.0]]])

    def test_it_is_the_region_and_the_rest_gives_way_as_ever(self):
        made = category_by_hand("clothing", self.mask, self.one)
        assert torch.equal(made.masks, set_category("clothing", self.mask, self.one).masks)
        assert made.provenance == FIELDS and made_by_hand(made) == ("clothing",)
        assert machine_part(made).masks is not None
        assert torch.equal(machine_part(made).masks, self.one.masks)

    def test_a_second_one_is_put_over_the_first(self):
        made = category_by_hand("hair", self.mask, category_by_hand("clothing", self.mask, self.one))
        assert set(made_by_hand(made)) == {"clothing", "hair"}
        assert made.region("hair")[0, 0].tolist() == [0.25, 1]
        # the clothing wanted 0.25, 1 and has the rest of it
        assert made.region("clothing")[0, 0].tolist() == [0.25, 0]
        assert torch.equal(machine_part(made).masks, self.one.masks)

    @pytest.mark.parametrize(
        "given",
        [
            None,
            replace(one, provenance={"backend": "drawn"}),
            SemanticMasks(one.masks.repeat(2, 1, 1, 1), LABELS, (), FIELDS),
        ],
    )
    def test_other_masks_become_made_by_hand_as_a_whole(self, given: SemanticMasks | None):
        count = 1 if given is None else len(given.masks)
        made = category_by_hand("clothing", self.mask.repeat(count, 1, 1), given)
        assert made.hand is None and "image_digest" not in made.provenance

    def test_regions_that_were_not_asked_for_stay_away_and_are_kept(self):
        part = replace(self.one, masks=self.one.masks[:, :2], labels=LABELS[:2])
        made = category_by_hand("sword", self.mask, replace(with_hand(part, {"tattoo": layer(1, 1)})))
        narrow = replace(made, masks=made.masks[:, :1], labels=made.labels[:1])
        assert made.labels == ("face", "hair", "tattoo", "sword")
        assert category_by_hand("face", self.mask, narrow).labels == ("face",)
        assert set(whole(narrow).labels) == {"face", "hair", "tattoo", "sword"}


MADE = with_hand(masks((0, 1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 0)), {"face": layer(0.5, None)})


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.crop(0, 0, 1, 1),
        lambda made: made.mirrored(),
        lambda made: made.padded(1, 0, 0, 0),
        lambda made: made.to_latent((1, 1)),
        lambda made: select_persons(made, "1"),
        lambda made: refine_masks(made, torch.zeros(1, 1, 2, 3), RefineSettings("fast")),
    ],
)
def test_another_picture_or_another_edit_has_no_hand_layers(change):
    found = change(MADE)
    assert found.hand is None and "image_digest" not in found.provenance


def test_masks_of_a_large_picture_are_refined_and_composed_in_half_precision(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(large, "LARGE", 64)
    shares = torch.rand(5, 16, 16).softmax(0).half()
    one = SemanticMasks(shares[None], LABELS[:5], (), FIELDS)
    layer = HandLayer(torch.full((16, 16), 0.2), torch.arange(256).view(16, 16) % 2 == 0)
    made = with_hand(one, {"hair": layer})
    assert made.masks.dtype == torch.float16
    assert torch.equal(made.region("hair")[0][layer.said], layer.value[layer.said].half())
    found = refine_masks(made, torch.rand(1, 16, 16, 3), RefineSettings("fast"))
    assert found.hand is None and "image_digest" not in found.provenance


def test_hand_layers_wait_packed_and_come_back_to_the_bit():
    packed = PackedMasks.of(MADE)
    found = packed.unpacked()
    assert found.hand is not None and MADE.hand is not None
    assert torch.equal(found.hand.machine, MADE.hand.machine) and torch.equal(found.masks, MADE.masks)
    assert torch.equal(found.hand.layers["face"].said, MADE.hand.layers["face"].said)
    assert torch.equal(found.hand.layers["face"].value, MADE.hand.layers["face"].value)
    assert packed.bytes_kept > PackedMasks.of(machine_part(MADE)).bytes_kept


@pytest.mark.parametrize("rows", [1, 255, 256, 513])
def test_bands_of_rows_make_no_difference(rows: int):
    """Every pixel by itself is the measure."""
    torch.manual_seed(0)
    shares = torch.rand(5, rows, 3).softmax(0)
    one = SemanticMasks(shares[None], LABELS[:5], (), FIELDS)
    said = torch.rand(rows, 3) < 0.5
    made = with_hand(one, {"hair": HandLayer(torch.rand(rows, 3), said)})
    for row, column in itertools.product(range(0, rows, 51), range(3)):
        alone = SemanticMasks(one.masks[:, :, row : row + 1, column : column + 1], LABELS[:5], (), FIELDS)
        value = made.hand.layers["hair"].value[row, column] if made.hand else torch.tensor(0)
        pixel = HandLayer(value.reshape(1, 1), said[row, column].reshape(1, 1))
        found: Tensor = with_hand(alone, {"hair": pixel}).masks[0, :, 0, 0]
        torch.testing.assert_close(made.masks[0, :, row, column], found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (SemanticMasks(torch.zeros(2, 1, 1, 2), ("face",)), "one picture, got masks of 2"),
        (SemanticMasks(torch.zeros(1, 1, 2, 2), ("face",)), r"face: the hand layer is \[1, 2\], .*\[2, 2\]"),
    ],
)
def test_layers_that_do_not_fit_are_refused(given: SemanticMasks, said: str):
    with pytest.raises(ValueError, match=said):
        with_hand(given, {"face": layer(1, 1)})
    with pytest.raises(ValueError, match="hand layers"):
        replace(given, hand=MADE.hand)
