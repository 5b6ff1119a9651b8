"""The command "train": a whole training from a config.toml."""

import argparse
import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..comfy.headless import LoraNotWrittenError, check_model_file, find_comfyui, import_comfyui
from ..comfy.headless_inputs import read_inputs
from ..files.writing import make_folder
from ..settings.training import load_config
from ..training.events import EventWriter
from ..training.processes import Processes, ProcessFailed, ProcessLost, StopTraining
from ..training.shortage import TrainingOutOfMemory
from ..training.summary import summary_rows
from ..training.trainer import TrainingDiverged
from .config import Programs, add_config_arguments, add_packs_argument
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

MOST_PROCESSES = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "train"."""
    parser.set_defaults(command_function=run)
    add_config_arguments(parser)
    parser.add_argument(
        "--processes",
        type=_count,
        default=1,
        metavar="N",
        help="as many processes on this machine, one GPU each, which make one LoRA; the same as with one "
        "(default: 1, or what torchrun, accelerate launch or srun has started)",
    )
    add_events_argument(parser)
    add_packs_argument(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f'"{text}": give a number of processes, 1 to {MOST_PROCESSES}')
    return int(text)


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
        return _Run(options, place, signals, events).exit_code()


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


class _Run:
    """One process of a training, from beginning to end."""

    def __init__(
        self, options: argparse.Namespace, place: Place | None, signals: StopSignals, events: EventWriter
    ):
        self._options, self._place, self._signals, self._events = options, place, signals, events
        self._processes = Processes()
        self._begun: list[Path] = []

    def exit_code(self) -> int:
        """Train; what becomes of an error is said by the first process."""
        self._events.opened(config=str(self._options.config), **this_process())
        try:
            path = self._trained()
        except StopTraining as stop:
            self._say(f"stopped by {stop}: the same command goes on")
            code = self._signals.exit_code or exit_code_of(stop)
            self._events.stopped(exit_code=code, reason=str(stop))
            return code
        except ProcessLost as error:
            where = f" from the last state in {self._begun[0]}" if self._begun else ""
            message = f"{error}: the same command goes on{where}"
            if self._processes.is_first or error.is_first:
                say(message)
            return self._failed(message, TRY_AGAIN)
        except (TrainingDiverged, TrainingOutOfMemory, LoraNotWrittenError) as error:
            self._say(str(error))
            return self._failed(str(error), FAILED)
        except (ProcessFailed, ValueError, ImportError, OSError) as error:
            self._say(str(error))
            return self._failed(str(error), FAILED if self._begun else CANNOT_START)
        except BaseException as error:
            self._failed(str(error) or type(error).__name__, FAILED)
            raise
        if path is not None and self._options.events != STANDARD_OUTPUT:
            answer(str(path))
        return SUCCESS

    def _failed(self, message: str, code: int) -> int:
        self._events.stopped(message, code)
        return code

    def _say(self, text: str) -> None:
        if self._processes.is_first:
            say(text)

    def _trained(self) -> Path | None:
        if self._place is not None:
            self._processes = join(self._place, self._check)
        try:
            return train(
                self._options.config,
                Programs.of(self._options),
                self._check,
                self._begun.append,
                self._processes,
                self._take_device,
                self._events,
            )
        except BaseException as error:
            self._processes.ended(error)
            raise
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


def train(
    path: Path,
    programs: Programs,
    check: Callable[[], None],
    on_begin: Callable[[Path], None],
    processes: Processes,
    take_device: Callable[[], None],
    events: EventWriter,
) -> Path | None:
    """Train as a config says; the path of the LoRA, which the first of several processes writes.

    Everything that can be checked without ComfyUI, which takes its time to load, is checked before.

    Args:
        programs: as the command line says; what it leaves open, the config does.
        check: called before each pass through the model; what it raises ends the training.
        on_begin: told of the run's folder before the first step.
        processes: that make the LoRA together.
        take_device: called before the device is chosen, where that is not the CPU.
        events: tell of the training, and of its end where it is trained.

    Raises:
        ValueError, ImportError, OSError: it cannot start; the message says why.
        StopTraining: a signal ended it.
        TrainingDiverged, TrainingOutOfMemory: it failed on the way.
    """
    config = load_config(path)
    if config.ignored:
        foreign = f"{path}: keys of another trainer that mean nothing here: {', '.join(config.ignored)}"
        logging.info(foreign)
        events.note("foreign_keys", foreign, keys=", ".join(config.ignored))
    folder = find_comfyui(programs.comfyui, config.model.comfyui)
    check_model_file(config.model)
    inputs = read_inputs(config)
    config = config.for_pictures(inputs.dataset.repeats)
    make_folder(config.run.output)
    if config.model.device != "cpu":
        take_device()
    import_comfyui(folder, config.model.device, config.model.arguments, programs.packs)
    check()
    from ..comfy.headless_training import train_headless

    told = (TrainingTold if processes.is_first else NothingTold)(events, on_begin, check)
    trained = train_headless(config, inputs, told, processes)
    if trained is None:
        return None
    rows = [dataclasses.asdict(row) for row in summary_rows(trained.history)]
    events.finished(rows, told.is_worse, str(trained.lora))
    return trained.lora
