"""The recipes: what a row is made of, and that it fills what is untouched and nothing else."""

import json
import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semantic_focus.lora.layers import LAYER_CHOICES
from semantic_focus.objective.timesteps import TimestepSampling
from semantic_focus.settings import recipes
from semantic_focus.settings.filling import COLUMNS, Choice, fill, fill_config, said
from semantic_focus.settings.recipes import RECIPES, Recipe, Sampling, shifted_normal
from semantic_focus.settings.training import TrainConfig, load_config

UNTOUCHED = Choice(500, 1e-4, 16, 16.0, "attention + feed-forward", TimestepSampling())
"""A new node's values."""

NEEDED = """
[model]
path = "wan.safetensors"
[[dataset.sources]]
cache_directory = "cache"
"""


def filled(recipe: Recipe, untouched: Collection[str], choice: Choice = UNTOUCHED, optimizer: str = "adamw"):
    """With twelve pictures, two at a time."""
    return fill(choice, recipe, untouched, 12, 2, optimizer)


def config(folder: Path, more: str = "") -> TrainConfig:
    path = folder / "config.toml"
    path.write_text(f"{more}\n{NEEDED}", encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_number_of_a_row_says_where_it_is_from(recipe: Recipe):
    wanted = {"resolution", "rank", "alpha", "learning_rate", "steps_per_picture", "bounds", "timesteps"}
    wanted |= {"layers", "preview"} | ({"guidance"} if recipe.guidance is not None else set())
    assert set(recipe.sources) == wanted
    assert recipe.layers in LAYER_CHOICES
    assert recipe.resolution % 64 == 0


@pytest.mark.parametrize(
    "name",
    [
        *(f"train_{what}_lora" for what in ("person", "outfit", "style")),
        *(f"train_{what}_lora" for what in ("z_image", "flux", "qwen_image", "wan")),
        "train_by_region_simple",
        "several_people",
    ],
)
def test_a_template_leaves_everything_to_the_recipe(repo: Path, name: str):
    graph = json.loads((repo / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    (train,) = (node["inputs"] for node in graph.values() if node["class_type"] == "SemanticFocusTrain")
    values = {column: train[column] for column in COLUMNS}
    values["timesteps"] = TimestepSampling(train["timesteps"])
    assert values == vars(UNTOUCHED) and train["recipe"] == "auto"


def test_a_family_has_one_row():
    assert max(Counter(recipe.name for recipe in RECIPES).values()) == 1
    assert {recipe.name for recipe in RECIPES} >= {"SD1.5", "SDXL", "SD3", "Flux dev", "Z-Image Turbo", "Wan"}


def test_only_flux_dev_takes_a_guidance_and_is_trained_at_1():
    assert [recipe.name for recipe in RECIPES if recipe.guidance is not None] == ["Flux dev"]
    assert recipes.FLUX_DEV.guidance == 1.0


@pytest.mark.parametrize("shift", [2.0, 2.2, 3.0, 3.1582])
def test_a_shifted_sigmoid_of_a_normal_number_is_a_logit_normal(shift: float):
    """Median, and the share of the upper half of the noise, of 200,000 numbers drawn as other trainers do."""
    u = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).sigmoid()
    u = shift * u / (1 + (shift - 1) * u)
    ours = shifted_normal(shift).sample(200_000, torch.Generator().manual_seed(1))
    assert ours.median().item() == pytest.approx(u.median().item(), abs=5e-3)
    assert (ours > 0.9).float().mean().item() == pytest.approx((u > 0.9).float().mean().item(), abs=5e-3)


@pytest.mark.parametrize(
    ("pictures", "per_step", "steps"),
    [(1, 1, 500), (12, 1, 1200), (12, 2, 600), (12, 8, 150), (13, 8, 163), (1000, 1, 4000), (1000, 4, 1000)],
)
def test_every_picture_is_seen_a_hundred_times_within_the_bounds(pictures: int, per_step: int, steps: int):
    assert recipes.SDXL.steps(pictures, per_step) == steps


def test_what_is_untouched_is_the_recipes_and_nothing_else():
    everything = filled(recipes.WAN, set(COLUMNS))
    assert everything.taken == COLUMNS
    assert everything.choice == Choice(
        600, 1e-4, 32, 32.0, "attention + feed-forward", TimestepSampling(mean=round(math.log(3), 4))
    )
    assert filled(recipes.WAN, set()).choice == UNTOUCHED
    for name in ("steps", "learning_rate", "layers", "timesteps"):
        one = filled(recipes.WAN, {name})
        assert one.taken == (name,)
        assert replace(one.choice, **{name: getattr(UNTOUCHED, name)}) == UNTOUCHED


@pytest.mark.parametrize("touched", ["rank", "alpha"])
def test_a_rank_or_alpha_of_ones_own_keeps_the_other(touched: str):
    """Else a rank of 4 would get Wan's alpha of 32: a LoRA eight times as strong."""
    own = replace(UNTOUCHED, **{touched: 4})
    result = filled(recipes.WAN, set(COLUMNS) - {touched}, own)
    assert (result.choice.rank, result.choice.alpha) == (own.rank, own.alpha)
    assert not {"rank", "alpha"} & set(result.taken)


@pytest.mark.parametrize(
    ("optimizer", "taken"), [("adamw", True), ("adamw8bit", True), ("prodigy", False), ("sgd", False)]
)
def test_the_learning_rate_is_for_adamw(optimizer: str, taken: bool):
    assert ("learning_rate" in filled(recipes.SDXL, set(COLUMNS), optimizer=optimizer).taken) is taken


def test_what_was_filled_is_said_with_its_values():
    result = filled(recipes.FLUX_DEV, {"steps", "learning_rate", "timesteps"})
    assert (
        said(result, 1.0) == "steps 600, learning_rate 0.0001, timesteps logit_normal (mean 1.15), guidance 1"
    )
    assert (
        said(filled(recipes.SDXL, {"rank", "alpha", "timesteps"})) == "rank 32, alpha 16, timesteps uniform"
    )
    assert said(filled(recipes.SDXL, set())) == ""


def test_a_config_asks_for_a_recipe_and_is_filled_where_it_says_nothing(tmp_path: Path):
    assert config(tmp_path).recipe == "off"
    asked = config(tmp_path, '[training]\nrecipe = "auto"\nbatch_size = 2\n')
    assert asked.recipe == "auto"
    result, taken = fill_config(asked, recipes.WAN, 12)
    assert taken.taken == COLUMNS
    assert (result.training.steps, result.adapter.rank, result.adapter.alpha) == (600, 32, 32.0)
    assert result.training.timesteps.mean == pytest.approx(math.log(3), abs=1e-4)
    assert result.training.batch_size == 2 and result.run == asked.run


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("[training]\nsteps = 500", {"steps"}),
        ("[training]\nepochs = 3", {"steps"}),
        ("[training]\nlearning_rate = 1e-4", {"learning_rate"}),
        ("[training]\noptimizer = 'prodigy'", {"learning_rate"}),
        ("[lora]\nrank = 16", {"rank", "alpha"}),
        ("[lora]\nnetwork_alpha = 16", {"rank", "alpha"}),
        ("[lora]\nkind = 'lokr'", {"rank", "alpha"}),
        ("[lora]\nlayers = 'attention + feed-forward'", {"layers"}),
        ("[lora]\ninclude = ['to_q']", {"layers"}),
        ("[lora]\ncontinue_from = 'a.safetensors'", {"rank", "alpha", "layers"}),
        ("[timesteps]\nkind = 'logit_normal'", {"timesteps"}),
        ("[acrf]\nturbo_steps = 10", {"timesteps"}),
    ],
)
def test_what_a_config_states_stays_also_where_it_is_the_default(tmp_path: Path, stated: str, kept: set[str]):
    _, result = fill_config(config(tmp_path, stated), recipes.WAN, 12)
    assert set(result.taken) == set(COLUMNS) - kept


