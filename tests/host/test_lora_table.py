"""LoRA files as programs publish them, family by family: each has its whole effect, or is refused by name.

The files are those of published_loras.py and published_kinds.py, applied by ComfyUI's own loader, as
`start_from`, as `training_adapter`, and saved again in every key style.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

FAMILIES = {"z_image", "qwen_image", "flux", "sd3", "wan_video", "sd15", "sdxl_v"}
ROUNDING = 1e-6
"""Of the largest change of a weight."""
Row = dict[str, Any]


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, dict[str, Row]]:
    """The numbers of measure_lora_table.py."""
    return measured_by("measure_lora_table.py", comfy)


@pytest.fixture(scope="module")
def taken(measured: dict[str, dict[str, Row]]) -> dict[str, Row]:
    """The files that are not refused."""
    return measured["spellings"] | measured["kinds"]


def test_there_are_files_of_every_family(measured: dict[str, dict[str, Row]]):
    for table, least in (("spellings", 40), ("kinds", 80)):
        assert {title.split(": ")[0] for title in measured[table]} == FAMILIES
        assert len(measured[table]) >= least
    assert len(measured["refused"]) >= 10


def test_each_file_has_the_effect_that_is_meant(taken: dict[str, Row]):
    """As it is written down for its kind; where only ComfyUI's loader says it, as that loader has it."""
    wrong = {}
    for title, row in taken.items():
        assert "refused" not in row, (title, row["refused"])
        errors = {"start_from": row["start_from"], **row["saved"]}
        if "training_adapter refused" not in row:
            errors["training_adapter"] = row["training_adapter"]
        for use, error in errors.items():
            if isinstance(error, float) and not error <= ROUNDING:
                wrong[title, use] = error
    assert wrong == {}


def test_where_comfyuis_loader_has_less_it_says_so(taken: dict[str, Row]):
    assert [t for t, row in taken.items() if not row["core"] <= ROUNDING and not row["core said"]] == []
    assert taken["flux: OneTrainer OMI"]["core"] > 0.1


def test_no_key_is_lost(taken: dict[str, Row]):
    """Each is trained on, applied, or left out, and what is not trained on is counted and named."""
    for title, row in taken.items():
        counts = row["trained"], row["fixed"], len(row["foreign"]), row["text encoder"]
        assert sum(counts) == row["keys"], title
        assert row["not of the file"] == [], title
        sayings = {
            f"{row['fixed']} of the {row['keys']} keys of this LoRA cannot be trained on": row["fixed"],
            f"{len(row['foreign'])} keys of this LoRA have no effect": row["foreign"],
            f"{row['text encoder']} LoRA keys of text encoders are left out": row["text encoder"],
        }
        for saying, must in sayings.items():
            lines = [line for line in row["said"] if line.startswith(saying)]
            assert len(lines) == bool(must), (title, saying)
        named = [line for line in row["said"] if all(key in line for key in row["foreign"][:5])]
        assert named or not row["foreign"], title


def test_every_spelling_of_a_pair_is_trained_on_completely(measured: dict[str, dict[str, Row]]):
    for title, row in measured["spellings"].items():
        assert (row["fixed"], row["foreign"]) == (0, []), title
        assert row["trained"] + row["text encoder"] == row["keys"], title


def test_each_kind_trains_or_stays_or_is_left_out_as_its_table_says(measured: dict[str, dict[str, Row]]):
    expected = {
        "trains": (False, False),
        "stays applied": (True, False),
        "left out": (False, True),
    }
    for title, row in measured["kinds"].items():
        found = bool(row["fixed"]), bool(row["foreign"])
        outcomes = [expected[outcome] for outcome in row["outcome"].split(" or ")]
        assert found in outcomes, title


def test_what_comfyuis_loader_leaves_out_makes_no_training_adapter(taken: dict[str, Row]):
    for title, row in taken.items():
        if row["foreign"]:
            assert row["core said"], title
            assert row["foreign"][0] in row["training_adapter refused"], title
        else:
            assert "training_adapter refused" not in row, title


def test_only_what_diffusers_has_no_keys_for_is_not_saved_in_them(taken: dict[str, Row]):
    for title, row in taken.items():
        assert isinstance(row["saved"]["comfyui"], float) and isinstance(row["saved"]["kohya"], float)
        if isinstance(row["saved"]["diffusers"], str):
            of_wan = title.startswith("wan_video") and "no diffusers keys" in row["saved"]["diffusers"]
            assert of_wan or "no keys for LoHa and LoKr" in row["saved"]["diffusers"], title


def test_what_is_no_lora_for_the_model_is_refused_by_name(measured: dict[str, dict[str, Row]]):
    for title, row in measured["refused"].items():
        assert row["message"] in row.get("refused", ""), title


def test_the_docs_have_every_kind_and_spelling(measured: dict[str, dict[str, Row]], repo: Path):
    lines = (repo / "docs" / "lora_files.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    for title, row in measured["kinds"].items():
        kind = title.split(": ")[1]
        found = [re.split("[,:(]", cells[1])[0].strip() for cells in rows if kind in cells[0].split("; ")]
        assert found == [row["outcome"]], kind
    for spelling in {title.split(": ")[1] for title in measured["spellings"]}:
        assert any(cells[0] == spelling for cells in rows), spelling
