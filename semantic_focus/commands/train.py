"""The command "train": a whole training from a config.toml."""

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..comfy.headless import LoraNotWrittenError, check_model_file, find_comfyui, import_comfyui
from ..datasets.cached_latents import TrainingInputs, load_conditioning, load_dataset
from ..datasets.cached_scenes import load_scenes
from ..files.writing import make_folder
from ..lora.file import load_lora
from ..settings.training import load_config
from ..training.processes import Processes, ProcessFailed, ProcessLost, StopTraining
from ..training.progress import ProgressLines
from ..training.run import RunOptions
from ..training.shortage import TrainingOutOfMemory
from ..training.trainer import TrainingDiverged
from .config import add_config_arguments
from .joining import Place, join, place_of, take_device
from .outcome import CANNOT_START, FAILED, SUCCESS, TRY_AGAIN, CannotStartError, answer, say
from .starting import run_processes
from .stop_signals import NOTED, StopSignals, exit_code_of

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
        if place is not None:
            raise CannotStartError(
                f"--processes {options.processes}: this is one of {place.size} processes already, do without"
            )
        comfyui = [] if options.comfyui is None else ["--comfyui", str(options.comfyui)]
        return run_processes(options.processes, ["train", str(options.config), *comfyui])
    is_first = place is None or place.rank == 0
    logging.getLogger().setLevel(logging.INFO if is_first else logging.ERROR)
    with StopSignals(NOTED if is_first else None) as signals:
        return _Run(options, place, signals).exit_code()


class _Run:
    """One process of a training, from beginning to end."""

    def __init__(self, options: argparse.Namespace, place: Place | None, signals: StopSignals):
        self._options, self._place, self._signals = options, place, signals
        self._processes = Processes()
        self._begun: list[Path] = []

    def exit_code(self) -> int:
        """Train; what becomes of an error is said by the first process."""
        try:
            path = self._trained()
        except StopTraining as stop:
            self._say(f"stopped by {stop}: the same command goes on")
            return self._signals.exit_code or exit_code_of(stop)
        except ProcessLost as error:
            where = f" from the last state in {self._begun[0]}" if self._begun else ""
            if self._processes.is_first or error.is_first:
                say(f"{error}: the same command goes on{where}")
            return TRY_AGAIN
        except (TrainingDiverged, TrainingOutOfMemory, LoraNotWrittenError) as error:
            self._say(str(error))
            return FAILED
        except (ProcessFailed, ValueError, ImportError, OSError) as error:
            self._say(str(error))
            return FAILED if self._begun else CANNOT_START
        if path is not None:
            answer(str(path))
        return SUCCESS

    def _say(self, text: str) -> None:
        if self._processes.is_first:
            say(text)

    def _trained(self) -> Path | None:
        if self._place is not None:
            self._processes = join(self._place, self._check)
        try:
            with self._processes.ending():
                return train(
                    self._options.config,
                    self._options.comfyui,
                    self._check,
                    self._begun.append,
                    self._processes,
                    self._take_device,
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


def train(
    path: Path,
    comfyui: Path | None,
    check: Callable[[], None],
    on_begin: Callable[[Path], None],
    processes: Processes,
    take_device: Callable[[], None],
) -> Path | None:
    """Train as a config says; the path of the LoRA, which the first of several processes writes.

    Everything that can be checked without ComfyUI, which takes its time to load, is checked before.

    Args:
        check: called before each pass through the model; what it raises ends the training.
        on_begin: told of the run's folder before the first step.
        processes: that make the LoRA together.
        take_device: called before the device is chosen, where that is not the CPU.

    Raises:
        ValueError, ImportError, OSError: it cannot start; the message says why.
        StopTraining: a signal ended it.
        TrainingDiverged, TrainingOutOfMemory: it failed on the way.
    """
    config = load_config(path)
    if config.ignored:
        logging.info(f"{path}: keys of another trainer that mean nothing here: {', '.join(config.ignored)}")
    folder = find_comfyui(comfyui, config.model.comfyui)
    check_model_file(config.model.path)
    inputs = TrainingInputs(
        load_dataset(config.sources),
        load_conditioning(config.empty_prompt) if config.empty_prompt else None,
        load_lora(config.lora.continue_from) if config.lora.continue_from else None,
        load_lora(config.model.training_adapter) if config.model.training_adapter else None,
    )
    scenes = config.scenes.of(load_scenes(config.scenes.source)) if config.scenes else None
    config = config.for_pictures(inputs.dataset.repeats)
    make_folder(config.run.output)
    if config.model.device != "cpu":
        take_device()
    import_comfyui(folder, config.model.device)
    check()
    from ..comfy.headless_training import train_headless

    def options_of(steps: int) -> RunOptions:
        if not processes.is_first:
            return RunOptions(on_begin=lambda folder, history: on_begin(folder), check=check)
        lines = ProgressLines(steps)
        return RunOptions(
            save_every=config.run.save_every,
            on_begin=lambda folder, history: on_begin(folder),
            on_step=lambda record: say(*lines.after(record)),
            check=check,
            on_kept=lambda kept: say(str(kept)),
            on_verdict=lambda verdict: say(*(remark.text for remark in verdict.remarks)),
        )

    return train_headless(config, inputs, options_of, scenes, processes)
