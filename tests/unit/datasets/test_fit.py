"""The training size, and the cut that picture and mask share."""

import pytest
import torch

from semantic_focus.datasets.fit import centre_window, fit, parse_resolutions, training_size
from semantic_focus.regions.masks import SemanticMasks


class TestTrainingSize:
    @pytest.mark.parametrize(
        ("size", "resolution", "multiple", "expected"),
        [
            ((1024, 1024), 512, 16, (512, 512)),
            # 3:2 at 512² pixels: 512·√(2/3) = 418.05 and 512·√(3/2) = 627.07
            ((2000, 3000), 512, 16, (416, 624)),
            ((2000, 3000), 512, 64, (448, 640)),
            ((100, 100), 512, 8, (512, 512)),
            # 20:1 at 64²: 14.3 × 286.2, the short side is at least one multiple
            ((50, 1000), 64, 32, (32, 288)),
            ((10, 4000), 64, 32, (32, 1280)),
        ],
    )
    def test_by_hand(self, size: tuple[int, int], resolution: int, multiple: int, expected: tuple[int, int]):
        height, width = size
        assert training_size(height, width, resolution, multiple) == expected

    def test_pixels_and_aspect_are_near_and_sides_are_whole_multiples(self):
        for height in range(300, 2000, 211):
            for width in range(300, 2000, 173):
                rows, columns = training_size(height, width, 512, 16)
                assert rows % 16 == 0 and columns % 16 == 0
                # half a multiple at the shorter side is at most 8/198 of it, at both sides together 6 %
                assert rows * columns == pytest.approx(512**2, rel=0.065)
                assert columns / rows == pytest.approx(width / height, rel=0.065)

    def test_the_window_is_centred_inside_and_as_large_as_it_can_be(self):
        assert centre_window(100, 200, (50, 50)) == (0, 50, 100, 100)
        assert centre_window(200, 100, (50, 50)) == (50, 0, 100, 100)
        assert centre_window(100, 200, (30, 60)) == (0, 0, 100, 200)
        # 90 wide fits, 90·2/3 = 60 high; (100 − 60) / 2 above
        assert centre_window(100, 90, (2, 3)) == (20, 0, 60, 90)


class TestFit:
    def test_picture_and_mask_are_cut_alike(self):
        """The picture is its own mask: after the cut both show the same place."""
        generator = torch.Generator().manual_seed(0)
        for height, width in ((96, 150), (150, 96), (97, 131)):
            mask = (torch.rand(height // 8 + 1, width // 8 + 1, generator=generator) > 0.5).float()
            mask = mask.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width]
            images, masks = fit(
                mask[None, ..., None].expand(1, height, width, 3),
                SemanticMasks(mask[None, None], ("face",), (mask[None],)),
                64,
                16,
            )
            assert masks is not None and images.shape[1] % 16 == 0 and images.shape[2] % 16 == 0
            latent = (images.shape[1] // 8, images.shape[2] // 8)
            shown = torch.nn.functional.adaptive_avg_pool2d(images[..., 0], latent)
            assert (masks.to_latent(latent).region("face") - shown).abs().mean() < 0.03
            assert torch.equal(masks.persons[0][0], masks.region("face")[0])

    def test_a_picture_of_the_right_size_stays_as_it_is(self):
        images = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
        masks = SemanticMasks(images.movedim(-1, 1)[:, :1], ("face",))
        same, cut = fit(images, masks, 64, 16)
        torch.testing.assert_close(same, images, atol=1e-6, rtol=0)
        assert cut is not None and torch.equal(cut.masks, masks.masks)

    def test_values_stay_in_0_to_1_at_hard_edges(self):
        image = torch.zeros(1, 50, 70, 3)
        image[:, :, 35:] = 1
        resized, _ = fit(image, None, 128, 16)
        assert resized.min() >= 0 and resized.max() <= 1

    def test_the_middle_is_kept(self):
        """300 × 100 at 64² in whole 64s is 128 × 64: the widest window of 2:1 is columns 50 to 249."""
        image = torch.zeros(1, 100, 300, 3)
        image[:, :, 100:200] = 1
        mask = SemanticMasks(image[..., 0][:, None], ("face",))
        resized, cut = fit(image, mask, 64, 64)
        assert cut is not None and cut.size == (100, 200)
        assert cut.masks[0, 0, 0].tolist() == [0.0] * 50 + [1.0] * 100 + [0.0] * 50
        assert resized.shape == (1, 64, 128, 3) and resized.mean().item() == pytest.approx(0.5, abs=0.02)

    @pytest.mark.parametrize("shape", [(1, 1, 50, 60), (2, 1, 50, 70)])
    def test_masks_of_other_pictures_are_refused_with_both_sizes(self, shape: tuple[int, ...]):
        masks = SemanticMasks(torch.zeros(shape), ("face",))
        with pytest.raises(
            ValueError, match=rf"1 pictures of 70x50 but .*{shape[0]} pictures of {shape[3]}x50"
        ):
            fit(torch.zeros(1, 50, 70, 3), masks, 64, 16)


class TestResolutions:
    def test_numbers_are_read_with_commas_or_spaces(self):
        assert parse_resolutions("768, 512 320") == [768, 512, 320] and parse_resolutions(" ") == []

    @pytest.mark.parametrize("text", ["768, big", "63", "-512", "512.5", "²", "8193", "1" * 5000])
    def test_what_is_no_resolution_is_named(self, text: str):
        with pytest.raises(ValueError, match="whole numbers from 64 to 8192"):
            parse_resolutions(text)
