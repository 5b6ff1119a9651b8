"""Inside the embedded segmenter: whose a pixel is, where a person is looked at, how shares add up."""

import cv2
import numpy as np
import pytest
import torch

from semantic_focus.segmenters.embedded.bodies import _without_pose
from semantic_focus.segmenters.embedded.classifier import PARTS, classify, fitted_networks, heard
from semantic_focus.segmenters.embedded.deep import (
    GRID,
    READERS,
    Sight,
    cells,
    gathered,
    nearness,
    sampled,
    squares,
)
from semantic_focus.segmenters.embedded.detect import Face, Pose
from semantic_focus.segmenters.embedded.networks import FITTED
from semantic_focus.segmenters.embedded.parts import WORK_SIDE, View, _fading, windows_of
from semantic_focus.segmenters.embedded.persons import Person, _shares
from semantic_focus.segmenters.embedded.taps import INNER


def face_at(x: float, y: float, height: float = 40.0) -> Face:
    """An upright face: an ellipse of the usual proportions."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    outline = np.stack([x + 0.36 * height * np.cos(angle), y + 0.5 * height * np.sin(angle)], axis=-1)
    return Face(0.95, outline, np.array([x, y - height / 2]), np.array([x, y + height / 2]))


def pose_on(mask: np.ndarray, head: tuple[float, float]) -> Pose:
    landmarks = np.tile(np.array(head, float), (33, 1))
    landmarks[11:13] = head[0] - 20, head[1] + 40
    landmarks[12] = head[0] + 20, head[1] + 40
    return Pose(0.99, landmarks, np.ones(33), mask.astype(np.float32))


class TestWhoseAPixelIs:
    def test_a_head_belongs_to_its_face_even_on_another_ones_body(self):
        whole = np.ones((200, 300), np.float32)
        left, right = face_at(80, 60), face_at(200, 60)
        shares = _shares([(left, pose_on(whole, (80, 60))), (right, None)], np.stack([whole, 0.1 * whole]))
        np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)
        assert shares[0, 60, 80] > 0.9 and shares[1, 60, 200] > 0.9
        assert shares[1, 45, 205] > 0.9  # the hair above

    def test_one_person_has_everything(self):
        layer = np.random.default_rng(0).random((1, 20, 30), np.float32)
        assert (_shares([(face_at(10, 10, 8), None)], layer) == 1).all()

    def test_the_body_below_a_face_without_a_pose_is_its_own(self):
        nothing = np.zeros((400, 400), np.float32)
        bodies = [(face_at(100, 60), None), (face_at(300, 60), None)]
        shares = _shares(bodies, np.stack([nothing, nothing]))
        assert shares[0, 200, 100] > 0.9 and shares[1, 200, 300] > 0.9

    def test_a_misplaced_pose_goes_to_the_nearest_face_on_its_mask_that_has_none(self):
        mask = np.zeros((200, 300), np.float32)
        mask[30:, 50:250] = 1
        taken = (face_at(150, 60), pose_on(mask, (150, 60)))
        near, far = (face_at(100, 60), None), (face_at(220, 60), None)
        pose = pose_on(mask, (140, 60))
        assert _without_pose([far, taken, near], pose) == 2
        assert _without_pose([taken], pose) is None
        outside = (face_at(140, 10), None)
        assert _without_pose([outside], pose) is None


class TestWhereAPersonIsLookedAt:
    def test_a_small_head_is_looked_at_again_from_near(self):
        mask = np.zeros((760, 500), np.float32)
        mask[20:740, 100:400] = 1
        whole, near = windows_of(Person(mask, face_at(250, 80, 60), None))
        assert (whole[0].start, whole[0].stop) == (20, 740) and (whole[1].start, whole[1].stop) == (100, 400)
        assert near[0].start == 20 and 140 < near[0].stop < 260
        assert near[1].start <= 250 - 60 and near[1].stop >= 250 + 60
        view = View.of(np.zeros((760, 500, 3), np.uint8), Person(mask, face_at(250, 80, 60), None), whole)
        assert max(view.mask.shape) == WORK_SIDE

    def test_a_portrait_is_looked_at_once(self):
        mask = np.ones((WORK_SIDE, WORK_SIDE), np.float32)
        assert len(windows_of(Person(mask, face_at(160, 150, 140), None))) == 1

    def test_without_a_face_there_is_nothing_to_look_at_closer(self):
        mask = np.ones((760, 500), np.float32)
        assert len(windows_of(Person(mask, None, pose_on(mask, (200, 60))))) == 1

    def test_a_near_look_fades_out_inside_the_person_and_not_at_its_edge(self):
        fading = _fading((slice(0, 40), slice(30, 70)), (200, 100))
        assert fading.shape == (40, 40)
        assert fading[0, 20] == 1 and fading[39, 20] == 0  # the upper edge is the person's own
        assert fading[20, 0] == 0 and fading[20, 39] == 0 and fading[20, 20] == 1


def some_networks(place: int = 5, count: int = 2, hidden: int = 3) -> dict[str, torch.Tensor]:
    """Networks as `fitted_networks` describes them, with random weights."""
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    first = (count + 1) * hidden
    fitted = {
        "place": weights(place, first),
        "place/bias": weights(first),
        "bias_1": weights(first),
        "presence/weight_2": weights(1, hidden, hidden),
        "presence/bias_2": weights(1, hidden),
        "presence/weight_3": weights(1, hidden, 2),
        "presence/bias_3": weights(1, 2),
        "weight_2": weights(count, hidden, hidden),
        "bias_2": weights(count, hidden),
        "weight_3": weights(count, hidden, len(PARTS)),
        "bias_3": weights(count, len(PARTS)),
    }
    for square, readers in READERS.items():
        for reader in readers:
            for number in INNER[reader.file]:
                fitted[f"{square}/{reader.file}:{number}"] = weights(2, first)
        fitted[f"{square}/bias"], fitted[f"{square}/near"] = weights(first), weights(first)
    return fitted


def answers(fitted: dict[str, torch.Tensor], first: np.ndarray) -> np.ndarray:
    """Float[5] of a pixel's first layer Float[H]: the mean over the networks, and if anybody is there."""

    def behind(x: np.ndarray, name: str, number: int) -> np.ndarray:
        x = x @ fitted[f"{name}weight_2"][number].numpy() + fitted[f"{name}bias_2"][number].numpy()
        x = np.maximum(x, 0)
        x = np.exp(x @ fitted[f"{name}weight_3"][number].numpy() + fitted[f"{name}bias_3"][number].numpy())
        return x / x.sum()

    *own, presence = np.split(np.maximum(first, 0), len(fitted["bias_2"]) + 1)
    parts = np.mean([behind(x, "", number) for number, x in enumerate(own)], 0)
    return np.append(parts, behind(presence, "presence/", 0)[1])


