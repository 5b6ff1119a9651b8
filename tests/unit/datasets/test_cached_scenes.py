"""Scenes for a training without a graph: cached like pictures, without masks."""

from pathlib import Path

import pytest
import torch

from semantic_focus.datasets.cached_scenes import SceneSource, load_scenes
from semantic_focus.datasets.folder import DatasetError

from .test_cached_latents import write_latent, write_text


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes, and of one of them a text with the trigger word, two tokens longer."""
    folder, named = tmp_path / "scenes", tmp_path / "named"
    folder.mkdir()
    named.mkdir()
    for stem, value in (("a", 0.0), ("b", 1.0)):
        write_latent(folder, stem, 64, 32, value)
        write_text(folder, stem)
    write_text(named, "a", tokens=5)
    return folder


def test_a_stranger_has_the_text_beside_its_latents(scenes: Path):
    found = load_scenes(SceneSource(scenes))
    assert [latent.shape for latent in found.latents] == [(1, 16, 4, 8)] * 2
    # as VAE Encode gives them: scale and shift of the format taken out again
    assert torch.allclose(found.latents[1], torch.full((1, 16, 4, 8), 1 / 0.3611 + 0.1159))
    assert [text.shape[1] for ((text, _),) in found.without] == [3, 3]
    assert found.with_trigger == ()


def test_a_composite_has_the_text_with_the_trigger_word(scenes: Path):
    write_text(scenes.parent / "named", "b", tokens=6)
    found = load_scenes(SceneSource(scenes, scenes.parent / "named"))
    assert [text.shape[1] for ((text, _),) in found.with_trigger] == [5, 6]


def test_what_is_missing_is_named(scenes: Path):
    with pytest.raises(DatasetError, match=r"1 scenes have no text.*b_zi_te.safetensors"):
        load_scenes(SceneSource(scenes, scenes.parent / "named"))
    (scenes / "b_zi_te.safetensors").unlink()
    with pytest.raises(DatasetError, match="b: no text embedding"):
        load_scenes(SceneSource(scenes))
