"""Training states as files: complete or absent, and every other file refused with its name and a way out."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from semantic_focus.files.writing import NotWrittenError
from semantic_focus.training.state import (
    FORMAT,
    HEADER_KEY,
    TrainState,
    TrainStateError,
    differences,
    load_train_header,
    load_train_state,
    pack_optimizer,
    save_train_state,
    unpack_optimizer,
)

STATE = TrainState(
    7,
    {
        "adapters.x": torch.tensor([[1.5, -0.0], [65504.0, 1e-40]]),
        "optimizer.0.step": torch.tensor(3.0),
        "optimizer.0.map": torch.tensor([1, 255], dtype=torch.uint8),
        "generator": torch.Generator().manual_seed(3).get_state(),
    },
    {"at_once": 2, "rate": 0.1 + 0.2, "list": [[1, 2], []], "none": None, "text": "ä", "yes": True},
    {"model": "m", "training": {"steps": 4}},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    save_train_state(path, STATE)
    return path


class TestFile:
    def test_it_comes_back_as_it_was(self, file: Path):
        found = load_train_state(str(file))
        assert (found.step, found.values, found.identity) == (7, STATE.values, STATE.identity)
        assert set(found.tensors) == set(STATE.tensors)
        for name, tensor in STATE.tensors.items():
            other = found.tensors[name]
            assert other.dtype == tensor.dtype and other.shape == tensor.shape
            assert other.numpy().tobytes() == tensor.numpy().tobytes()
        assert set(found.part("optimizer.")) == {"0.step", "0.map"}

    def test_it_is_plain_safetensors(self, file: Path):
        assert set(load_file(file)) == set(STATE.tensors)

    def test_a_missing_one_is_named(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError, match="none.safetensors: no such training state"):
            load_train_state(tmp_path / "none.safetensors")

    def test_a_lora_is_no_state(self, file: Path):
        save_file({"a": torch.zeros(1)}, file, {"ss_steps": "7"})
        with pytest.raises(TrainStateError, match=f"{file}: no training state of this pack.*own loader"):
            load_train_state(file)

    def test_a_cut_one_is_damaged_wherever_it_is_cut(self, file: Path):
        whole = file.read_bytes()
        for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:length])
            with pytest.raises(TrainStateError, match=f"{file}: damaged, use the state before it"):
                load_train_state(file)

    def test_one_of_a_newer_format_wants_a_newer_pack(self, file: Path):
        save_file({"a": torch.zeros(1)}, file, {HEADER_KEY: json.dumps({"format": FORMAT + 1, "step": 3})})
        with pytest.raises(TrainStateError, match=f"{file}: its format is 2, this version reads 1: update"):
            load_train_state(file)

    @pytest.mark.parametrize("header", ["", "{", "[]", "3", "null", "{}", f'{{"format": {FORMAT}}}'])
    def test_a_header_that_is_none_is_refused(self, header: str, file: Path):
        save_file({"a": torch.zeros(1)}, file, {HEADER_KEY: header})
        with pytest.raises(TrainStateError, match=str(file)):
            load_train_state(file)

    @pytest.mark.parametrize(
        "change",
        [
            {"step": -1},
            {"step": 1.5},
            {"step": True},
            {"step": 10**400},
            {"values": []},
            {"identity": None},
            {"format": 10**400},
        ],
        ids=str,
    )
    def test_a_header_with_another_kind_of_value_is_refused(self, change: dict, file: Path):
        header = {"format": FORMAT, "step": 1, "values": {}, "identity": {}, **change}
        save_file({"a": torch.zeros(1)}, file, {HEADER_KEY: json.dumps(header)})
        with pytest.raises(TrainStateError, match=f"{file}: (damaged|its format)") as raised:
            load_train_state(file)
        assert len(str(raised.value)) < 300 + len(str(file))

    @pytest.mark.parametrize("name", ["adapters.x", "average.0", "optimizer.0.exp_avg"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_that_are_no_numbers_are_refused_by_name(self, name: str, value: float, file: Path):
        save_train_state(file, TrainState(1, {"a": torch.zeros(1), name: torch.tensor([0, value])}, {}, {}))
        with pytest.raises(TrainStateError, match=f"{file}: damaged.*{name} has values that are no finite"):
            load_train_state(file)

    def test_its_header_is_read_without_its_tensors(self, file: Path):
        found = load_train_header(file)
        assert (found.step, found.identity, dict(found.tensors)) == (7, STATE.identity, {})

    def test_a_write_that_fails_leaves_the_old_one_and_nothing_else(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(NotWrittenError, match=f"{file}: cannot be written: the disk is full"):
            save_train_state(file, TrainState(8, {}, {}, {}))
        assert load_train_state(file).step == 7 and list(file.parent.iterdir()) == [file]


class TestDifferences:
    def test_they_are_named_by_their_path(self):
        old = {"model": "a", "training": {"rate": 0.0002, "steps": 5}, "same": [1, 2]}
        new = {"model": "a", "training": {"rate": 0.0001}, "same": (1, 2), "more": None}
        assert differences(old, new) == [
            "more: absent, now None",
            "training.rate: 0.0002, now 0.0001",
            "training.steps: 5, now absent",
        ]

    def test_equal_ones_have_none_also_after_json(self):
        identity = {"a": {"b": (1, 2.5), "c": {}}, "d": "x"}
        assert differences(json.loads(json.dumps(identity)), identity) == []


class TestOptimizerState:
    def test_numbers_kept_as_tensors_in_a_group_are_packed_and_put_back(self):
        """As capturable optimizers have them."""
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.8, 0.9))
        parameter.grad = torch.arange(3.0)
        optimizer.step()
        optimizer.param_groups[0]["d"] = torch.tensor(0.25)
        optimizer.state[parameter]["note"] = 5
        tensors, values = pack_optimizer(optimizer)
        assert tensors["group.0.d"].item() == 0.25 and values["scalars"] == {"0": {"note": 5}}

        other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))], lr=0.1)
        unpack_optimizer(other, tensors, json.loads(json.dumps(values)))
        group, (entries,) = other.param_groups[0], other.state.values()
        assert group["d"].item() == 0.25 and group["betas"] == (0.8, 0.9) and entries["note"] == 5
        assert entries["step"].item() == 1
        torch.testing.assert_close(entries["exp_avg"], torch.arange(3.0) * 0.2)  # (1 − β₁)·g
        torch.testing.assert_close(entries["exp_avg_sq"], torch.arange(3.0) ** 2 * 0.1)

    def test_what_is_packed_is_a_copy(self):
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
        parameter.grad = torch.ones(3)
        optimizer.step()
        tensors, _ = pack_optimizer(optimizer)
        optimizer.step()
        assert tensors["0.momentum_buffer"].tolist() == [1, 1, 1]
