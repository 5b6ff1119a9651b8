"""Inside the embedded segmenter: whose a pixel is, where a person is looked at, how shares add up."""

import numpy as np
import pytest

from semantic_focus.segmenters.embedded.bodies import _without_pose
from semantic_focus.segmenters.embedded.detect import Face, Pose
from semantic_focus.segmenters.embedded.parts import (
    PARTS,
    WORK_SIDE,
    View,
    _fading,
    classify,
    fitted_networks,
    windows_of,
)
from semantic_focus.segmenters.embedded.persons import Person, _shares


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


class TestClassify:
    def test_every_pixel_gets_shares_that_sum_to_1(self):
        count = len(fitted_networks()["mean"])
        layers = np.random.default_rng(0).normal(size=(count, 9, 13)).astype(np.float32)
        where = np.ones((9, 13), bool)
        where[:, 5] = False
        shares = classify(layers, where)
        assert shares.shape == (len(PARTS), 9, 13)
        np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)
        assert (shares[PARTS.index("clothing"), :, 5] == 1).all()

    def test_it_is_the_mean_of_what_each_network_says(self):
        fitted = {name: value.double().numpy() for name, value in fitted_networks().items()}
        layers = np.random.default_rng(1).normal(size=(len(fitted["mean"]), 1, 3)).astype(np.float32)
        expected = np.zeros((3, len(PARTS)))
        for number in range(len(fitted["bias_1"])):
            for pixel in range(3):
                x = (layers[:, 0, pixel] - fitted["mean"]) / fitted["scale"]
                for layer in (1, 2):
                    x = np.maximum(x @ fitted[f"weight_{layer}"][number] + fitted[f"bias_{layer}"][number], 0)
                x = np.exp(x @ fitted["weight_3"][number] + fitted["bias_3"][number])
                expected[pixel] += x / x.sum() / len(fitted["bias_1"])
        found = classify(layers, np.ones((1, 3), bool))[:, 0].T
        assert found == pytest.approx(expected, abs=1e-5)
