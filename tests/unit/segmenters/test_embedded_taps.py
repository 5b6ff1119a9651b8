"""Inner activations of the six networks, read as further outputs of them."""

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from semantic_focus.segmenters.embedded import weights as weights_table
from semantic_focus.segmenters.embedded.deep import READERS
from semantic_focus.segmenters.embedded.networks import Network, Networks, load_networks
from semantic_focus.segmenters.embedded.taps import INNER, with_outputs
from semantic_focus.segmenters.protocol import MissingWeightsError

FIELDS = dict(
    zip((w.name for w in weights_table.WEIGHTS), (f.name for f in dataclasses.fields(Networks)), strict=True)
)


@pytest.fixture(scope="module")
def networks(weights: Path) -> Networks:
    return load_networks([weights])


def plain(path: Path) -> Network:
    """The file's network as it was shipped."""
    return Network(Interpreter(model_content=path.read_bytes(), num_threads=2))


@pytest.mark.parametrize("name", INNER)
def test_the_answers_of_a_network_stay_the_same_to_the_bit(weights, networks, name):
    shipped, tapped = plain(weights / name), getattr(networks, FIELDS[name])
    side = next(reader.side for readers in READERS.values() for reader in readers if reader.file == name)
    generator = np.random.default_rng(0)
    for picture in (generator.random((side, side, 3), np.float32), np.zeros((side, side, 3), np.float32)):
        before, inner, after = shipped(picture), tapped.inner(picture), tapped(picture)
        assert len(before) == len(after) and len(inner) == len(INNER[name])
        for expected, found in zip(before, after, strict=True):
            assert np.array_equal(expected, found)
        assert all(layer.ndim == 3 and np.isfinite(layer).all() for layer in inner)
        assert all(np.ptp(layer) > 0 for layer in inner)


def test_inner_activations_are_those_that_the_next_operations_read(weights, networks):
    """With every tensor kept, and no operation fused into another, the runtime has the same numbers."""
    name = "face_landmark.tflite"
    keeping = Interpreter(
        model_content=(weights / name).read_bytes(), num_threads=1, experimental_preserve_all_tensors=True
    )
    keeping.allocate_tensors()
    picture = np.random.default_rng(1).random((192, 192, 3), np.float32)
    keeping.set_tensor(keeping.get_input_details()[0]["index"], picture[None])
    keeping.invoke()
    for number, layer in zip(INNER[name], networks.face_mesh.inner(picture), strict=True):
        expected = keeping.get_tensor(number)[0]
        np.testing.assert_allclose(layer, expected, atol=1e-3 * np.abs(expected).max())


def test_more_outputs_can_be_added_and_none_is_the_same_network(weights):
    content = (weights / "selfie_segmentation.tflite").read_bytes()
    twice = with_outputs(with_outputs(content, (48,)), (157,))
    interpreter = Interpreter(model_content=twice)
    interpreter.allocate_tensors()
    assert [output["index"] for output in interpreter.get_output_details()] == [249, 48, 157]
    assert plain(weights / "selfie_segmentation.tflite")._inner == ()


@pytest.mark.parametrize(
    ("content", "tensors", "message"),
    [
        (b"", (1,), "not a TFLite file"),
        (b"<html>no such page</html>", (1,), "not a TFLite file"),
        (None, (5000,), r"tensors \[5000\]"),
        (None, (3, -1), r"tensors \[-1\]"),
    ],
)
def test_what_is_not_there_cannot_be_read(weights, content, tensors, message):
    file = (weights / "selfie_segmentation.tflite").read_bytes() if content is None else content
    with pytest.raises(ValueError, match=message):
        with_outputs(file, tensors)


def test_another_file_of_the_same_size_is_refused_before_its_tensors_are_read(weights, tmp_path):
    for weight in weights_table.WEIGHTS:
        (tmp_path / weight.name).symlink_to(weights / weight.name)
    name = "pose_landmark_full.tflite"
    content = bytearray((weights / name).read_bytes())
    struct.pack_into("<I", content, len(content) // 2, 0xDEADBEEF)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MissingWeightsError, match="damaged"):
        load_networks([tmp_path])
