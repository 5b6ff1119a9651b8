"""Named masks: what they refuse, the partition, and the way to the latent grid without losing anything."""

import math

import pytest
import torch
from torch import Tensor

from semantic_focus.categories import PARTITION_PRIORITY
from semantic_focus.regions.masks import SemanticMasks, check_aspect, downsample_mask_to_latent, partition


def soft(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pooled_by_counting(mask: Tensor, rows: int, columns: int) -> Tensor:
    """Area pooling without fractions: repeat pixels until whole ones fill a cell, then average."""
    height, width = mask.shape
    tall, wide = math.lcm(height, rows), math.lcm(width, columns)
    fine = mask.double().repeat_interleave(tall // height, 0).repeat_interleave(wide // width, 1)
    return fine.view(rows, tall // rows, columns, wide // columns).mean((1, 3)).float()


class TestDownsampling:
    SIZES = [
        ((64, 64), (8, 8)),
        ((48, 80), (6, 10)),
        ((50, 70), (6, 9)),
        ((17, 13), (5, 4)),
        ((7, 5), (7, 5)),
        ((4, 6), (8, 9)),
        ((9, 9), (1, 1)),
    ]

    @pytest.mark.parametrize(("size", "latent"), SIZES, ids=str)
    def test_every_cell_is_the_mean_over_its_exact_area(self, size: tuple[int, int], latent: tuple[int, int]):
        mask = soft(*size)
        torch.testing.assert_close(
            downsample_mask_to_latent(mask, latent), pooled_by_counting(mask, *latent), atol=1e-6, rtol=0
        )

    @pytest.mark.parametrize(("size", "latent"), SIZES, ids=str)
    def test_mass_is_conserved(self, size: tuple[int, int], latent: tuple[int, int]):
        """sum(mask) · scale == sum(latent mask), scale being latent cells per pixel."""
        mask = soft(3, *size).double()
        scale = latent[0] * latent[1] / (size[0] * size[1])
        torch.testing.assert_close(
            downsample_mask_to_latent(mask, latent).sum((1, 2)), mask.sum((1, 2)) * scale, rtol=1e-12, atol=0
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=str)
    def test_16_bit_costs_no_mass_also_within_autocast(
        self, dtype: torch.dtype, autocast: torch.dtype | None
    ):
        """A foreign trainer brings masks as they are, within its own autocast."""
        mask = soft(2, 50, 70).to(dtype)
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            latent = downsample_mask_to_latent(mask, (6, 9))
        assert latent.dtype == torch.float32
        torch.testing.assert_close(
            latent.double().mean((1, 2)), mask.double().mean((1, 2)), rtol=1e-6, atol=0
        )

    def test_a_strand_of_3_pixels_keeps_its_share_at_8_times(self):
        strand = torch.zeros(64, 64)
        strand[:, 17:20] = 1
        latent = downsample_mask_to_latent(strand, (8, 8))
        assert torch.equal(latent[:, 2], torch.full((8,), 3 / 8))
        assert latent.sum() == latent[:, 2].sum()

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_empty_stays_empty_and_full_stays_full(self, value: float):
        latent = downsample_mask_to_latent(torch.full((50, 70), value), (6, 9))
        torch.testing.assert_close(latent, torch.full((6, 9), value), atol=1e-6, rtol=0)
        assert latent.min() >= 0 and latent.max() <= 1

    def test_a_half_mask_is_cut_inside_the_cell_it_ends_in(self):
        """Pixels 0..4 of 10 into 4 cells of 2.5: full, full, empty, empty; 0..5: the third has .4."""
        mask = torch.zeros(1, 10)
        mask[:, :5] = 1
        assert downsample_mask_to_latent(mask, (1, 4)).tolist() == [[1, 1, 0, 0]]
        mask[:, 5] = 1
        torch.testing.assert_close(
            downsample_mask_to_latent(mask, (1, 4)), torch.tensor([[1, 1, 0.4, 0]]), atol=1e-6, rtol=0
        )

    def test_a_batch_is_pooled_picture_by_picture(self):
        batch = soft(3, 20, 30)
        together = downsample_mask_to_latent(batch, (4, 7))
        for mask, result in zip(batch, together, strict=True):
            torch.testing.assert_close(result, downsample_mask_to_latent(mask, (4, 7)))

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
    def test_whole_number_masks_count_as_0_and_1(self, dtype: torch.dtype):
        """A black-and-white mask of 0 and 255 must not spread: one pixel of a 2×2 cell is a quarter."""
        mask = torch.tensor([[0, 255], [0, 0]]).to(dtype)
        assert downsample_mask_to_latent(mask, (1, 1)).item() == 0.25

    def test_bad_shapes_and_sizes_are_named(self):
        with pytest.raises(ValueError, match=r"\[H, W\] or \[B, H, W\].*\[1, 1, 4, 4\]"):
            downsample_mask_to_latent(torch.ones(1, 1, 4, 4), (2, 2))
        with pytest.raises(ValueError, match="latent_size must be positive, got 0x2"):
            downsample_mask_to_latent(torch.ones(4, 4), (0, 2))


class TestPartition:
    NAMES = (*PARTITION_PRIORITY, "background")

    @pytest.mark.parametrize("with_person", [False, True])
    def test_the_regions_sum_to_1_with_background_at_every_pixel(self, with_person: bool):
        for seed in range(20):
            scores = {name: soft(31, 47, seed=5 * seed + k) for k, name in enumerate(PARTITION_PRIORITY)}
            regions = partition(scores, soft(31, 47, seed=500 + seed) if with_person else None)
            assert set(regions) == set(self.NAMES)
            stacked = torch.stack(list(regions.values()))
            torch.testing.assert_close(stacked.sum(0), torch.ones(31, 47), atol=1e-6, rtol=0)
            assert stacked.min() >= 0 and stacked.max() <= 1

    def test_rounding_never_makes_the_background_negative(self):
        scores = {name: soft(600, 900, seed=k) * 0.5 for k, name in enumerate(PARTITION_PRIORITY)}
        assert partition(scores)["background"].min() == 0

    def test_the_higher_priority_keeps_a_contested_pixel(self):
        sure = torch.ones(1, 1)
        for rank, winner in enumerate(PARTITION_PRIORITY):
            regions = partition({name: sure for name in PARTITION_PRIORITY[rank:]})
            assert {name: mask.item() for name, mask in regions.items()} == {
                name: float(name == winner) for name in self.NAMES
            }

    def test_lower_priorities_share_what_is_left(self):
        """face .6, hair asks .3, clothing asks .8 but only .1 is left, body gets nothing."""
        regions = partition(
            {
                "face": torch.tensor([[0.6]]),
                "hair": torch.tensor([[0.3]]),
                "clothing": torch.tensor([[0.8]]),
                "body": torch.tensor([[0.5]]),
            }
        )
        expected = {"face": 0.6, "hair": 0.3, "clothing": 0.1, "body": 0.0, "background": 0.0}
        assert {name: mask.item() for name, mask in regions.items()} == pytest.approx(expected, abs=1e-6)

    def test_parts_are_cut_to_the_person(self):
        regions = partition({"face": torch.tensor([[1.0, 1.0]])}, person=torch.tensor([[1.0, 0.25]]))
        assert regions["face"].tolist() == [[1, 0.25]]
        assert regions["background"].tolist() == [[0, 0.75]]

    def test_what_no_part_claims_is_background(self):
        regions = partition({"face": torch.zeros(2, 3)})
        assert torch.equal(regions["background"], torch.ones(2, 3))

    def test_scores_outside_0_to_1_are_cut_and_unknown_names_left_out(self):
        regions = partition({"face": torch.tensor([[1.7, -0.4]]), "sword": torch.ones(1, 2)})
        assert regions["face"].tolist() == [[1, 0]]
        assert "sword" not in regions

    def test_the_partition_survives_the_way_to_the_latent_grid(self):
        scores = {name: soft(50, 70, seed=k) for k, name in enumerate(PARTITION_PRIORITY)}
        latent = [downsample_mask_to_latent(mask, (6, 9)) for mask in partition(scores).values()]
        torch.testing.assert_close(sum(latent), torch.ones(6, 9), atol=1e-5, rtol=0)


class TestSemanticMasks:
    MASKS = soft(2, 3, 16, 24)
    LABELS = ("face", "hair", "sword")

    def test_regions_are_found_by_name_and_an_unknown_one_is_empty(self):
        masks = SemanticMasks(self.MASKS, self.LABELS)
        assert masks.size == (16, 24)
        assert torch.equal(masks.region("hair"), self.MASKS[:, 1])
        assert torch.equal(masks.region("tattoo"), torch.zeros(2, 16, 24))
        assert torch.equal(SemanticMasks(self.MASKS[:, :0], ()).region("face"), torch.zeros(2, 16, 24))

    def test_coverage_is_the_share_of_the_picture(self):
        one = torch.zeros(1, 2, 4, 4)
        one[0, 1, :2, :2] = 0.5
        assert SemanticMasks(one, ("face", "hair")).coverage().tolist() == [[0, 0.125]]

    def test_crop_cuts_masks_and_persons_alike(self):
        persons = (soft(1, 16, 24), soft(0, 16, 24))
        cut = SemanticMasks(self.MASKS, self.LABELS, persons, {"backend": "x"}).crop(3, 5, 8, 10)
        assert torch.equal(cut.masks, self.MASKS[:, :, 3:11, 5:15])
        assert torch.equal(cut.persons[0], persons[0][:, 3:11, 5:15]) and cut.persons[1].shape == (0, 8, 10)
        assert cut.provenance == {"backend": "x"}

    def test_to_latent_pools_every_mask_and_person(self):
        persons = (soft(2, 16, 24), soft(0, 16, 24))
        latent = SemanticMasks(self.MASKS, self.LABELS, persons).to_latent((2, 3))
        assert latent.labels == self.LABELS and latent.masks.shape == (2, 3, 2, 3)
        for b in range(2):
            for k in range(3):
                torch.testing.assert_close(latent.masks[b, k], pooled_by_counting(self.MASKS[b, k], 2, 3))
        torch.testing.assert_close(latent.persons[0][1], pooled_by_counting(persons[0][1], 2, 3))
        assert latent.persons[1].shape == (0, 2, 3)

    def test_another_aspect_is_refused_with_both_sizes_and_the_way_out(self):
        with pytest.raises(ValueError, match=r"24x16 .*4x4 cells.*1\.500 against 1\.000.*Crop"):
            SemanticMasks(self.MASKS, self.LABELS).to_latent((4, 4))

    @pytest.mark.parametrize(
        ("size", "latent"), [((511, 765), (63, 95)), ((765, 511), (95, 63)), ((1024, 768), (64, 48))], ids=str
    )
    def test_sides_that_are_no_whole_number_of_cells_are_accepted(
        self, size: tuple[int, int], latent: tuple[int, int]
    ):
        check_aspect(size, latent)

    @pytest.mark.parametrize(
        ("masks", "labels", "persons", "message"),
        [
            (MASKS[0], LABELS, (), r"\[B, K, H, W\].*\[3, 16, 24\]"),
            (MASKS, ("face",), (), "3 mask channels but 1 labels"),
            (MASKS, ("face", "hair", "face"), (), "unique"),
            (MASKS, LABELS, (MASKS[0],), "2 pictures but person masks for 1"),
        ],
        ids=["rank", "labels", "twice", "persons"],
    )
    def test_what_does_not_fit_together_is_refused(self, masks, labels, persons, message: str):
        with pytest.raises(ValueError, match=message):
            SemanticMasks(masks, labels, persons)


def test_masks_that_were_cut_or_pooled_are_no_longer_those_of_their_picture_file():
    provenance = {"image_digest": "d", "picture_stamp": "s", "backend": "x"}
    masks = SemanticMasks(torch.rand(1, 1, 16, 16), ("face",), provenance=provenance)
    for other in (masks.crop(0, 0, 8, 8), masks.to_latent((2, 2))):
        assert other.provenance == {"backend": "x"}
    assert masks.provenance == provenance


def test_mirrored_masks_are_those_of_the_mirrored_picture_with_persons_from_the_left_again():
    left, right = torch.zeros(2, 4, 6).unbind(0)
    left[:, :2], right[:, 4:] = 1, 0.5
    masks = SemanticMasks(torch.rand(1, 2, 4, 6), ("face", "hair"), (torch.stack((left, right)),))
    mirrored = masks.mirrored()
    assert torch.equal(mirrored.masks, masks.masks[..., [5, 4, 3, 2, 1, 0]])
    first, second = mirrored.persons[0]
    assert first[:, :2].unique().tolist() == [0.5] and second[:, 4:].unique().tolist() == [1]
    assert torch.equal(mirrored.mirrored().masks, masks.masks)


def test_padding_adds_pixels_of_no_region_around_the_same_masks():
    masks = SemanticMasks(torch.rand(1, 2, 4, 6) + 0.1, ("face", "background"), (torch.ones(1, 4, 6),))
    padded = masks.padded(1, 2, 3, 4)
    assert padded.size == (8, 12)
    assert torch.equal(padded.crop(1, 2, 4, 6).masks, masks.masks)
    assert padded.masks.sum() == pytest.approx(masks.masks.sum().item(), rel=1e-5)
    assert padded.persons[0].sum() == 24