class TestClassify:
    POINTS = np.stack(np.meshgrid(np.arange(3) + 0.5, np.arange(2) + 0.5), -1).reshape(-1, 2)

    def test_every_pixel_gets_shares_that_sum_to_1(self):
        layers = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
        where = np.ones((2, 3), bool)
        where[:, 1] = False
        shares = classify(layers, {}, self.POINTS, where, fitted=some_networks())
        assert shares.shape == (1, len(PARTS) + 1, 2, 3)
        np.testing.assert_allclose(shares[:, :-1].sum(1), 1, atol=1e-5)
        assert (shares >= 0).all() and (shares <= 1).all()
        assert (shares[0, [PARTS.index("clothing"), -1], :, 1] == 1).all()

    def test_it_is_the_mean_of_what_each_network_says(self):
        fitted = some_networks()
        layers = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
        found = classify(layers, {}, self.POINTS, np.ones((2, 3), bool), fitted=fitted)[0]
        for row, column in np.ndindex(2, 3):
            first = layers[:, row, column] @ fitted["place"].numpy()
            first = first + (fitted["place/bias"] + fitted["bias_1"]).numpy()
            assert found[:, row, column] == pytest.approx(answers(fitted, first), abs=1e-5)

    def test_a_source_that_is_not_used_says_nothing_and_one_that_is_adds_its_own(self):
        fitted = some_networks()
        # both squares see the same everywhere: what is between the cells makes no difference
        seen = {
            square: Sight(
                {
                    f"{r.file}:{n}": np.full((4, 4, 2), 0.5, np.float32)
                    for r in READERS[square]
                    for n in INNER[r.file]
                },
                np.array([[0.1, 0, 0.3], [0, 0.1, 0.3]]),
            )
            for square in ("whole", "head")
        }
        using = (("whole",), ("whole", "head"))
        level = heard(seen, fitted)
        found = classify(None, level, self.POINTS, np.ones((2, 3), bool), using, fitted)
        said = {
            square: fitted[f"{square}/bias"]
            + fitted[f"{square}/near"]
            + sum(0.5 * w.sum(0) for k, w in fitted.items() if k.startswith(f"{square}/") and ":" in k)
            for square in level
        }
        for answer, sources in zip(found, using, strict=True):
            first = (fitted["bias_1"] + sum(said[source] for source in sources)).numpy()
            assert answer[:, 1, 1] == pytest.approx(answers(fitted, first), abs=1e-4)

    def test_the_file_has_a_weight_for_all_that_is_read(self):
        fitted, expected = fitted_networks(), some_networks()
        assert fitted.keys() == expected.keys()
        for name in ("place", *(name for name in fitted if ":" in name)):
            assert fitted[name].shape[1] == len(fitted["bias_1"]), name
        assert FITTED.stat().st_size < 1_000_000


