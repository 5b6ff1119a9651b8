"""Which of several processes this one is, by the variables of those who start them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from semantic_focus.commands.joining import Place, place_of
from semantic_focus.commands.main import main
from semantic_focus.commands.outcome import CannotStartError
from semantic_focus.training.processes import StopTraining

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}
OWN = {
    "SEMANTIC_FOCUS_PROCESS": "1",
    "SEMANTIC_FOCUS_PROCESSES": "2",
    "SEMANTIC_FOCUS_MEETING": "/tmp/here",
    "SEMANTIC_FOCUS_STARTED_BY": "17",
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        (TORCHRUN, Place(3, 4, 1, is_local=False)),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, Place(3, 4, 1, is_local=True)),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, None),
        (SRUN, Place(1, 2, 1, is_local=False, own_device=True)),
        ({**SRUN, "SLURM_STEP_NUM_NODES": "1"}, Place(1, 2, 1, is_local=True, own_device=True)),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}, None),
        (OWN, Place(1, 2, 1, True, Path("/tmp/here"), 17)),
        ({**TORCHRUN, **SRUN, **OWN}, Place(1, 2, 1, True, Path("/tmp/here"), 17)),
    ],
)
def test_whoever_started_it_says_which_it_is(variables: Mapping[str, str], expected: Place | None):
    assert place_of(variables) == expected


@pytest.mark.parametrize("wrong", [{**TORCHRUN, "RANK": "first"}, {**OWN, "SEMANTIC_FOCUS_PROCESSES": ""}])
def test_what_is_no_number_is_named(wrong: Mapping[str, str]):
    with pytest.raises(CannotStartError, match="no whole number: start the processes with --processes N"):
        place_of(wrong)


def test_a_process_stops_when_the_one_that_started_it_is_gone():
    Place(0, 2, 0, True).check()
    with pytest.raises(StopTraining, match="the end of the process that started it"):
        Place(0, 2, 0, True, Path("here"), started_by=1 << 30).check()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0", '"0": give a number of processes, 1 to 1024'),
        ("many", '"many": give a number of processes, 1 to 1024'),
    ],
)
def test_impossible_numbers_are_refused(given: str, said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["train", "config.toml", "--processes", given])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_processes_that_another_program_has_started_start_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "config.toml", "--processes", "2"]) == 2
    assert "--processes 2: this is one of 4 processes already, do without" in capsys.readouterr().err


def test_without_the_place_of_the_first_it_is_said_what_to_give(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**SRUN, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "config.toml"]) == 2
    said = capsys.readouterr().err
    assert "MASTER_ADDR and MASTER_PORT not set" in said and "scontrol show hostnames" in said
