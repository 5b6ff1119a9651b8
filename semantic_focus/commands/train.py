"""The command "train": a whole training from a config.toml."""

import argparse
import dataclasses
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..comfy.headless import LoraNotWrittenError, check_model_file, find_comfyui, import_comfyui, load_model
from ..comfy.headless_inputs import read_inputs
from ..files.writing import make_folder
from ..settings.model import ModelSettings
from ..settings.training import TrainConfig, load_config
from ..training.events import EventWriter
from ..training.processes import Processes, ProcessFailed, ProcessLost, StopTraining
from ..training.shortage import TrainingOutOfMemory
from ..training.summary import summary_rows
from ..training.trainer import TrainingDiverged
from .config import Programs, add_config_arguments, add_packs_argument
from .counts import process_count
from .events import STANDARD_OUTPUT, add_events_argument, events_to, this_process
from .joining import Place, join, place_of, take_device
from .outcome import CANNOT_START, FAILED, SUCCESS, TRY_AGAIN, CannotStartError, answer, say
from .starting import run_processes
from .stop_signals import NOTED, StopSignals, exit_code_of
from .train_told import NothingTold, TrainingTold

HELP = (
    "Train a LoRA as a config.toml says, with ComfyUI's model code and without its server. Stopped by "
    "Ctrl+C, SIGTERM or a closed terminal it keeps its state, and the same command goes on from there. The "
    "path of the LoRA goes to standard output, progress to the screen."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "train"."""
    parser.set_defaults(command_function=run)
    add_config_arguments(parser)
    parser.add_argument(
        "--processes",
        type=process_count,
        default=1,
        metavar="N",
        help="as many processes on this machine, one GPU each, which make one LoRA; the same as with one "
        "(default: 1, or what torchrun, accelerate launch or srun has started)",
    )
    add_events_argument(parser)
    add_packs_argument(parser)


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 trained, 1 failed on the way, 2 cannot start, 75 a process is gone, 128 + n stopped by
    signal n.
    """
    place = place_of(os.environ)
    if options.processes > 1:
        return _in_processes(options, place)
    is_first = place is None or place.rank == 0
    logging.getLogger().setLevel(logging.INFO if is_first else logging.ERROR)
    with (
        StopSignals(NOTED if is_first else None) as signals,
        events_to(options.events, is_first) as events,
    ):
        run = TrainRun(OfConfig(options.config), Programs.of(options), signals, events, place)
        code = run.exit_code()
    if run.lora is not None and options.events != STANDARD_OUTPUT:
        answer(run.lora)
    return code


def _in_processes(options: argparse.Namespace, place: Place | None) -> int:
    if place is not None:
        raise CannotStartError(
            f"--processes {options.processes}: this is one of {place.size} processes already, do without"
        )
    arguments = ["train", str(options.config), *Programs.of(options).arguments()]
    arguments += [] if options.events is None else ["--events", options.events]

    def killed(message: str) -> None:
        with events_to(options.events) as events:
            events.stopped(message, TRY_AGAIN)

    return run_processes(options.processes, arguments, killed)


class Stops(Protocol):
    """What may ask a training to end: `StopSignals`, say."""

    def check(self) -> None:
        """Raise StopTraining once it was asked."""

    @property
    def exit_code(self) -> int:
        """For it; 0 where it was no signal."""
        ...


class Task(Protocol):
    """What is trained, and where the LoRA goes.

    Attributes:
        name: what events call it.
    """

    name: str

    def config(self) -> TrainConfig:
        """Read it. Raises ValueError, OSError."""
        ...

    def put(self, lora: Path) -> str:
        """Bring the LoRA where it belongs; its path or URL."""
        ...

    def left(self, run: Path) -> None:
        """The training has ended early; `run` is its folder."""

    def code_of(self, error: BaseException, code: int) -> int:
        """The exit code for an error that would have this one."""
        ...


class OfConfig:
    """The training of a config.toml."""

    def __init__(self, path: Path):
        self._path, self.name = path, str(path)

    def config(self) -> TrainConfig:
        return load_config(self._path)

    def put(self, lora: Path) -> str:
        return str(lora)

    def left(self, run: Path) -> None:
        """It lies where the same command finds it."""

    def code_of(self, error: BaseException, code: int) -> int:
        return code


class TrainRun:
    """One process of a training, from beginning to end.

    Args:
        programs: as the command line says; what it leaves open, the config does.
        place: of this process among several.
        load: gives the MODEL of a file; None: it is loaded.

    Attributes:
        lora: path or URL of the LoRA, once it is there.
    """

    def __init__(
        self,
        task: Task,
        programs: Programs,
        signals: Stops,
        events: EventWriter,
        place: Place | None = None,
        load: Callable[[ModelSettings], Any] | None = None,
    ):
        self._task, self._programs, self._load = task, programs, load
        self._place, self._signals, self._events = place, signals, events
        self._processes = Processes()
        self._begun: list[Path] = []
        self.lora: str | None = None

    def exit_code(self) -> int:
        """Train; what becomes of an error is said by the first process."""
        self._events.opened(config=self._task.name, **this_process())
        try:
            done = self._trained()
            if done is not None:
                self.lora = self._task.put(done.lora)
                self._events.finished(done.rows, done.is_worse, self.lora)
        except BaseException as error:
            try:
                code = self._ended_by(error)
            finally:
                if self._begun and self._processes.is_first:
                    self._task.left(self._begun[0])
            if code is None:
                raise
            return code
        return SUCCESS

    def _ended_by(self, error: BaseException) -> int | None:
        """The exit code; None of an error that is none in words."""
        if isinstance(error, StopTraining):
            self._say(f"stopped by {error}: the same command goes on")
            code = self._signals.exit_code or exit_code_of(error)
            self._events.stopped(exit_code=code, reason=str(error))
            return code
        if isinstance(error, ProcessLost):
            where = f" from the last state in {self._begun[0]}" if self._begun else ""
            message = f"{error}: the same command goes on{where}"
            if self._processes.is_first or error.is_first:
                say(message)
            return self._failed(message, TRY_AGAIN)
        if isinstance(error, TrainingDiverged | TrainingOutOfMemory | LoraNotWrittenError):
            code = FAILED
        elif isinstance(error, ProcessFailed | ValueError | ImportError | OSError):
            code = FAILED if self._begun else CANNOT_START
        else:
            self._failed(str(error) or type(error).__name__, FAILED)
            return None
        self._say(str(error))
        return self._failed(str(error), self._task.code_of(error, code))

    def _failed(self, message: str, code: int) -> int:
        self._events.stopped(message, code)
        return code

    def _say(self, text: str) -> None:
        if self._processes.is_first:
            say(text)

    def _trained(self) -> "Finished | None":
        if self._place is not None:
            self._processes = join(self._place, self._check)
        try:
            with self._processes.ending():
                return train(
                    self._task.config(),
                    self._programs,
                    self._check,
                    self._begun.append,
                    self._processes,
                    self._take_device,
                    self._events,
                    self._load,
                )
        finally:
            self._processes.close()

    def _take_device(self) -> None:
        if self._place is not None:
            take_device(self._place)

    def _check(self) -> None:
        """Raise StopTraining once a signal was received."""
        self._signals.check()
        if self._place is not None:
            self._place.check()


@dataclass(frozen=True)
class Finished:
    """A training that came to its end.

    Attributes:
        rows: one for each region, as plain values.
        is_worse: it made worse what it trained on.
    """

    lora: Path
    rows: list[dict[str, Any]]
    is_worse: bool


def train(
    config: TrainConfig,
    programs: Programs,
    check: Callable[[], None],
    on_begin: Callable[[Path], None],
    processes: Processes,
    take_device: Callable[[], None],
    events: EventWriter,
    load: Callable[[ModelSettings], Any] | None,
) -> Finished | None:
    """Train as a config says; None of all processes but the first, which alone writes the LoRA.

    Everything that can be checked without ComfyUI, which takes its time to load, is checked before.

    Args:
        programs: as the command line says; what it leaves open, the config does.
        check: called before each pass through the model; what it raises ends the training.
        on_begin: told of the run's folder before the first step.
        processes: that make the LoRA together.
        take_device: called before the device is chosen, where that is not the CPU.
        events: tell of the training, but for its end.
        load: gives the MODEL of a file; None: it is loaded.

    Raises:
        ValueError, ImportError, OSError: it cannot start; the message says why.
        StopTraining: a signal ended it.
        TrainingDiverged, TrainingOutOfMemory: it failed on the way.
    """
    if config.ignored:
        foreign = f"keys of another trainer that mean nothing here: {', '.join(config.ignored)}"
        logging.info(foreign)
        events.note("foreign_keys", foreign, keys=", ".join(config.ignored))
    folder = find_comfyui(programs.comfyui, config.model.comfyui)
    check_model_file(config.model)
    inputs = read_inputs(config)
    config = config.for_pictures(inputs.dataset.times)
    make_folder(config.run.output)
    if config.model.device != "cpu":
        take_device()
    import_comfyui(folder, config.model.device, config.model.arguments, programs.packs)
    check()
    from ..comfy.headless_training import train_headless

    told = (TrainingTold if processes.is_first else NothingTold)(events, on_begin, check)
    trained = train_headless(config, inputs, told, processes, load or load_model)
    if trained is None:
        return None
    rows = [dataclasses.asdict(row) for row in summary_rows(trained.history)]
    return Finished(trained.lora, rows, told.is_worse)
