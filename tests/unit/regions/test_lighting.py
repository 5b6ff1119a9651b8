"""The lighting layer: what counts as light and shadow, and what exposure may change."""

import pytest
import torch

from semantic_focus.datasets.folder import load_picture
from semantic_focus.regions.lighting import lighting, relight
from semantic_focus.regions.masks import SemanticMasks


def encode(linear: torch.Tensor) -> torch.Tensor:
    """Linear light to sRGB."""
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-9) ** (1 / 2.4) - 0.055
    )


def scene(background: float, spot: float, size: int = 96) -> torch.Tensor:
    """Float[1, S, S, 3]: a bright or dark square of linear luminance `spot` in the middle of a plain wall."""
    linear = torch.full((1, size, size, 3), background)
    linear[:, size // 2 - 8 : size // 2 + 8, size // 2 - 8 : size // 2 + 8] = spot
    return encode(linear)


@pytest.mark.parametrize("value", [0.0, 0.2, 1.0])
def test_flat_picture_has_no_lighting(value):
    assert lighting(torch.full((2, 30, 40, 3), value)).abs().max() < 1e-4


@pytest.mark.parametrize("spot", [0.9, 0.002], ids=["highlight", "shadow"])
def test_spot_of_light_or_shadow_stands_out_of_a_plain_wall(spot):
    layer = lighting(scene(0.2, spot))[0]
    assert layer[48, 48] > 0.3
    assert layer[:10].max() < 0.05


def test_stronger_light_counts_more():
    weak, strong = (float(lighting(scene(0.1, spot))[0, 48, 48]) for spot in (0.2, 0.6))
    assert strong > weak + 0.2


def test_halving_the_exposure_hardly_changes_the_layer():
    full = lighting(scene(0.3, 0.9))
    half = lighting(scene(0.15, 0.45))
    assert (full - half).abs().max() < 0.15
    assert (full - half).abs().mean() < 0.02


def test_shadow_edge_shows_even_where_both_sides_are_moderate():
    linear = torch.full((1, 64, 64, 3), 0.2)
    linear[:, :, 32:] = 0.08
    layer = lighting(encode(linear))[0]
    assert layer[32, 30:34].max() > layer[32, 10] + 0.05


def test_every_picture_by_itself_and_in_range():
    pictures = torch.rand(3, 20, 31, 3)
    layers = lighting(pictures)
    assert layers.shape == (3, 20, 31)
    assert layers.min() >= 0 and layers.max() <= 1
    for picture, layer in zip(pictures, layers, strict=True):
        assert torch.equal(lighting(picture[None])[0], layer)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_any_size(size):
    assert lighting(torch.rand(1, *size, 3)).shape == (1, *size)


def test_empty_batch_and_wrong_shape():
    assert lighting(torch.zeros(0, 4, 5, 3)).shape == (0, 4, 5)
    with pytest.raises(ValueError, match=r"\[B, H, W, 3\], got shape \[4, 5, 3\]"):
        lighting(torch.zeros(4, 5, 3))


def exposed(picture: torch.Tensor, stops: float) -> torch.Tensor:
    """The picture with its linear light scaled by 2**stops, clipped as a camera would."""
    linear = torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    return encode((linear * 2**stops).clamp(0, 1))


def test_strength_0_is_nothing_and_1_is_the_usual_layer():
    picture = scene(0.2, 0.9)
    assert lighting(picture, 0).abs().max() == 0
    assert torch.equal(lighting(picture, 1), lighting(picture))


def test_more_strength_takes_nothing_away_anywhere_and_adds_somewhere():
    picture = torch.rand(1, 40, 50, 3, generator=torch.Generator().manual_seed(0))
    layers = [lighting(picture, strength) for strength in (0, 0.25, 0.5, 1, 1.5, 2)]
    for weaker, stronger in zip(layers, layers[1:], strict=False):
        assert (stronger >= weaker).all()
        assert stronger.mean() > weaker.mean()
    assert layers[-1].max() <= 1


@pytest.mark.parametrize("name", ["astronaut.png", "bus.jpg", "zidane.jpg"])
def test_the_mean_follows_the_strength_about_in_proportion(photographs, name):
    picture = load_picture(photographs / name)[None]
    usual = float(lighting(picture).mean())
    for strength in (0.5, 1.5, 2.0):
        assert float(lighting(picture, strength).mean()) == pytest.approx(strength * usual, rel=0.35)


@pytest.mark.parametrize("stops", [-1, 1])
@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5])
def test_one_stop_of_exposure_hardly_moves_the_mean_on_a_photograph(photographs, stops, strength):
    picture = load_picture(photographs / "astronaut.png")[None]
    usual, other = lighting(picture, strength), lighting(exposed(picture, stops), strength)
    assert abs(float(usual.mean() - other.mean())) < 0.02


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="0 to 2, 1 is the usual; got"):
        lighting(torch.zeros(1, 4, 5, 3), strength)


def test_lighting_is_measured_again_and_all_else_stays():
    picture = scene(0.2, 0.9)
    masks = SemanticMasks(torch.rand(1, 2, 96, 96), ("face", "lighting"), (), {"image_digest": "abc"})
    again = relight(masks, picture, 1.5)
    assert torch.equal(again.region("lighting"), lighting(picture, 1.5))
    assert torch.equal(again.region("face"), masks.region("face"))
    assert again.provenance == {"edited": "lighting strength 1.5"}
    without = SemanticMasks(masks.masks[:, :1], ("face",))
    assert relight(without, picture, 1.5) is without
