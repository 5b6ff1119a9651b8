"""The folder of one training: settings, curves, states to go on from, LoRAs on the way, samples.

<root>/<name>/
    run.json                     what is trained how; whether it is finished
    curves.jsonl                 one line per step
    state_000200.safetensors     to go on from; the last few are kept
    lora_000200.safetensors      the LoRA at that step; all are kept unless a training asks for less
    lora_best.safetensors        and state_best.safetensors: of the step that was best on what is held out
    previews/                    samples on the way, and grid.png of all of them
"""

import contextlib
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..datasets.claims import LOCK_FILE, Claim, claim
from ..files.names import name_problem
from ..files.writing import TEMPORARY, NotWrittenError, append_line, check_can_write, write_text
from ..lora.file import is_ours, load_metadata, save_lora
from .curves_file import curve_line, read_curves
from .state import (
    TrainState,
    TrainStateError,
    differences,
    is_train_state,
    load_train_header,
    load_train_state,
    save_train_state,
)
from .step_record import StepRecord

RUN_FILE = "run.json"
CURVES_FILE = "curves.jsonl"
PREVIEWS = "previews"
BEST_LORA = "lora_best.safetensors"
BEST_STATE = "state_best.safetensors"
HELD_OUT_LOSS = "semantic_focus.held_out_loss"
"""Key of the loss in the header of the best LoRA."""
_STATE = re.compile(r"state_(\d+)\.safetensors")
_LORA = re.compile(r"lora_(\d+)\.safetensors")


@dataclass(frozen=True)
class Keep:
    """Of how many of the last steps that were saved something stays in a run folder; None: of all.

    What was best on what is held out stays besides.

    Attributes:
        states: to go on from.
        loras: to choose from.
    """

    states: int | None = 3
    loras: int | None = None

    def __post_init__(self):
        for name, count in (("states", self.states), ("LoRAs", self.loras)):
            if count is not None and count < 1:
                raise ValueError(f"{count} {name} are to stay: at least the last one must, give 1 or more")


