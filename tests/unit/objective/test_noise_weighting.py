"""Windows over the noise position and min-SNR weights, by hand."""

import pytest
import torch

from semantic_focus.objective.noise_weighting import NoiseLevel, SigmaWindow, format_windows, parse_windows

POSITIONS = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.65, 0.7, 0.9])


class TestWindow:
    def test_without_a_ramp_it_is_on_or_off_and_its_limits_are_inside(self):
        assert SigmaWindow(0.2, 0.6).weight_at(POSITIONS).tolist() == [0, 1, 1, 1, 0, 0, 0]

    def test_the_ramp_falls_linearly_outside(self):
        """0.65 is half of a ramp of 0.1 beyond 0.6; 0.05 lies 0.15 below 0.2."""
        weights = SigmaWindow(0.2, 0.6, ramp=0.1).weight_at(POSITIONS)
        torch.testing.assert_close(weights, torch.tensor([0, 1, 1, 1, 0.5, 0, 0]))

    def test_the_default_is_everywhere(self):
        assert SigmaWindow().weight_at(POSITIONS).all()

    @pytest.mark.parametrize("limits", [(0.6, 0.2), (0.3, 0.3), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 1)])
    def test_limits_that_make_no_window_are_refused(self, limits: tuple[float, float]):
        with pytest.raises(ValueError, match="0 <= low < high <= 1"):
            SigmaWindow(*limits)

    @pytest.mark.parametrize("ramp", [-0.1, 1.5, float("nan")])
    def test_a_bad_ramp_is_refused(self, ramp: float):
        with pytest.raises(ValueError, match="ramp is"):
            SigmaWindow(ramp=ramp)


class TestLines:
    def test_the_documented_forms(self):
        text = "face: 0 .. 0.6\n\ntattoo arm：.2..1 ramp 0.1\n"
        assert parse_windows(text) == {
            "face": SigmaWindow(0, 0.6),
            "tattoo arm": SigmaWindow(0.2, 1, 0.1),
        }

    def test_what_is_written_is_read_back(self):
        windows = {"face": SigmaWindow(0.125, 0.6), "hair": SigmaWindow(0.0, 0.5, 0.25)}
        assert parse_windows(format_windows(windows)) == windows
        assert parse_windows("") == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("face: 0 .. 0.6\nhair 0 .. 1", "line 2: 'hair 0 .. 1' is not of the form"),
            ("face: 0 - 0.6", "line 1: .*not of the form"),
            ("face: -1 .. 0.6", "line 1: .*not of the form"),
            ("face: 0 .. 0.6\nface: 0 .. 1", "line 2: 'face' is there twice"),
            ("face: 0.6 .. 0.2", "window of 'face'.*0 <= low < high"),
        ],
    )
    def test_mistakes_are_named(self, text: str, message: str):
        with pytest.raises(ValueError, match=message):
            parse_windows(text)


class TestMinSnr:
    def test_a_flow_weighs_by_the_smaller_of_signal_and_gamma_times_noise(self):
        """σ = 0.5: SNR 1, 0.25·1. σ = 0.1: SNR 81, 0.01·5. σ = 0.9: SNR 1/81, 0.81/81."""
        weights = NoiseLevel(torch.tensor([0.5, 0.1, 0.9])).min_snr_weight(5.0)
        torch.testing.assert_close(weights, torch.tensor([0.25, 0.05, 0.01]))

    def test_a_flow_with_its_snr_given_weighs_the_same(self):
        sigma = torch.tensor([0.5, 0.1, 0.9])
        given = NoiseLevel(sigma, ((1 - sigma) / sigma) ** 2)
        torch.testing.assert_close(given.min_snr_weight(5.0), NoiseLevel(sigma).min_snr_weight(5.0))

    def test_eps_and_v_have_the_weights_of_the_paper(self):
        """SNR 10, 5, 1: eps min/SNR = 0.5, 1, 1; v min/(SNR + 1) = 5/11, 5/6, 1/2."""
        position, snr = torch.tensor([0.1, 0.2, 0.5]), torch.tensor([10.0, 5.0, 1.0])
        eps, v = (NoiseLevel(position, snr, kind).min_snr_weight(5.0) for kind in ("eps", "v"))
        torch.testing.assert_close(eps, torch.tensor([0.5, 1.0, 1.0]))
        torch.testing.assert_close(v, torch.tensor([5 / 11, 5 / 6, 0.5]))

    def test_the_ends_give_numbers(self):
        ends = torch.tensor([0.0, 1.0])
        assert NoiseLevel(ends).min_snr_weight(5.0).tolist() == [0, 0]
        assert NoiseLevel(ends, torch.tensor([1e30, 0.0]), "eps").min_snr_weight(5.0).isfinite().all()

    def test_mistakes_are_named(self):
        with pytest.raises(ValueError, match="choose flow, eps or v"):
            NoiseLevel(torch.ones(1), prediction="x0")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'eps' needs snr"):
            NoiseLevel(torch.ones(1), prediction="eps")
        with pytest.raises(ValueError, match=r"noise position has shape \[\]: it must be \[3\]"):
            NoiseLevel(torch.tensor(0.5)).check(3)
