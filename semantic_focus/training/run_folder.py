"""The folder of one training: settings, curves, states to go on from, LoRAs on the way, samples.

<root>/<name>/
    run.json                     what is trained how; whether it is finished
    curves.jsonl                 one line per step
    state_000200.safetensors     to go on from; the last few are kept
    lora_000200.safetensors      the LoRA at that step
    previews/                    samples on the way, and grid.png of all of them
"""

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..datasets.claims import LOCK_FILE, Claim, claim
from ..files import TEMPORARY, append_line, name_problem, write_text
from .state import (
    TrainState,
    TrainStateError,
    differences,
    is_train_state,
    load_train_state,
    save_train_state,
)
from .step_record import SampleRecord, StepRecord

RUN_FILE = "run.json"
CURVES_FILE = "curves.jsonl"
PREVIEWS = "previews"
_STATE = re.compile(r"state_(\d+)\.safetensors")


class RunFolder:
    """One training on disk.

    Args:
        path: the folder; made when first written to.
        keep_last: how many states stay, >= 1.
    """

    def __init__(self, path: Path, keep_last: int = 3):
        if keep_last < 1:
            raise ValueError(f"keep_last is {keep_last}: at least the last state must stay, give 1 or more")
        self.path = path
        self._keep_last = keep_last
        self._claim: Claim | None = None

    def claim(self) -> bool:
        """Take the folder for this process; False when another training is at work in it."""
        self._claim = claim(self.path / RUN_FILE)
        return self._claim is not None

    def release(self) -> None:
        """Give the folder up."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def is_empty(self) -> bool:
        """Whether nothing was begun in it, as when a training was killed before it wrote anything."""
        return all(path.name == LOCK_FILE or TEMPORARY.fullmatch(path.name) for path in self.path.iterdir())

    def remove_leftovers(self) -> None:
        """Remove what a killed training left half written; only for who has claimed the folder."""
        for folder in (self.path, self.path / PREVIEWS):
            for part in folder.glob(".*.part"):
                if TEMPORARY.fullmatch(part.name):
                    part.unlink(missing_ok=True)

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Say what is trained how, before the first step."""
        self._write_run({"identity": identity, "finished": False})

    def finish(self) -> None:
        """Say that the training reached its end."""
        self._write_run({**self.description(), "finished": True})

    def description(self) -> dict[str, Any]:
        """The content of run.json; empty if there is none that can be read."""
        try:
            found = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_run(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2) + "\n"
        write_text(self.path / RUN_FILE, text)

    def add_curve(self, record: StepRecord) -> None:
        """Append one step to the curves."""
        line = json.dumps(_without_nan(dataclasses.asdict(record)))
        try:
            append_line(self.path / CURVES_FILE, line)
        except FileNotFoundError:  # somebody removed the folder: what comes from now on is kept again
            self.path.mkdir(parents=True, exist_ok=True)
            append_line(self.path / CURVES_FILE, line)

    def curves(self) -> list[StepRecord]:
        """The steps that were written; a last line that a kill cut short is left out."""
        path = self.path / CURVES_FILE
        if not path.is_file():
            return []
        records = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(_record(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                break
        return records

    def cut_curves(self, step: int) -> list[StepRecord]:
        """Forget what was written beyond `step`, where a training goes on from; the records that stay."""
        kept = [record for record in self.curves() if record.step <= step]
        lines = "".join(json.dumps(_without_nan(dataclasses.asdict(record))) + "\n" for record in kept)
        write_text(self.path / CURVES_FILE, lines)
        return kept

    def save_state(self, state: TrainState) -> Path:
        """Write a state and remove those that are older than the last few; LoRAs stay, to choose from.

        Later ones, which could not be read or the training would not be here, do not count.
        """
        path = self.path / f"state_{state.step:06}.safetensors"
        save_train_state(path, state)
        steps = [step for step in self._state_steps() if step <= state.step]
        for step in steps[: -self._keep_last]:
            older = self.path / f"state_{step:06}.safetensors"
            if is_train_state(older):
                older.unlink(missing_ok=True)
        return path

    def lora_path(self, step: int) -> Path:
        """Where the LoRA of a step goes."""
        return self.path / f"lora_{step:06}.safetensors"

    def preview_path(self, step: int) -> Path:
        """Where the samples of a step go."""
        return self.path / PREVIEWS / f"step_{step:06}.png"

    def has_states(self) -> bool:
        """Whether there is a state, readable or not."""
        return bool(self._state_steps())

    def _state_steps(self) -> list[int]:
        found = (_STATE.fullmatch(path.name) for path in self.path.glob("state_*.safetensors"))
        return sorted(int(match[1]) for match in found if match)

    def newest_state(self) -> TrainState | None:
        """The newest state that can be read; damaged ones are passed over and named in the log."""
        for step in reversed(self._state_steps()):
            try:
                return load_train_state(self.path / f"state_{step:06}.safetensors")
            except TrainStateError as error:
                logging.warning(f"LoRA training: {error}")
        return None


def run_folders(root: Path, name: str) -> Iterator[Path]:
    """`<root>/<name>`, `<root>/<name>_2`, ... without end."""
    yield root / name
    number = 2
    while True:
        yield root / f"{name}_{number}"
        number += 1


def choose_run(
    root: Path, name: str, identity: Mapping[str, Any], resume: bool, keep_last: int = 3
) -> tuple[RunFolder, TrainState | None]:
    """The folder for a training, claimed: of an unfinished one of just this kind, with its state, or a new.

    Args:
        root: folder of all runs.
        name: of this one; `<name>_2` and so on where it is taken.
        identity: what is trained how; only a run of an equal identity is gone on with.
        resume: False always begins a new one.

    Raises:
        ValueError: a name that is no folder name.
    """
    if problem := name_problem(name):
        raise ValueError(f"run name {name!r}: {problem}. Give a plain folder name, such as my_person")
    for path in run_folders(root, name):
        run = RunFolder(path, keep_last)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a file of that name
            continue
        if not run.claim():
            continue
        if run.is_empty():
            run.begin(identity)
            return run, None
        if resume and _may_go_on(run, identity):
            run.remove_leftovers()
            state = run.newest_state()
            if state is not None or not run.has_states():
                return run, state
        run.release()
    raise AssertionError("run_folders has no end")


def _may_go_on(run: RunFolder, identity: Mapping[str, Any]) -> bool:
    """Whether a run is unfinished and of this identity; if only the latter is missing, the log says why."""
    found = run.description()
    if found.get("finished", True):
        return False
    changed = differences(found.get("identity", {}), json.loads(json.dumps(identity)))
    if changed:
        logging.info(f"LoRA training: {run.path} is unfinished but not the same: {'; '.join(changed[:5])}")
    return not changed


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null stands for it."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _with_nan(value: Any) -> Any:
    """The opposite of `_without_nan`."""
    if value is None:
        return float("nan")
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return value


def _record(line: Mapping[str, Any]) -> StepRecord:
    values = _with_nan(dict(line))
    values["samples"] = tuple(SampleRecord(**sample) for sample in values["samples"])
    return StepRecord(**values)
