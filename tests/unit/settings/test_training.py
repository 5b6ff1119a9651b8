"""The config.toml of a whole training: what it gives, and that an error names file, line and key."""

import re
import sys
from pathlib import Path

import pytest

from semantic_focus.objective.timesteps import ACRF_ANCHORS
from semantic_focus.settings.timesteps import acrf_anchors
from semantic_focus.settings.toml import ConfigError
from semantic_focus.settings.training import TrainConfig, load_config
from semantic_focus.training.run_folder import Keep
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.validation import ValidationSettings

NEEDED = """
[model]
path = "model.safetensors"
[[dataset.sources]]
cache_directory = "cache"
"""

ORIGIN = """
[model]
path = "model.safetensors"
dit = "models/transformer"
output_dir = "results"

[acrf]
turbo_steps = 10
shift = 3
jitter_scale = 0.03
raft_mode = false

[lora]
network_dim = 32
network_alpha = 8

[training]
output_name = "111"
optimizer_type = "AdamW8bit"
learning_rate = 0.0002
lr_scheduler = "cosine_with_restarts"
lr_warmup_steps = 100
lr_num_cycles = 1
lambda_cosine = 0
num_train_epochs = 3
gradient_accumulation_steps = 4
seed = 42

[advanced]
max_grad_norm = 2
gradient_checkpointing = false
save_every_n_epochs = 2
blocks_to_swap = 0

[optimization]
auto_optimize = true

[dataset]
batch_size = 2
shuffle = true

[[dataset.sources]]
cache_directory = "one"
num_repeats = 10
resolution_limit = 1024
"""
"""A config of the other trainer, with the one line added that our documentation asks for."""


@pytest.fixture
def config(tmp_path: Path):
    """Read a text as config.toml."""

    def read(text: str) -> TrainConfig:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return read