class TestSquares:
    @pytest.mark.parametrize("tilt", [0, 30, 90, -120, 180])
    def test_the_head_stands_upright_where_the_transform_says(self, tilt):
        turn = np.radians(tilt)
        down = np.array([-np.sin(turn), np.cos(turn)])
        middle, size = np.array([300.0, 260.0]), 80.0
        upright = face_at(300.0, 260.0, size)
        turned = (upright.outline - middle) @ np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        )
        face = Face(0.9, turned + middle, middle - down * size / 2, middle + down * size / 2)
        picture = np.zeros((500, 600, 3), np.uint8)
        chin, forehead = face.chin.astype(int), face.top.astype(int)
        cv2.circle(picture, chin.tolist(), 3, (255, 0, 0), -1)
        cv2.circle(picture, forehead.tolist(), 3, (0, 255, 0), -1)
        square = squares(picture, (slice(100, 480), slice(150, 450)), face)["head"]
        seen = {}
        for channel, point in ((0, chin), (1, forehead)):
            rows, columns = np.nonzero(square.pixels[..., channel] > 100)
            seen[channel] = np.array([columns.mean(), rows.mean()])
            told = square.transform[:, :2] @ (point + 0.5) + square.transform[:, 2]
            np.testing.assert_allclose((seen[channel] + 0.5) / len(square.pixels), told, atol=0.006)
        across, along = seen[0] - seen[1]
        assert along > 0 and abs(across) < 0.1 * along

    def test_weighing_and_enlarging_gives_each_place_the_weighted_sum_of_what_is_around_it(self):
        generator = np.random.default_rng(0)
        coarse = generator.random((GRID // 8, GRID // 8, 3), np.float32)
        fine = generator.random((GRID, GRID, 2), np.float32)
        weights = {"a": torch.randn(3, 4), "b": torch.randn(2, 4)}
        layers = gathered(Sight({"a": coarse, "b": fine}, np.eye(2, 3)), weights)
        # the middle between four fine cells that lie inside one eighth of a coarse cell
        x, y = (8 * 3 + 4) / GRID, (8 * 5 + 4) / GRID
        found = sampled(layers, cells(np.eye(2, 3), np.array([[x, y]]), "zeros"))[0].numpy()
        expected = coarse[5, 3] @ weights["a"].numpy()
        expected = expected + fine[43:45, 27:29].mean((0, 1)) @ weights["b"].numpy()
        # the four cells take 15/16 of the coarse cell each way, and 1/16 of one neighbour or the other
        around = [(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]
        mixed = np.zeros(3)
        for down, across in around:
            share = np.prod([15 / 16 if step == 0 else 1 / 32 for step in (down, across)])
            mixed += share * coarse[5 + down, 3 + across]
        expected += (mixed - coarse[5, 3]) @ weights["a"].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_nothing_is_known_beyond_a_square_or_its_border_goes_on(self):
        layers = torch.ones(GRID * GRID, 1)
        beyond = np.array([[1.5, 0.5], [0.5, -2.0]])
        assert sampled(layers, cells(np.eye(2, 3), beyond, "zeros")).abs().max() == 0
        assert sampled(layers, cells(np.eye(2, 3), beyond, "border")).min() == 1
        assert nearness(np.eye(2, 3), np.array([[0.5, 0.5], [1.0, 0.5], [1.5, 0.5]])).tolist() == [1, 0, 0]
