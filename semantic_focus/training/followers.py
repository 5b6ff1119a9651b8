"""The processes that do their share of a training whose first process keeps its files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .digest import digest
from .processes import Processes
from .run_folder import RunFolder
from .state import TrainState
from .trainer import Trainer
from .verdict import verdict


def check_same(processes: Processes, identity: Any) -> None:
    """Compare what the processes are about to train.

    Raises:
        ValueError: this one has been given other pictures, settings or another model than the first.
    """
    if processes.size == 1:
        return
    own = digest(identity)
    if processes.told({}, own)[1] != own:
        raise ValueError(
            f"process {processes.rank} has other pictures, settings or another model than process 0: give "
            "all processes the same files"
        )


def choose_together(
    processes: Processes, choose: Callable[[], tuple[RunFolder, TrainState | None]]
) -> tuple[Path, RunFolder | None, TrainState | None]:
    """The run that the first process has chosen, and the state that all go on from.

    Args:
        choose: called by the first process alone.

    Returns:
        the run's path, the folder itself for the first process alone, and the state, None where a training
        begins.
    """
    if processes.is_first:
        run, state = choose()
        if processes.size > 1:
            try:
                processes.told(state.tensors if state else {}, _values(run.path, state))
            except BaseException:
                run.release()
                raise
        return run.path, run, state
    tensors, (path, found) = processes.told({}, None)
    state = TrainState(found["step"], tensors, found["values"], found["identity"]) if found else None
    return Path(path), None, state


def _values(path: Path, state: TrainState | None) -> Any:
    if state is None:
        return str(path), None
    return str(path), {"step": state.step, "values": state.values, "identity": state.identity}


def follow(trainer: Trainer, state: TrainState | None, check: Callable[[], None]) -> None:
    """Do this process's share of a training to its end.

    Where all go in step, so are validation and verdict; what comes of them is the first process's.

    Args:
        state: to go on from.
        check: called before each pass through the model; what it raises ends the training for all.
    """
    processes = trainer.processes
    if state is not None:
        trainer.load(state)
    with trainer.adapters.attached():
        if processes.in_step and processes.told({}, None)[1]:
            trainer.measured(check)
        while trainer.steps_done < trainer.settings.steps:
            trainer.step(check)
            if processes.in_step:
                trainer.measured(check)
        if processes.in_step:
            with trainer.result():
                verdict(trainer, [], processes.in_company(check))
    processes.finish()