def test_the_documented_config_is_complete_and_has_the_defaults(config, repo: Path, tmp_path: Path):
    page = (repo / "docs" / "headless.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    documented, plain = config(example), config(NEEDED)
    assert documented.training == plain.training == TrainingSettings()
    assert documented.adapter == plain.adapter
    assert documented.run == plain.run
    assert documented.objective.weights["face"] == 1.0 and documented.objective.prior_weight == 1.0
    assert documented.lora.continue_from == tmp_path / "before.safetensors"
    assert documented.model.training_adapter == tmp_path / "turbo_adapter.safetensors"
    from semantic_focus.settings import training as module

    assert documented.validation == plain.validation == ValidationSettings()
    groups = (
        *(module.MODEL, module.ADAPTER, module.LORA, module.TRAINING),
        *(module.RUN, module.TIMESTEPS, module.VALIDATION, module.SCENES),
    )
    for setting in (setting for group in groups for setting in group.values()):
        section, key = setting.places[0].split(".")
        assert re.search(rf"(?ms)^\[{section}\].*?^{key} = |or {key} = ", example), setting.places[0]


def test_paths_are_relative_to_the_config_file(config, tmp_path: Path):
    read = config(NEEDED)
    assert read.model.path == tmp_path / "model.safetensors"
    assert read.sources[0].cache_directory == tmp_path / "cache"
    assert read.run.output == tmp_path / "output"


def test_a_config_of_the_other_trainer_is_read_under_its_own_names(config, tmp_path: Path):
    read = config(ORIGIN)
    assert (read.adapter.rank, read.adapter.alpha) == (32, 8.0)
    training = read.training
    assert (training.batch_size, training.accumulation, training.seed, training.warmup) == (2, 4, 42, 100)
    assert (training.optimizer, training.schedule) == ("adamw8bit", "cosine")
    assert (training.learning_rate, training.max_grad_norm) == (0.0002, 2.0)
    assert (training.timesteps.kind, training.timesteps.jitter) == ("acrf", 0.03)
    assert (read.run.output, read.run.name) == (tmp_path / "results", "111")
    assert read.run.gradient_checkpointing is False
    source = read.sources[0]
    assert (source.num_repeats, source.resolution_limit) == (10, 1024)


def test_its_keys_without_a_meaning_here_are_listed(config):
    assert set(config(ORIGIN).ignored) == {
        "[model] dit",
        "[acrf] raft_mode",
        "[training] lr_num_cycles",
        "[training] lambda_cosine",
        "[advanced] blocks_to_swap",
        "[optimization] auto_optimize",
        "[dataset] shuffle",
    }
    assert config(NEEDED).ignored == ()


def test_epochs_become_steps_by_pictures_repeats_and_batches(config):
    # 2 pictures of 10 repeats: 20 in a pass, 8 in an update: 3 passes are 7.5 updates, 2 are 5
    read = config(ORIGIN).for_pictures([10, 10])
    assert (read.training.steps, read.run.save_every) == (8, 5)
    assert config(NEEDED).for_pictures([1]).training.steps == TrainingSettings().steps


def test_epochs_count_the_pictures_and_not_the_scenes_beside_them(config):
    """With three of four pictures in a pass being scenes, four times the steps show each picture as often."""
    scenes = '[scenes]\ncache_directory = "s"\nstrangers = 0.75\n'
    plain, beside = (config(NEEDED + "[training]\nepochs = 3\n" + more) for more in ("", scenes))
    assert plain.for_pictures([1] * 8).training.steps * 4 == beside.for_pictures([1] * 8).training.steps == 96


def test_anchors_of_the_other_trainer_by_their_formula():
    assert tuple(round(anchor, 3) for anchor in acrf_anchors(10, 3.0)) == ACRF_ANCHORS
    # without shift, from 1 to 1/1000
    assert acrf_anchors(3, 1.0) == pytest.approx((1.0, 0.5005, 0.001))


def test_another_number_of_anchors(config):
    timesteps = config(NEEDED + "[acrf]\nturbo_steps = 4\n").training.timesteps
    assert timesteps.kind == "anchors" and len(timesteps.anchors) == 4


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("[training]\nstpes = 5", r"line 7: \[training\] stpes is not known: did you mean steps\?"),
        ("[trainig]\nsteps = 5", r"line 6: \[trainig\] is not known: did you mean training\?"),
        ('[training]\nsteps = "5"', r'line 7: \[training\] steps is "5": it must be a whole number of 1'),
        ("[scenes]\nstrangers = 0.5", r"line 6: \[scenes\] has no cache_directory"),
        (
            '[scenes]\ncache_directory = "s"\ncomposites = 0.2',
            r"line 8: \[scenes\] composites needs with_trigger",
        ),
        (
            '[scenes]\ncache_directory = "s"\nwith_trigger = "t"\ncomposites = 0.6\nstrangers = 0.4',
            r"line 6: \[scenes\] cannot be used: .* together they must be below 1",
        ),
        ("[validation]\nshare = 0.8", r"line 6: \[validation\] cannot be used: share is 0.8"),
        ('[validation]\nhold_out = "half"', r'line 7: \[validation\] hold_out is "half"'),
        ("[training]\nsteps = 0", r"line 7: \[training\] steps is 0: it must be a whole number of 1 or more"),
        ("[training]\nsteps = true", r"line 7: \[training\] steps is true"),
        ("[training]\nlearning_rate = -1", r"line 7: \[training\] learning_rate is -1: .* above 0"),
        ("[training]\nweight_decay = nan", r"line 7: \[training\] weight_decay is nan"),
        ('[training]\noptimizer = "adam"', r'line 7: .*optimizer is "adam": did you mean adamw\?'),
        ("[training]\nmemory = 50", r'line 7: \[training\] memory is 50: choose "auto", "all on the GPU" or'),
        ('[training]\nmemory = "swap 101 %"', r'line 7: \[training\] memory is "swap 101 %": choose "auto"'),
        ('[training]\nresume = "no"', r"line 7: \[training\] resume is .*true or false"),
        ("[training]\nsteps = 5\nepochs = 2", r"line 7: \[training\] steps and epochs are both given"),
        ("[training]\nseed = 18446744073709551616", r"line 7: \[training\] seed .* to 18446744073709551615"),
        ("[training]\ncaption_dropout = 0.1", r"line 7: .*caption_dropout needs \[dataset\] empty_prompt"),
        ("[lora]\nrank = 4\nnetwork_dim = 4", r"line 8: .*network_dim says the same as \[lora\] rank"),
        ('[lora]\nlayers = "attention"', r"line 7: .*layers .*did you mean attention only\?"),
        ('[lora]\ninclude = "attn"', r"line 7: .*include .*list of texts"),
        ('[lora]\nkind = "loha"\nkey_style = "diffusers"', r"line 8: .*key_style is diffusers, which has no"),
        ("[timesteps]\nlow = 0.9\nhigh = 0.1", r"line 6: \[timesteps\] cannot be used: .*low < high"),
        ('[timesteps]\nkind = "anchors"', r"line 6: \[timesteps\] cannot be used: .*needs anchors"),
        ("[timesteps]\nstd = 1\n[acrf]\nturbo_steps = 4", r"line 8: \[acrf\] and \[timesteps\] say the same"),
        ("[semantic_cosine]\nface_weight = -1", r"line 7: .*face_weight is -1"),
        ("[semantic_cosine]\nfaec_weight = 1", r"line 7: .*faec_weight is not known.*face_weight"),
        ('[[dataset.sources]]\ncache_dir = "x"', r"line 7: \[dataset.sources\] cache_dir .*cache_directory"),
        ("[[dataset.sources]]\nnum_repeats = 2", r"line 6: \[dataset.sources\] has no cache_directory"),
        (
            '[[dataset.sources]]\ncache_directory = "x"\nnum_repeats = 0',
            r"line 8: \[dataset.sources\] num_repeats is 0",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_file_line_and_key(config, added: str, message: str):
    with pytest.raises(ConfigError, match=r"config\.toml, " + message):
        config(NEEDED + added)


def test_a_model_that_is_shared_out_does_not_wait_in_ram(config):
    shared = NEEDED.replace("[model]", "[model]\nshard = true")
    assert config(shared + '[training]\nmemory = "all on the GPU"').model.shard
    with pytest.raises(ConfigError, match=r'line \d: \[model\] shard and .* memory = "swap 50 %" do not go'):
        config(shared + '[training]\nmemory = "swap 50 %"')


def test_what_is_missing_is_named(config, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\[model\] path is missing"):
        config('[[dataset.sources]]\ncache_directory = "cache"')
    with pytest.raises(ConfigError, match=r"\[dataset\] has no \[\[dataset.sources\]\]"):
        config('[model]\npath = "model.safetensors"')
    with pytest.raises(FileNotFoundError, match="nothing.toml: no such config file"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        config("[model")


def test_sections_of_another_shape_are_errors(config):
    with pytest.raises(ConfigError, match=r"\[training\] is 5: it must be a section"):
        config("training = 5\n" + NEEDED)
    with pytest.raises(ConfigError, match=r"write one \[\[dataset.sources\]\] for each"):
        config('[model]\npath = "m.safetensors"\n[dataset]\nsources = "cache"')


@pytest.mark.parametrize(
    ("said", "states", "loras", "saved"),
    [
        ("", 3, None, None),
        ("keep_last = 5", 5, None, None),
        ('keep = "last"', 1, 1, 1),
        ("keep = 2", 2, 2, 2),
        ("keep = 0", 1, 1, 0),
        ('keep = "all"', None, None, sys.maxsize),
    ],
)
def test_what_stays_in_a_run_folder(
    config, said: str, states: int | None, loras: int | None, saved: int | None
):
    run = config(f"{NEEDED}[training]\n{said}").run
    assert (run.keep, run.keep_saved) == (Keep(states, loras), saved)


@pytest.mark.parametrize("said", ['"some"', "-1", "1.5", "true", '["last"]'])
def test_a_wrong_keep_says_what_can_be_given(config, said: str):
    with pytest.raises(
        ConfigError, match=r'\[training\] keep is .*: it must be "last", "all", or of how many'
    ):
        config(f"{NEEDED}[training]\nkeep = {said}")


def test_keep_and_keep_last_are_not_given_together(config):
    with pytest.raises(ConfigError, match="keep_last says how many states stay, and so does keep"):
        config(f"{NEEDED}[training]\nkeep = 2\nkeep_last = 3")
