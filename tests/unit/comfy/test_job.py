"""A training that was written into a folder is the same training when it is read."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_focus.comfy.headless_inputs import HeadlessInputs, read_inputs
from semantic_focus.comfy.job import write_job
from semantic_focus.comfy.request import TrainingRequest
from semantic_focus.datasets.folder import DatasetError
from semantic_focus.datasets.given_tensors import INDEX
from semantic_focus.datasets.on_disk import OnDisk
from semantic_focus.datasets.prepared_file import CannotBeKeptError
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.objective.total import Objective
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.settings.model import ModelSettings
from semantic_focus.settings.training import RunPlan, load_config
from semantic_focus.training.digest import digest
from semantic_focus.training.memory import MemorySetting
from semantic_focus.training.scenes import Scenes, SceneShares
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.state import TrainState
from semantic_focus.training.validation import ValidationSettings

MODEL = ModelSettings(Path("/models/model.safetensors"), device="cpu")
PLAN = RunPlan(name="person", save_every=5, resume=False)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def waiting(*shape: int) -> Tensor:
    return OnDisk(lambda: numbers(*shape), shape)


def prompt(tokens: int = 3, **extras: Any) -> list[Any]:
    return [[numbers(1, tokens, 8), extras]]


def request(**changed: Any) -> TrainingRequest:
    """Two pictures of two sizes."""
    masks = [SemanticMasks(numbers(1, 2, h, w).sigmoid(), ("face", "刺青")) for h, w in ((4, 6), (5, 4))]
    values: dict[str, Any] = {
        "patcher": None,
        "latents": [numbers(1, 16, 4, 6), numbers(1, 16, 5, 4)],
        "conditionings": [prompt(), prompt(5)],
        "masks": masks,
        "objective": Objective(),
        "settings": TrainingSettings(),
    }
    return TrainingRequest(**{**values, **changed})


SHARED, GUIDED = prompt(4), prompt(4, guidance=1.0)
TENSOR = numbers(2, 3)
STATE = TrainState(
    7, {"adapters.a": numbers(3, 2), "optimizer.0.step": torch.tensor(7.0)}, {"n": [1, "a"]}, {}
)
SCENES = Scenes((numbers(1, 16, 4, 6),) * 2, SceneShares(0.25, 0.5), (prompt(),) * 2, (prompt(2),) * 2)

REQUESTS: dict[str, TrainingRequest] = {
    "plain": request(),
    "one batch of two": request(
        latents=[numbers(2, 4, 4, 6)], masks=[SemanticMasks(numbers(2, 1, 4, 6).sigmoid(), ("face",))]
    ),
    "video": request(latents=[numbers(1, 16, 3, 4, 6), numbers(1, 16, 1, 5, 4)]),
    "many channels in 16 bit": request(
        latents=[numbers(1, 128, 4, 6, dtype=torch.bfloat16), numbers(1, 128, 5, 4, dtype=torch.float16)],
        conditionings=[
            [[numbers(1, 3, 8, dtype=torch.bfloat16), {"pooled_output": numbers(1, 4, dtype=torch.float16)}]]
        ]
        * 2,
    ),
    "extras": request(
        conditionings=[
            prompt(pooled_output=numbers(1, 4), guidance=3.5, attention_mask=torch.arange(3)[None]),
            prompt(2, reference_latents=[numbers(1, 16, 2)], of={"a": (1, None, True)}, text="x"),
        ]
    ),
    "views of one": request(conditionings=[[[TENSOR.t()[None], {"a": TENSOR[:1], "b": TENSOR}]]] * 2),
    "one prompt for all, and the empty one": request(conditionings=[SHARED, SHARED], unconditional=prompt(1)),
    "latents that wait on the disk": request(latents=[waiting(1, 16, 4, 6), waiting(1, 16, 5, 4)]),
    "names and repeats": request(repeats=(3, 1), names=("a", "b")),
    "all settings": request(
        settings=TrainingSettings(9, caption_dropout=0.5, seed=2**64 - 1, learning_rate=0.1 + 0.2),
        adapter=AdapterSettings("loha", 3, 0.7, 0.1, include=("a.*",)),
        layers="attention only",
        unconditional=SHARED,
        gradient_checkpointing=False,
        memory=MemorySetting(0.2),
        validation=ValidationSettings("crops", 0.2, 3),
        objective=Objective({**Objective().weights, "刺青": 0.5}, prior_every=3),
    ),
    "files besides": request(
        start_from={"a.lora_up.weight": numbers(4, 2)},
        training_adapter={"b.lora_up.weight": numbers(4, 2, dtype=torch.bfloat16)},
        state=STATE,
    ),
    "scenes": request(
        scenes=SCENES,
        conditionings=[prompt(), prompt(5), GUIDED, GUIDED, *SCENES.without],
        unconditional=GUIDED,
    ),
}  # fmt: skip


def identity(given: HeadlessInputs | TrainingRequest) -> list[Any]:
    """Digests of all tensors, and what is beside them."""
    if isinstance(given, HeadlessInputs):
        data = given.dataset
        latents = [latent["samples"] for latent in data.latents]
        prompts = [*data.conditionings, *(given.scenes.conditionings if given.scenes else ())]
        masks, repeats, names = data.masks, data.repeats, data.names
    else:
        latents, prompts, masks = given.latents, given.conditionings, given.masks
        repeats, names = given.repeats, given.names
    state = given.state and vars(given.state)
    scenes = given.scenes and [given.scenes.latents, given.scenes.shares]
    tensors = [latents, [(one.masks, one.labels) for one in masks], prompts, given.unconditional]
    more = [given.start_from, given.training_adapter, state, scenes, repeats, names]
    return [digest(one) for one in (*tensors, *more)]


@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS.keys())
def test_every_tensor_and_setting_comes_back_also_where_the_folder_was_moved(
    given: TrainingRequest, tmp_path: Path
):
    (tmp_path / "made").mkdir()
    write_job(tmp_path / "made", given, MODEL, PLAN)
    shutil.move(tmp_path / "made", tmp_path / "moved")
    config = load_config(tmp_path / "moved" / "config.toml")
    found = read_inputs(config)
    assert identity(found) == identity(given)
    assert (config.training, config.adapter, config.objective) == (
        given.settings,
        given.adapter,
        given.objective,
    )
    assert (config.validation, config.lora.layers) == (given.validation, given.layers)
    assert (config.run.memory, config.run.gradient_checkpointing) == (
        given.memory,
        given.gradient_checkpointing,
    )
    assert (config.run.name, config.run.save_every, config.run.resume) == ("person", 5, False)
    assert replace(config.model, training_adapter=None) == MODEL and config.recipe == "off"


@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS.keys())
def test_epochs_count_every_picture_of_a_job(given: TrainingRequest, tmp_path: Path):
    """Two pictures in each, as one batch or not, once each where nothing else is said."""
    write_job(tmp_path, given, MODEL, PLAN)
    times = read_inputs(load_config(tmp_path / "config.toml")).dataset.times
    assert times == (list(given.repeats) or [1, 1])
    config = replace(load_config(tmp_path / "config.toml"), epochs=10, scenes=None).for_pictures(times)
    assert config.training.steps == 10 * sum(times)


def test_a_prompt_of_many_pictures_is_one_object_and_one_file(tmp_path: Path):
    write_job(tmp_path, request(conditionings=[SHARED, SHARED], unconditional=SHARED), MODEL, PLAN)
    assert len(list((tmp_path / "data").glob("prompt_*"))) == 1
    found = read_inputs(load_config(tmp_path / "config.toml"))
    one, other = found.dataset.conditionings
    assert one is other is found.unconditional


def test_what_no_file_of_tensors_holds_is_refused_in_words(tmp_path: Path):
    with pytest.raises(CannotBeKeptError, match="extras that no file of tensors holds .a [A-Za-z]*Path"):
        write_job(tmp_path, request(conditionings=[prompt(vision=Path("x"))] * 2), MODEL, PLAN)


DAMAGES = {
    "latents_000002.safetensors": lambda path: path.unlink(),
    "prompt_000001.safetensors": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "masks_000001.safetensors": lambda path: shutil.copy(path.with_name("latents_000001.safetensors"), path),
    INDEX: lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 2')),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_job_names_the_file(name: str, tmp_path: Path):
    write_job(tmp_path, request(), MODEL, PLAN)
    DAMAGES[name](tmp_path / "data" / name)
    with pytest.raises(DatasetError, match=name):
        read_inputs(load_config(tmp_path / "config.toml"))
