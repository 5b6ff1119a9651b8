"""Masks as pictures, and training curves as a picture."""

import math

import pytest
import torch
from torch import Tensor

from semantic_focus.categories import SEMANTIC_CATEGORIES, is_soft_layer
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.overlay import index_map, overlay, region_colour
from semantic_focus.training.plot import loss_plot, smoothed


def block(rows: slice, columns: slice, value: float = 1.0) -> Tensor:
    mask = torch.zeros(12, 16)
    mask[rows, columns] = value
    return mask


class TestIndexMap:
    def test_the_strongest_region_of_at_least_one_half_wins(self):
        masks = torch.tensor([[[0.5, 0.49, 0.6, 0.0]], [[0.4, 0.49, 0.7, 1.0]]])
        assert index_map(masks, ("face", "hair")).tolist() == [[1, 0, 2, 2]]

    def test_soft_layers_take_no_part(self):
        masks = torch.tensor([[[0.6, 0.0]], [[1.0, 1.0]]])
        assert is_soft_layer("lighting") and not is_soft_layer("face") and not is_soft_layer("tattoo")
        assert index_map(masks, ("face", "lighting")).tolist() == [[1, 0]]

    def test_the_masks_are_left_as_they_were(self):
        masks = torch.ones(1, 2, 2)
        index_map(masks, ("lighting",))
        assert torch.equal(masks, torch.ones(1, 2, 2))


class TestColours:
    def test_the_vocabulary_has_its_own_colours_all_different(self):
        colours = [region_colour(name) for name in SEMANTIC_CATEGORIES]
        assert colours == [category.colour for category in SEMANTIC_CATEGORIES.values()]
        assert len(set(colours)) == len(colours)

    def test_an_own_category_has_a_bright_colour_that_depends_on_its_name_only(self):
        assert region_colour("tattoo") == region_colour("tattoo") != region_colour("长剑")
        for name in ("tattoo", "长剑", "sword"):
            assert all(0 <= channel <= 255 for channel in region_colour(name))
            assert max(region_colour(name)) == round(0.95 * 255)


class TestOverlay:
    GREY = torch.full((1, 12, 16, 3), 0.5)

    def blend(self, label: str, share: float) -> Tensor:
        return 0.5 * (1 - share) + share * torch.tensor(region_colour(label)) / 255

    def test_a_region_is_its_colour_over_the_picture_and_the_rest_is_the_picture(self):
        masks = SemanticMasks(block(slice(2, 6), slice(2, 6))[None, None], ("face",))
        drawn = overlay(self.GREY, masks, 0.4)
        assert drawn.shape == (1, 12, 16, 3)
        torch.testing.assert_close(drawn[0, 3, 3], self.blend("face", 0.4))
        torch.testing.assert_close(drawn[0, 10, 10], self.GREY[0, 10, 10])

    def test_background_is_half_as_strong(self):
        face = block(slice(2, 6), slice(2, 6))
        masks = SemanticMasks(torch.stack((face, 1 - face))[None], ("face", "background"))
        torch.testing.assert_close(overlay(self.GREY, masks, 0.4)[0, 10, 10], self.blend("background", 0.2))

    def test_borders_are_lines_also_at_opacity_0(self):
        masks = SemanticMasks(block(slice(2, 6), slice(2, 6))[None, None], ("face",))
        changed = (overlay(self.GREY, masks, 0.0) != self.GREY).any(-1)[0]
        # a pixel is on the line when its right or lower neighbour is of another region
        expected = torch.zeros(12, 16, dtype=torch.bool)
        expected[2:6, [1, 5]] = True
        expected[[1, 5], 2:6] = True
        assert torch.equal(changed, expected)

    @pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
    def test_values_stay_in_0_to_1_and_the_inputs_as_they_were(self, opacity: float):
        images = torch.rand(2, 12, 16, 3, generator=torch.Generator().manual_seed(0))
        before = images.clone()
        regions = torch.stack((block(slice(0, 6), slice(0, 16)), block(slice(4, 12), slice(3, 9), 0.7)))
        drawn = overlay(images, SemanticMasks(torch.stack((regions, regions)), ("face", "tattoo")), opacity)
        assert drawn.min() >= 0 and drawn.max() <= 1 and torch.equal(images, before)

    def test_without_any_region_the_picture_is_unchanged(self):
        masks = SemanticMasks(torch.zeros(1, 1, 12, 16), ("face",))
        assert torch.equal(overlay(self.GREY, masks), self.GREY)


