"""Errors by noise level, the dry run that shows what the masks do, and the grid of samples."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.diagnostics import (
    DryRun,
    DryRunRow,
    dry_run,
    format_dry_run,
    format_sigma_bins,
    sigma_bins,
)
from semantic_focus.training.preview_grid import GRID, MARGIN, MAX_SIDE, MOST_ROWS, save_previews
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.step_record import SampleRecord, StepRecord
from semantic_focus.training.trainer import Trainer

FACE_ONLY = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=0.0)


def step_record(*samples: tuple[float, dict[str, tuple[float, float]]]) -> StepRecord:
    """Of samples (position, region -> (cosine loss, squared error))."""
    return StepRecord(
        1,
        0.0,
        {},
        0.0,
        0.0,
        0.0,
        samples=tuple(
            SampleRecord(
                0,
                position,
                {name: pair[0] for name, pair in regions.items()},
                {name: pair[1] for name, pair in regions.items()},
                dict.fromkeys(regions, 0.5),
            )
            for position, regions in samples
        ),
    )


class TestSigmaBins:
    HISTORY = (
        step_record((0.1, {"face": (0.2, 1.0)}), (0.999, {"face": (0.5, 3.0), "hair": (1.0, 2.0)})),
        step_record((0.1999, {"face": (0.4, 2.0)}), (0.2, {"face": (0.9, 7.0)}), (1.0, {"face": (0.7, 5.0)})),
        step_record(),
    )

    def test_by_hand(self):
        """Face: 0.1 and 0.1999 in the first fifth, 0.2 in the second, 0.999 and 1 in the last."""
        found = [dataclasses.astuple(item) for item in sigma_bins(self.HISTORY)]
        expected = [
            ("face", 0.0, 0.2, 2, 0.3, 1.5),
            ("face", 0.2, 0.4, 1, 0.9, 7.0),
            ("face", 0.8, 1.0, 2, 0.6, 4.0),
            ("hair", 0.8, 1.0, 1, 1.0, 2.0),
        ]
        assert [row[0] for row in found] == [row[0] for row in expected]
        for row, wanted in zip(found, expected, strict=True):
            assert row[1:] == pytest.approx(wanted[1:])

    def test_another_number_of_bins_and_none_at_all(self):
        assert [(item.samples, item.error) for item in sigma_bins(self.HISTORY, bins=1)] == [
            (5, 3.6),
            (1, 2.0),
        ]
        assert sigma_bins([]) == []

    def test_as_text_a_column_for_each_level_that_has_samples(self):
        assert format_sigma_bins(sigma_bins(self.HISTORY)).splitlines() == [
            "error at         0-0.2   0.2-0.4     0.8-1",
            "face             1.500     7.000     4.000",
            "hair                                 2.000",
        ]


class TestDryRun:
    def test_outside_of_what_is_trained_the_gradient_is_exactly_0(self, model, data: TrainingPictures):
        """The face is the top left quarter of the pictures."""
        found = dry_run(model, data, FACE_ONLY)
        assert found.leak == 0 and len(found.heat) == 4
        for heat in found.heat:
            assert heat.shape == (8, 8) and heat.max() == 1
            assert (heat[:4, :4] > 0).all() and heat[4:].sum() == 0 and heat[:, 4:].sum() == 0
        rows = {row.region: row for row in found.rows}
        assert list(rows) == ["face", "hair", "background", "residual"]
        assert dataclasses.astuple(rows["face"]) == ("face", 1.0, 4, 0.25, pytest.approx(1.0))
        assert rows["background"] == DryRunRow("background", 0.0, 4, 0.5, 0.0)
        assert rows["residual"] == DryRunRow("residual", 0.0, 0, 0.0, 0.0)

    def test_at_the_first_step_the_prior_sends_nothing(self, model, data: TrainingPictures):
        assert dry_run(model, data, dataclasses.replace(FACE_ONLY, prior_weight=10.0)).leak == 0

    def test_a_base_loss_over_everything_leaks(self, model, data: TrainingPictures):
        found = dry_run(model, data, dataclasses.replace(FACE_ONLY, base_weight=0.1))
        assert 0 < found.leak <= 1
        shares = [row.gradient_share for row in found.rows]
        assert sum(shares) == pytest.approx(1, abs=1e-5) and all(share > 0 for share in shares[:3])

    def test_of_a_plain_squared_error_the_gradient_is_the_error(self, model, data: TrainingPictures):
        """No cosine, whole picture: the heat is |v − target| by cell over its largest."""
        objective = Objective(enabled=False, cosine_weight=0.0)
        found = dry_run(model, data, objective, position=0.3, seed=4)
        clean = data.latents[0][None]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))
        u = torch.tensor([0.3])
        error = (model.predict(0.7 * clean + 0.3 * noise, u, [0]) - (noise - clean)).square().sum(1)[0]
        torch.testing.assert_close(found.heat[0], (error / error.max()).sqrt(), rtol=1e-4, atol=1e-5)
        assert math.isnan(found.leak) and {row.weight for row in found.rows} == {1.0}

    def test_where_everything_is_trained_nothing_can_leak(self, model, data: TrainingPictures):
        weights = dict.fromkeys(data.labels, 1.0)
        assert math.isnan(dry_run(model, data, dataclasses.replace(FACE_ONLY, weights=weights)).leak)

    def test_a_picture_with_nothing_to_learn_is_counted_as_that(self, model, data: TrainingPictures):
        masks = (data.masks[0], torch.zeros(3, 8, 8))
        two = TrainingPictures(data.latents[:2], masks, data.labels)
        found = dry_run(model, two, FACE_ONLY)
        assert (found.rows[0].pictures, found.rows[0].coverage) == (1, 0.125)
        assert found.heat[1].sum() == 0 and found.leak == 0
        assert found.rows[0].gradient_share == pytest.approx(0.5)  # mean over both pictures

    def test_it_asks_the_model_once_for_each_picture_and_draws_nothing_of_others(self, model, data):
        random = torch.get_rng_state()
        dry_run(model, data, FACE_ONLY)
        assert model.calls == [[0], [1], [2], [3]] and torch.equal(torch.get_rng_state(), random)

    def test_it_can_be_cancelled_between_pictures(self, model, data: TrainingPictures):
        def cancel() -> None:
            if len(model.calls) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dry_run(model, data, FACE_ONLY, check=cancel)
        assert len(model.calls) == 2

    def test_it_is_the_gradient_of_a_trainings_first_step(self, model, data: TrainingPictures):
        """Its share of each region, where noise and position are the same."""
        one = TrainingPictures(data.latents[:1], data.masks[:1], data.labels)
        objective = Objective(weights={"face": 1.0, "hair": 0.3}, global_fallback=0.0)
        layers = linear_layers(model, "all linear layers")
        adapters = LoraAdapters(layers, AdapterSettings(rank=4, alpha=4.0), 0)
        trainer = Trainer(model, adapters, one, objective, TrainingSettings(steps=1))
        corrupt, seen = model.corrupt, []

        def spy(clean: torch.Tensor, noise: torch.Tensor, u: torch.Tensor):
            seen.append((noise, u))
            return corrupt(clean, noise, u)

        model.corrupt = spy
        with adapters.attached():
            record = trainer.step()
        noise, u = seen[0]
        model.corrupt = lambda clean, _noise, _u: corrupt(clean, noise, u)
        found = {row.region: row.gradient_share for row in dry_run(model, one, objective).rows}
        assert found == pytest.approx(record.gradient_share, rel=1e-4, abs=1e-6)

    @pytest.mark.parametrize(
        ("leak", "sentence"),
        [
            (0.0, "The masks are used: no gradient outside the trained regions."),
            (math.nan, "Every cell is trained: no place is left out."),
            (
                0.125,
                "Gradient outside the trained regions: 12.5% of the largest inside (a base loss over the",
            ),
        ],
    )
    def test_as_text(self, leak: float, sentence: str):
        rows = (DryRunRow("face", 1.0, 12, 0.1, 0.95), DryRunRow("residual", 0.05, 3, 0.9, 0.05))
        lines = format_dry_run(DryRun(rows, leak, ())).splitlines()
        assert lines[0].split() == ["region", "weight", "pictures", "cover", "gradient"]
        assert lines[1].split() == ["face", "1.00", "12", "10.0%", "95.0%"]
        assert lines[2].split() == ["residual", "0.05", "3", "90.0%", "5.0%"]
        assert len({len(line) for line in lines[:3]}) == 1 and lines[3].startswith(sentence)


class TestPreviewGrid:
    def colour(self, *colours: tuple[float, float, float], size: int = 32) -> torch.Tensor:
        return torch.tensor(colours).view(-1, 1, 1, 3).expand(-1, size, size, 3)

    def test_prompts_side_by_side_and_rounds_below_each_other(self, tmp_path: Path):
        """Also when the hundredth step has one digit more than the tenth."""
        save_previews(tmp_path / "p/step_000100.png", self.colour((0, 0, 1.5), (1, 1, 1)))
        save_previews(tmp_path / "p/step_000020.png", self.colour((1, 0, 0), (0, 0.5, 0)))
        row = np.asarray(Image.open(tmp_path / "p/step_000020.png"))
        assert row.shape == (32, 64, 3)
        assert row[0, 0].tolist() == [255, 0, 0] and row[0, 63].tolist() == [0, 128, 0]
        grid = np.asarray(Image.open(tmp_path / "p" / GRID))
        assert grid.shape == (2 * (32 + MARGIN), 64, 3)
        assert grid[MARGIN, 0].tolist() == [255, 0, 0] and grid[2 * MARGIN + 32, 0].tolist() == [0, 0, 255]
        assert (grid[:MARGIN] < 128).any() and (grid[MARGIN + 32 : 2 * MARGIN + 32] < 128).any()
        assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
            GRID,
            "step_000020.png",
            "step_000100.png",
        ]

    def test_a_round_again_takes_the_place_of_the_first(self, tmp_path: Path):
        for value in (0.0, 1.0):
            save_previews(tmp_path / "step_000020.png", self.colour((value, value, value)))
        grid = np.asarray(Image.open(tmp_path / GRID))
        assert grid.shape == (32 + MARGIN, 32, 3) and (grid[MARGIN:] == 255).all()

    def test_rounds_of_other_sizes_and_other_files_are_no_trouble(self, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("mine")
        save_previews(tmp_path / "step_000001.png", self.colour((0, 0, 0), size=16))
        save_previews(tmp_path / "step_000002.png", self.colour((0, 0, 0), (0, 0, 0)))
        assert Image.open(tmp_path / GRID).size == (64, 16 + 32 + 2 * MARGIN)

    def test_a_tall_grid_is_shrunk(self, tmp_path: Path):
        for step in (1, 2):
            save_previews(tmp_path / f"step_{step:06}.png", torch.zeros(1, 2500, 16, 3))
        assert max(Image.open(tmp_path / GRID).size) == MAX_SIDE

    def test_of_many_rounds_the_grid_has_some_from_the_first_to_the_last(self, tmp_path: Path):
        for step in range(1, 61):
            save_previews(tmp_path / f"step_{step:06}.png", self.colour((step / 255, 0, 0), size=8))
        rows = np.asarray(Image.open(tmp_path / GRID))[MARGIN :: MARGIN + 8, 0, 0].tolist()
        assert len(rows) == MOST_ROWS and (rows[0], rows[-1]) == (1, 60)
        assert {after - before for before, after in itertools.pairwise(rows)} <= {2, 3}