class RunFolder:
    """One training on disk.

    Args:
        path: the folder; made when first written to.
        keep: what stays in it.
    """

    def __init__(self, path: Path, keep: Keep = Keep()):
        self.path = path
        self._keep = keep
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
                    with contextlib.suppress(OSError):
                        part.unlink(missing_ok=True)

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Say what is trained how, before the first step."""
        self._write_run({"identity": identity, "finished": False})

    def finish(self) -> None:
        """Say that the training reached its end."""
        self._write_run({**(self.description() or {}), "finished": True})

    def reopen(self) -> None:
        """Let a run that is finished be gone on with, as when its LoRA was lost: from its last state."""
        found = self.description()
        if found is not None and found["finished"]:
            self._write_run({**found, "finished": False})

    def description(self) -> dict[str, Any] | None:
        """The content of run.json, "identity" and "finished"; None if there is none that can be read."""
        try:
            found = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(found, dict) and isinstance(found.get("identity"), dict)
        return found if whole and isinstance(found.get("finished"), bool) else None

    def _write_run(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2) + "\n"
        write_text(self.path / RUN_FILE, text)

    def add_curve(self, record: StepRecord) -> None:
        """Append one step to the curves."""
        append_line(self.path / CURVES_FILE, curve_line(record))

    def curves(self, until: int | None = None) -> list[StepRecord]:
        """The steps that were written, as far as they can be read; the log says how many cannot.

        Args:
            until: the last step that is wanted; None: all are.
        """
        path = self.path / CURVES_FILE
        if not path.is_file():
            return []
        try:
            found = read_curves(path)
        except OSError as error:
            logging.warning(f"LoRA training: {path}: cannot be read ({error}), its curves begin anew")
            return []
        return [record for record in found if until is None or record.step <= until]

    def write_curves(self, records: Iterable[StepRecord]) -> None:
        """Write the curves anew, of these steps, as when a training goes on from before what was written."""
        write_text(self.path / CURVES_FILE, "".join(curve_line(record) + "\n" for record in records))

    def save_state(self, state: TrainState) -> Path:
        """Write a state and remove states and LoRAs that are older than those that stay.

        Later ones, which could not be read or the training would not be here, do not count.
        """
        path = self._state_path(state.step)
        save_train_state(path, state)
        self._remove(_STATE, self._state_path, is_train_state, state.step, self._keep.states)
        self._remove(_LORA, self.lora_path, is_ours, state.step, self._keep.loras)
        return path

    def remove_saved(self) -> None:
        """Remove the states and LoRAs of all steps; the best ones stay, and the curves."""
        last = max((*self._steps(_STATE), *self._steps(_LORA)), default=0)
        self._remove(_STATE, self._state_path, is_train_state, last, 0)
        self._remove(_LORA, self.lora_path, is_ours, last, 0)

    def _remove(
        self,
        kind: re.Pattern[str],
        path_of: Callable[[int], Path],
        is_our_own: Callable[[Path], bool],
        until: int,
        stay: int | None,
    ) -> None:
        """Remove files of a kind up to a step, but the last few."""
        if stay is None:
            return
        steps = [step for step in self._steps(kind) if step <= until]
        for step in steps[: max(0, len(steps) - stay)]:
            with contextlib.suppress(OSError):
                if is_our_own(path_of(step)):
                    path_of(step).unlink(missing_ok=True)

    def lora_path(self, step: int) -> Path:
        """Where the LoRA of a step goes."""
        return self.path / f"lora_{step:06}.safetensors"

    def preview_path(self, step: int) -> Path:
        """Where the samples of a step go."""
        return self.path / PREVIEWS / f"step_{step:06}.png"

    def save_best(self, state: TrainState, lora: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
        """Write state and LoRA of the best step so far, in the place of those before.

        Args:
            header: of the LoRA's file, with `HELD_OUT_LOSS` and "semantic_focus.steps".
        """
        save_train_state(self.path / BEST_STATE, state)
        save_lora(self.path / BEST_LORA, lora, header)

    def best_loss(self, until: int) -> float:
        """The held-out loss of the best LoRA that is kept; infinite where there is none of a step up to
        `until`.
        """
        try:
            header = load_metadata(self.path / BEST_LORA)
            return float(header[HELD_OUT_LOSS]) if int(header["semantic_focus.steps"]) <= until else math.inf
        except (KeyError, ValueError, OSError):
            return math.inf

    def has_states(self) -> bool:
        """Whether there is a state, readable or not."""
        return bool(self._steps(_STATE))

    def _steps(self, kind: re.Pattern[str]) -> list[int]:
        found = (kind.fullmatch(path.name) for path in self.path.glob("*.safetensors"))
        return sorted(int(match[1]) for match in found if match)

    def _state_path(self, step: int) -> Path:
        return self.path / f"state_{step:06}.safetensors"

    def states(self) -> Iterator[TrainState]:
        """The states that can be read, the newest first; the log names the others."""
        return self._readable(load_train_state)

    def newest_state(self) -> TrainState | None:
        """The newest state that can be read; damaged ones are passed over and named in the log."""
        return next(self.states(), None)

    def newest_header(self) -> TrainState | None:
        """As `newest_state`, without the tensors."""
        return next(self._readable(load_train_header), None)

    def _readable(self, load: Callable[[Path], TrainState]) -> Iterator[TrainState]:
        for step in reversed(self._steps(_STATE)):
            try:
                yield load(self._state_path(step))
            except (TrainStateError, FileNotFoundError) as error:
                logging.warning(f"LoRA training: {error}")


def run_folders(root: Path, name: str) -> Iterator[Path]:
    """`<root>/<name>`, `<root>/<name>_2`, ... without end."""
    yield root / name
    number = 2
    while True:
        yield root / f"{name}_{number}"
        number += 1


def choose_run(
    root: Path,
    name: str,
    identity: Mapping[str, Any],
    resume: bool,
    keep: Keep = Keep(),
    accept: Callable[[TrainState], None] = lambda state: None,
    tell: Callable[[str], None] | None = None,
) -> tuple[RunFolder, TrainState | None]:
    """The folder for a training, claimed: of an unfinished one of just this kind, with its state, or a new.

    Args:
        root: folder of all runs.
        name: of this one; `<name>_2` and so on where it is taken.
        identity: what is trained how; only a run of an equal identity is gone on with.
        resume: False always begins a new one.
        accept: raises TrainStateError for a state that does not fit; the one before it is then tried.
        tell: told in a sentence that the folder takes no files, and the training goes on without; None: that
            is an error.

    Raises:
        ValueError: a name that is no folder name.
        NotWrittenError: the folder takes no files, and `tell` is None.
    """
    if problem := name_problem(name):
        raise ValueError(f"run name {name!r}: {problem}. Give a plain folder name, such as my_person")
    for path in run_folders(root, name):
        run = RunFolder(path, keep)
        try:
            if (found := _claimed(run, identity, resume, accept)) is None:
                continue
            if tell is None:
                check_can_write(path / RUN_FILE)
            return run, found[0]
        except OSError as error:
            if tell is None:
                run.release()
                raise
            tell(f"{error}. The training goes on in memory: as long as that is so, nothing of it can be kept")
            return run, None
        except BaseException:
            run.release()
            raise
    raise AssertionError("run_folders has no end")


def _claimed(
    run: RunFolder, identity: Mapping[str, Any], resume: bool, accept: Callable[[TrainState], None]
) -> tuple[TrainState | None] | None:
    """Claim a folder and begin a run in it, or find the state that it goes on from; None if it is taken.

    Raises:
        NotWrittenError: a new run cannot be begun in it.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file of that name
        return None
    except OSError as error:
        raise NotWrittenError(run.path, error) from error
    if not run.claim():
        return None
    if run.is_empty():
        run.begin(identity)
        return (None,)
    if resume and _may_go_on(run, identity):
        run.remove_leftovers()
        if not run.has_states():
            return (None,)
        for state in run.states():
            if _fits(run, state, identity, accept):
                return (state,)
        logging.warning(f"LoRA training: {run.path}: none of its states can be used, a new run begins")
    run.release()
    return None


