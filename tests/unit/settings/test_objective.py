"""config.toml: every setting survives the round trip, every mistake is named with its line."""

from pathlib import Path
from typing import Any

import pytest

from semantic_focus.categories import PRESETS, SEMANTIC_CATEGORIES
from semantic_focus.objective.noise_weighting import SigmaWindow
from semantic_focus.objective.total import Objective
from semantic_focus.settings.objective import load_objective, save_objective
from semantic_focus.settings.toml import ConfigError

DEFAULTS = {name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(file: Path, text: str) -> Objective:
    file.write_text(text, encoding="utf-8")
    return load_objective(file)


class TestLoad:
    def test_the_documented_section(self, file: Path):
        objective = load(
            file,
            """
            [semantic_cosine]
            enabled = true
            face_weight = 1.0
            body_weight = 0.5
            clothing_weight = 0.8
            hair_weight = 0.6
            background_weight = 0.0
            lighting_weight = 0.0
            global_fallback = 0.1        # the weight of what no category covers
            """,
        )
        assert objective == Objective(
            weights={
                "face": 1.0,
                "body": 0.5,
                "clothing": 0.8,
                "hair": 0.6,
                "background": 0.0,
                "lighting": 0.0,
            },
            global_fallback=0.1,
        )

    def test_what_is_left_out_has_its_default(self, file: Path):
        assert load(file, "[semantic_cosine]\n") == Objective()
        assert load(file, "[semantic_cosine]\nface_weight = 2\n") == Objective(
            weights={**DEFAULTS, "face": 2.0}
        )

    def test_other_sections_are_left_to_their_programs(self, file: Path):
        assert load(file, "[lora]\nrank = 8\nface_weight = -1\n[semantic_cosine]\n") == Objective()

    def test_every_number_of_the_objective_can_be_set(self, file: Path):
        terms: dict[str, Any] = dict(
            cosine_weight=0.5,
            magnitude_weight=2.0,
            base_weight=0.25,
            prior_weight=0.0,
            area_shrinkage=4.0,
            global_fallback=0.0,
        )
        lines = "\n".join(f"{name} = {value}" for name, value in terms.items())
        assert load(file, f"[semantic_cosine]\n{lines}\n") == Objective(**terms)

    def test_own_categories(self, file: Path):
        objective = load(file, "[semantic_cosine]\n[semantic_cosine.categories]\ntattoo = 0.8\n'长 剑' = 1\n")
        assert objective.weights == {**DEFAULTS, "tattoo": 0.8, "长 剑": 1.0}

    def test_the_rarer_settings(self, file: Path):
        objective = load(
            file,
            """
            [semantic_cosine]
            base_loss = "huber"
            huber_delta = 0.5
            base_mask_floor = 0.2
            cosine = "pixel"
            normalise = "fixed"
            snr_gamma = 5
            prior_every = 4
            [semantic_cosine.windows]
            face = [0.0, 0.6]
            residual = [0.3, 1, 0.1]
            """,
        )
        assert objective == Objective(
            base_loss="huber",
            huber_delta=0.5,
            base_mask_floor=0.2,
            cosine="pixel",
            normalise="fixed",
            snr_gamma=5.0,
            prior_every=4,
            windows={"face": SigmaWindow(0.0, 0.6), "residual": SigmaWindow(0.3, 1.0, 0.1)},
        )

    def test_a_file_from_an_editor_that_writes_a_byte_order_mark(self, file: Path):
        file.write_text("[semantic_cosine]\nface_weight = 0.5\n", encoding="utf-8-sig")
        assert load_objective(file).weights["face"] == 0.5


class TestPresets:
    @pytest.mark.parametrize(
        ("preset", "weights"),
        [
            ("person", {"face": 1.0, "body": 0.3, "clothing": 0.0, "background": 0.0}),
            ("outfit", {"clothing": 1.0, "body": 0.5, "face": 0.0, "background": 0.0}),
        ],
    )
    def test_a_preset_sets_the_documented_weights(self, file: Path, preset: str, weights: dict[str, float]):
        objective = load(file, f"[semantic_cosine]\npreset = '{preset}'\n")
        assert objective.enabled
        assert {name: objective.weights[name] for name in weights} == weights

    def test_style_trains_the_whole_picture_unless_switched_on_for_the_lighting_alone(self, file: Path):
        assert not load(file, "[semantic_cosine]\npreset = 'style'\n").enabled
        on = load(file, "[semantic_cosine]\npreset = 'style'\nenabled = true\n")
        assert on.enabled
        assert {name for name, weight in on.weights.items() if weight} == {"lighting"}
        assert on.weights["lighting"] == 0.5

    def test_a_weight_beside_a_preset_wins_wherever_it_stands(self, file: Path):
        for text in ("preset = 'person'\nface_weight = 0.2", "face_weight = 0.2\npreset = 'person'"):
            assert load(file, f"[semantic_cosine]\n{text}\n").weights["face"] == 0.2

    def test_every_preset_names_every_category(self):
        for preset in PRESETS.values():
            assert set(preset.weights) == set(SEMANTIC_CATEGORIES)


class TestRoundTrip:
    @pytest.mark.parametrize(
        "objective",
        [
            Objective(),
            Objective(enabled=False),
            Objective(weights={**DEFAULTS, "face": 1 / 3, "body": 1e-17, "hair": 12345678.9}),
            Objective(weights={**DEFAULTS, "tattoo": 1 / 3, "长 剑": 1.0, 'say "x" \\ ]': 0.1, "a = 1": 2.0}),
            Objective(
                weights={name: 0.0 for name in DEFAULTS},
                base_weight=0.1,
                cosine_weight=0.0,
                prior_weight=0.0,
                area_shrinkage=2.5,
                global_fallback=0.0,
            ),
            Objective(
                weights={**DEFAULTS, "长 剑": 1.0},
                base_weight=0.2,
                base_loss="huber",
                huber_delta=1 / 3,
                base_mask_floor=0.0,
                cosine="pixel",
                normalise="fixed",
                windows={"face": SigmaWindow(0.0, 1 / 3), "长 剑": SigmaWindow(0.1, 0.9, 0.05)},
                snr_gamma=5.0,
                prior_every=3,
            ),
        ],
        ids=["default", "disabled", "odd numbers", "own categories", "every term", "rarer settings"],
    )
    def test_load_gives_back_what_save_was_given(self, file: Path, objective: Objective):
        save_objective(file, objective)
        assert load_objective(file) == objective

    def test_a_category_without_a_weight_comes_back_as_0(self, file: Path):
        save_objective(file, Objective(weights={"face": 1.0}))
        assert load_objective(file).weights == {**dict.fromkeys(DEFAULTS, 0.0), "face": 1.0}


class TestMistakes:
    def refused(self, file: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            load(file, text)
        assert str(file) in str(caught.value)

    def test_an_unknown_key_is_named_with_its_line_and_the_likely_meaning(self, file: Path):
        self.refused(
            file,
            "# mine\n[semantic_cosine]\nenabled = true\n\nfaec_weight = 1.0\n",
            r"line 5: \[semantic_cosine\] faec_weight is not known.*did you mean face_weight",
        )

    def test_an_unknown_key_like_no_other_is_answered_with_all_keys(self, file: Path):
        self.refused(
            file,
            "[semantic_cosine]\nzzz = 1\n",
            r"line 2: .* zzz.*choose from enabled, preset.*area_shrinkage",
        )

    def test_the_line_is_looked_for_in_our_section_only(self, file: Path):
        self.refused(
            file,
            "[other]\nhair_weight = 1\n[semantic_cosine] # ours\n  hair_weight = -2\n",
            r"line 4: \[semantic_cosine\] hair_weight",
        )

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("face_weight = -0.1", "face_weight is -0.1: it must be a finite number of 0 or more"),
            ("face_weight = nan", "face_weight is nan"),
            ("prior_weight = inf", "prior_weight is inf"),
            ("global_fallback = -1", "global_fallback is -1"),
            ("face_weight = '1.0'", 'face_weight is "1.0": it must be a finite number'),
            ("face_weight = true", "face_weight is true: it must be a finite number"),
            ("face_weight = [1.0]", "face_weight is .*must be a finite number"),
            ("enabled = 1", "enabled is 1: it must be true or false"),
            ("preset = 'portrait'", 'preset is "portrait": choose from person, outfit, style'),
            ("preset = ['person']", "preset is .*choose from person"),
            ("categories = 3", "categories is 3: it must be a table"),
            ("windows = 3", "windows is 3: it must be a table"),
            ("base_loss = 'l2'", 'base_loss is "l2": choose from mse, l1, huber'),
            ("cosine = 1", "cosine is 1: choose from region, pixel"),
            ("prior_every = 0", "prior_every is 0: it must be a whole number"),
            ("prior_every = 1.5", "prior_every is 1.5: it must be a whole number"),
            ("snr_gama = 5", "snr_gama is not known.*did you mean snr_gamma"),
        ],
    )
    def test_a_value_that_cannot_be_used_is_named_with_its_line(self, file: Path, line: str, message: str):
        self.refused(file, f"[semantic_cosine]\n{line}\n", rf"line 2: \[semantic_cosine\] {message}")

    def test_own_categories_are_checked_alike(self, file: Path):
        head = "[semantic_cosine]\n[semantic_cosine.categories]\n"
        self.refused(file, head + "tattoo = -1\n", r"line 3: \[semantic_cosine.categories\] tattoo is -1")
        self.refused(
            file, head + '"long sword" = "1"\n', 'line 3: .*long sword is "1": it must be a finite number'
        )
        self.refused(file, head + "face = 0.2\n", "line 3: .*face .*write face_weight = 0.2")

    def test_windows_are_checked_alike(self, file: Path):
        head = "[semantic_cosine]\n[semantic_cosine.windows]\n"
        self.refused(file, head + "faec = [0, 1]\n", "line 3: .*faec is no region: did you mean face")
        self.refused(file, head + "face = 0.5\n", "line 3: .*face is 0.5: write .low, high. or")
        self.refused(file, head + "face = [0.1]\n", "line 3: .*face .*write .low, high. or")
        self.refused(file, head + "face = [0.6, 0.2]\n", "line 3: .*face .*0 <= low < high <= 1")

    def test_where_the_line_cannot_be_told_none_is_claimed(self, file: Path):
        self.refused(
            file, "semantic_cosine.face_weight = -1\n", r"toml: \[semantic_cosine\] face_weight is -1"
        )

    def test_all_weights_0(self, file: Path):
        zero = "\n".join(f"{name}_weight = 0" for name in SEMANTIC_CATEGORIES)
        self.refused(
            file,
            f"[semantic_cosine]\nglobal_fallback = 0\n{zero}\n",
            r"line 1: \[semantic_cosine\] cannot be used: .*nothing would be learnt",
        )

    @pytest.mark.parametrize("text", ["", "[lora]\nrank = 1\n"])
    def test_no_section(self, file: Path, text: str):
        self.refused(file, text, r"\[semantic_cosine\] is missing")

    def test_a_number_in_the_place_of_the_section(self, file: Path):
        self.refused(file, "semantic_cosine = 3\n", r"\[semantic_cosine\] is 3: it must be a section")

    def test_no_toml(self, file: Path):
        self.refused(file, "[semantic_cosine]\nface_weight = \n", "not valid TOML.*line 2")

    def test_no_text(self, file: Path):
        file.write_bytes(b"[semantic_cosine]\n# \xff\xfe\n")
        with pytest.raises(ConfigError, match="config.toml: not valid TOML"):
            load_objective(file)

    def test_no_file(self, file: Path):
        with pytest.raises(FileNotFoundError):
            load_objective(file)


def test_saving_over_a_file_with_other_settings_is_refused(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[lora]\nrank = 8\n[semantic_cosine]\nenabled = true\n")
    with pytest.raises(ConfigError, match=r"config\.toml, line 1: \[lora\] would be lost.*another file"):
        save_objective(path, Objective())
    assert "rank = 8" in path.read_text()
