"""Damaged files of every kind are refused in words: the small form of `benchmarks.damaged_files`."""

import importlib
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

COUNT, FLIPS = 40, 60


@pytest.fixture(scope="module")
def programs() -> tuple[ModuleType, ModuleType, ModuleType]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    try:
        names = ("damaged_files", "damaged_kinds", "damage")
        files, kinds, damage = (importlib.import_module(f"benchmarks.{name}") for name in names)
        return files, kinds, damage
    finally:
        sys.path.pop(0)


NAMES = (
    "LoRAs",
    "states",
    "mask files, png",
    "mask files, float",
    "mask files, mended",
    "run folders",
    "mask files in a listing",
    "origin caches",
    "config.toml",
    "pictures",
    "captions",
    "mask pictures",
)


def test_every_kind_is_tried(programs):
    assert tuple(kind.name for kind in programs[1].KINDS) == NAMES


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_no_damage_ends_in_a_raw_error_or_is_read_with_values_that_are_no_numbers(
    number: int, programs, tmp_path: Path
):
    files, kinds, _ = programs
    found = files.trial(kinds.KINDS[number], COUNT, 1, tmp_path)
    assert found.tried == COUNT and not found.raw + found.not_finite + found.large


@pytest.mark.parametrize("number", range(4), ids=NAMES[:4])
def test_no_flipped_bit_is_unnoticed(number: int, programs, tmp_path: Path):
    files, kinds, _ = programs
    found = files.flips(kinds.WITH_DIGEST[number], FLIPS, 1, tmp_path)
    assert (found.tried, found.noticed) == (FLIPS, FLIPS)


class TestTheProgramItself:
    """A trial that cannot fail says nothing."""

    def kind(self, programs, read, errors=()):
        return programs[1].Kind(
            "a text", lambda folder: (folder / "a.txt").write_text("12.5 12.5"), read, errors
        )

    def test_errors_that_are_not_documented_are_raw(self, programs, tmp_path: Path):
        def read(folder: Path) -> float:
            return sum(map(float, (folder / "a.txt").read_text(encoding="utf-8").split()))

        found = programs[0].trial(self.kind(programs, read), 60, 0, tmp_path)
        assert found.raw and found.refused == 0
        again = programs[0].trial(self.kind(programs, read, (ValueError,)), 60, 0, tmp_path)
        assert again.refused and "UnicodeDecodeError" in str(
            again.raw
        )  # a kind of ValueError, and no sentence

    @pytest.mark.parametrize(
        "value", [float("inf"), [1.0, {"a": float("nan")}], torch.tensor([float("-inf")])]
    )
    def test_numbers_that_are_none_are_found(self, value, programs, tmp_path: Path):
        found = programs[0].trial(self.kind(programs, lambda folder: value), 3, 0, tmp_path)
        assert found.not_finite.total() == 3

    def test_what_is_read_with_a_flipped_bit_is_unnoticed(self, programs, tmp_path: Path):
        kind = self.kind(programs, lambda folder: (folder / "a.txt").read_bytes().strip(b"\x005 "))
        found = programs[0].flips(kind, 200, 0, tmp_path)
        assert found.noticed == 0 and found.unnoticed > 100 and found.without_effect + found.unnoticed == 200

    def test_damage_changes_a_file(self, programs):
        content = bytes(range(1, 256)) * 20
        for damage in programs[2].COMMON:
            assert sum(damage(content, random.Random(seed)) != content for seed in range(20)) >= 18, damage