def _may_go_on(run: RunFolder, identity: Mapping[str, Any]) -> bool:
    """Whether a run is unfinished and of this identity; if only the latter is missing, the log says why.

    Where run.json is damaged or says something else, its states know what they belong to.
    """
    found = run.description()
    if found is not None and found["finished"]:
        return False
    changed = _changes(found["identity"], identity) if found else []
    if found is not None and not changed:
        return True
    state = run.newest_header()
    if state is not None and not _changes(state.identity, identity):
        logging.warning(
            f"LoRA training: {run.path / RUN_FILE} is damaged or missing, and written anew: by its states "
            "the run is of just these settings, pictures and model"
        )
        with contextlib.suppress(OSError):
            run.begin(identity)
        return True
    if changed:
        logging.info(f"LoRA training: {run.path} is unfinished but not the same: {'; '.join(changed[:5])}")
    else:
        logging.warning(
            f"LoRA training: {run.path} is left as it is: its {RUN_FILE} cannot be read, and no state in it "
            "is of these settings, pictures and model"
        )
    return False


def _fits(
    run: RunFolder, state: TrainState, identity: Mapping[str, Any], accept: Callable[[TrainState], None]
) -> bool:
    """Whether a run can go on from a state; the log says why not."""
    try:
        if changed := _changes(state.identity, identity):
            raise TrainStateError(f"it belongs to another training: {'; '.join(changed[:5])}")
        accept(state)
    except TrainStateError as error:
        logging.warning(f"LoRA training: {run.path}: the state of step {state.step} is passed over: {error}")
        return False
    return True


def _changes(before: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    return differences(before, json.loads(json.dumps(identity)))