def test_the_documented_tables_are_those_of_the_code(repo: Path):
    page = (repo / "docs" / "models.md").read_text(encoding="utf-8")
    numbers, sources = re.findall(r"(?s)## The recipes\n(.*?)### Where(.*?)\n## ", page)[0]
    assert "100 steps a picture, at least 500 and at most 4000" in numbers
    assert {(it.steps_per_picture, it.fewest_steps, it.most_steps) for it in RECIPES} == {(100, 500, 4000)}
    for recipe in RECIPES:
        assert row_of(recipe, numbers) == [
            f"{recipe.resolution}²",
            f"{recipe.rank} / {recipe.alpha:g}",
            f"{recipe.learning_rate:g}",
            recipe.timesteps.kind + (f", mean {mean:g}" if (mean := recipe.timesteps.mean) else ""),
            f"{recipe.guidance or ''}".removesuffix(".0"),
            in_words(recipe.preview),
        ]
        columns = ("rank", "alpha", "learning_rate", "timesteps", "guidance", "preview", "resolution")
        assert row_of(recipe, sources) == [recipe.sources.get(column, "") for column in columns]


def row_of(recipe: Recipe, table: str) -> list[str]:
    """Its cells in a table of Markdown."""
    (row,) = re.findall(rf"(?m)^\| {re.escape(recipe.name)} \| (.*) \|$", table)
    return [cell.strip() for cell in row.split("|")]


def in_words(sampling: Sampling) -> str:
    words = f"{sampling.sampler}, {sampling.scheduler}, {sampling.steps} steps, cfg {sampling.cfg:g}"
    return words if sampling.guidance is None else f"{words}, guidance {sampling.guidance:g}"
