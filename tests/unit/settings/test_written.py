"""What is written as a config.toml is read back as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.categories import SEMANTIC_CATEGORIES
from semantic_focus.datasets.cached_latents import DatasetSource
from semantic_focus.datasets.cached_scenes import SceneSource
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.objective.noise_weighting import SigmaWindow
from semantic_focus.objective.sums import RESIDUAL
from semantic_focus.objective.timesteps import TimestepSampling
from semantic_focus.objective.total import Objective
from semantic_focus.settings.model import ModelSettings
from semantic_focus.settings.scenes import SceneSettings
from semantic_focus.settings.toml import ALL, ConfigError
from semantic_focus.settings.training import LoraSettings, RunPlan, TrainConfig, load_config
from semantic_focus.settings.written import config_text
from semantic_focus.training.memory import MemorySetting
from semantic_focus.training.scenes import SceneShares
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.validation import ValidationSettings

WEIGHTS = {name: 0.1 * number for number, name in enumerate(SEMANTIC_CATEGORIES)}
ODD = 'a "quoted" \\ name, 刺青 = [x] # \t\x7f'

CHANGED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the model": {
        "model": ModelSettings(
            Path("/models/a b.safetensors"), "bf16", "cpu", Path("/a.safetensors"), Path("/ComfyUI"),
            "checkpoint", "0123456789abcdef", ("--fp32-unet", "--reserve-vram", "0.5"),
        )
    },
    "a graph": {"model": ModelSettings(Path("data/model_graph.json"))},
    "an adapter": {
        "adapter": AdapterSettings("lokr", 3, 0.1, 0.25, 4, (r"blocks\.[0-3]\..*", ODD[:9]), ("mlp",)),
        "lora": LoraSettings("attention only", Path("data/before.safetensors"), "kohya", "bf16"),
    },
    "the steps": {
        "training": TrainingSettings(
            7, 2, 3, 1e-7, "linear", 9, 0, "prodigy", 16.0, 0.1 + 0.2, 0.0, 0.9999, 1 / 3, 2**64 - 1
        )
    },
    "epochs": {"epochs": 3, "run": RunPlan(save_every_epochs=2)},
    "the run": {
        "run": RunPlan(
            Path("/output"), "my person", 0, None, 1, None, False, False, MemorySetting(0.3), Path("/runs")
        )
    },
    "the last saved step": {"run": RunPlan(keep_saved=1)},
    "no saved step": {"run": RunPlan(keep_saved=0)},
    "all saved steps": {"run": RunPlan(keep_saved=ALL)},
    "all in RAM": {"run": RunPlan(memory=MemorySetting.of("swap 100 %"))},
    "all on the device": {"run": RunPlan(memory=MemorySetting(0.0))},
    "anchors": {
        "training": TrainingSettings(
            timesteps=TimestepSampling("anchors", anchors=(1.0, 0.913, 1 / 3), jitter=0.0, low=0.2, high=0.95)
        )
    },
    "noise levels": {
        "training": TrainingSettings(timesteps=TimestepSampling("logit_normal", -0.7, 1.3, 4.5))
    },
    "an objective": {
        "objective": Objective(
            {**WEIGHTS, "tattoo": 0.8, ODD: 1e-5}, 0.0, True, 0.5, 0.25, 0.125, 2.0, 0.0, "huber", 0.3, 0.05,
            "pixel", "fixed", {"face": SigmaWindow(0.1, 0.9, 0.05), RESIDUAL: SigmaWindow()}, 5.0, 4,
        )
    },
    "the whole picture": {"objective": Objective(enabled=False)},
    "what is held out": {"validation": ValidationSettings("crops", 0.25, 7)},
    "another recipe": {"recipe": "auto"},
    "a state": {"state": Path("data/state.safetensors")},
    "scenes among the tensors": {"scenes": SceneSettings(None, SceneShares(0.0, 0.1))},
    "folders": {
        "tensors": None,
        "sources": (DatasetSource(Path("a"), 3, 512), DatasetSource(Path("/b"), image_directory=Path("c"))),
        "empty_prompt": Path("empty_zi_te.safetensors"),
        "scenes": SceneSettings(SceneSource(Path("scenes"), Path("/named")), SceneShares(0.25, 0.5)),
    },
}  # fmt: skip


def below(folder: Path, value: Any) -> Any:
    """The same, its paths as they are read from a file in this folder."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, tuple):
        return tuple(below(folder, item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: below(folder, item) for name, item in vars(value).items()})
    return value


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED.keys())
def test_each_setting_comes_back(tmp_path: Path, changed: dict[str, Any]):
    given = {"model": ModelSettings(Path("m.safetensors")), "sources": (), "tensors": Path("data"), **changed}
    config = below(tmp_path, TrainConfig(**given))
    file = tmp_path / "config.toml"
    file.write_text(config_text(config, tmp_path), encoding="utf-8")
    found = load_config(file)
    assert replace(found, stated=frozenset()) == config
    assert list(found.objective.weights) == list(config.objective.weights)
    assert {"learning_rate", "rank", "timesteps", "layers", "steps"} <= found.stated


def test_paths_beside_the_file_are_relative_so_that_the_folder_can_be_moved(tmp_path: Path):
    config = below(
        tmp_path / "job", TrainConfig(ModelSettings(Path("/m.safetensors")), (), tensors=Path("data"))
    )
    text = config_text(config, tmp_path / "job")
    assert str(tmp_path) not in text and 'path = "/m.safetensors"' in text
    moved = tmp_path / "elsewhere" / "config.toml"
    moved.parent.mkdir()
    moved.write_text(text)
    assert load_config(moved).tensors == tmp_path / "elsewhere" / "data"


@pytest.mark.parametrize("more", ['empty_prompt = "empty.safetensors"', "sources = []"])
def test_tensors_take_the_place_of_folders(tmp_path: Path, more: str):
    file = tmp_path / "config.toml"
    file.write_text(f'[model]\npath = "m.safetensors"\n[dataset]\ntensors = "data"\n{more}\n')
    with pytest.raises(ConfigError, match=r"line 5.*tensors are both given"):
        load_config(file)