class TestSmoothed:
    def test_no_smoothing_is_the_values(self):
        assert smoothed([3.0, 1.0, 2.0], 0.0) == [3.0, 1.0, 2.0]

    def test_a_constant_stays_itself_from_the_first_step_on(self):
        assert smoothed([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)

    def test_each_value_is_the_weighted_mean_of_all_before(self):
        """Weights .25, .5, 1 for smoothing one half: (0.25·4 + 0.5·2 + 1·1) / 1.75."""
        assert smoothed([4.0, 2.0, 1.0], 0.5) == pytest.approx([4, (2 + 2) / 1.5, 3 / 1.75])

    def test_steps_without_the_region_change_nothing(self):
        result = smoothed([math.nan, 4.0, math.nan, 2.0], 0.5)
        assert math.isnan(result[0])
        assert result[1:] == pytest.approx([4, 4, 8 / 3])

    @pytest.mark.parametrize("bad", [-0.1, 1.0, math.nan])
    def test_other_smoothing_is_refused(self, bad: float):
        with pytest.raises(ValueError, match="smoothing is"):
            smoothed([1.0], bad)


class TestLossPlot:
    def test_a_picture_of_the_wanted_size_that_shows_each_curve_in_its_colour(self):
        regions = {"face": [0.5] * 20, "tattoo": [0.25] * 20, "hair": [math.nan] * 20}
        plot = loss_plot({"loss": [1.0] * 20, "regions": regions}, 0.0, 480, 320)
        assert plot.shape == (320, 480, 3) and plot.min() >= 0 and plot.max() <= 1
        for name, shown in (("face", True), ("tattoo", True), ("hair", False)):
            colour = torch.tensor(region_colour(name)) / 255
            pixels = ((plot - colour).abs().amax(-1) < 0.03).sum().item()
            assert (pixels > 100) == shown, name

    def test_what_is_held_out_is_drawn_in_the_same_colours(self):
        """The training's own curve of the face is absent: what has its colour is the other."""
        held_out = {"step": [1, 10, 20], "loss": [1.0] * 3, "regions": {"face": [0.9, 0.5, 0.7]}, "drift": {}}
        plot = loss_plot({"loss": [1.0] * 20, "regions": {}, "validation": held_out}, 0.0, 480, 320)
        colour = torch.tensor(region_colour("face")) / 255
        assert ((plot - colour).abs().amax(-1) < 0.1).sum().item() > 100

    @pytest.mark.parametrize("theme, paper", [("light", 255), ("dark", 32)])
    def test_paper_and_ink_are_of_the_theme(self, theme: str, paper: int):
        plot = loss_plot({"loss": [1.0] * 20}, 0.0, 480, 320, theme)
        assert (plot[0, 0] * 255)[0].round().item() == paper
        told_apart = (plot.mean(-1) - plot[0, 0].mean()).abs() > 0.6
        assert 1000 < told_apart.sum() < 0.2 * told_apart.numel()  # words, axes and the curve

    def test_the_loss_map_of_another_trainer_is_enough(self):
        empty, full = (loss_plot({"loss": losses}, 0.5) for losses in ([1.0], [1.0, 0.5, 0.25]))
        assert empty.shape == full.shape == (540, 960, 3)
        assert not torch.equal(empty, full)

    def test_no_step_is_an_error(self):
        with pytest.raises(ValueError, match="no step in it"):
            loss_plot({"loss": []})
