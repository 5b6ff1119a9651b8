"""The command "train": a whole training from a config.toml."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from ..comfy.headless import LoraNotWrittenError, check_model_file, find_comfyui, import_comfyui
from ..datasets.cached_latents import TrainingInputs, load_conditioning, load_dataset
from ..datasets.cached_scenes import load_scenes
from ..files.writing import make_folder
from ..lora.file import load_lora
from ..settings.training import load_config
from ..training.progress import ProgressLines
from ..training.run import RunOptions, StopTraining
from ..training.shortage import TrainingOutOfMemory
from ..training.trainer import TrainingDiverged
from .config import add_config_arguments
from .outcome import CANNOT_START, FAILED, SUCCESS, answer, say
from .stop_signals import StopSignals

HELP = (
    "Train a LoRA as a config.toml says, with ComfyUI's model code and without its server. Stopped by "
    "Ctrl+C, SIGTERM or a closed terminal it keeps its state, and the same command goes on from there. The "
    "path of the LoRA goes to standard output, progress to the screen."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "train"."""
    parser.set_defaults(command_function=run)
    add_config_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 trained, 1 failed on the way, 2 cannot start, 128 + n stopped by signal n."""
    logging.getLogger().setLevel(logging.INFO)
    begun: list[Path] = []
    with StopSignals() as signals:
        try:
            path = train(options.config, options.comfyui, signals, begun.append)
        except StopTraining as stop:
            say(f"stopped by {stop}: the same command goes on")
            return signals.exit_code
        except (TrainingDiverged, TrainingOutOfMemory, LoraNotWrittenError) as error:
            say(str(error))
            return FAILED
        except (ValueError, ImportError, OSError) as error:
            say(str(error))
            return FAILED if begun else CANNOT_START
    answer(str(path))
    return SUCCESS


def train(path: Path, comfyui: Path | None, signals: StopSignals, on_begin: Callable[[Path], None]) -> Path:
    """Train as a config says; the path of the LoRA.

    Everything that can be checked without ComfyUI, which takes its time to load, is checked before.

    Args:
        on_begin: told of the run's folder before the first step.

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
    scenes = load_scenes(config.scenes) if config.scenes else None
    config = config.for_pictures(inputs.dataset.repeats)
    make_folder(config.run.output)
    import_comfyui(folder, config.model.device)
    signals.check()
    from ..comfy.headless_training import train_headless

    def options_of(steps: int) -> RunOptions:
        lines = ProgressLines(steps)
        return RunOptions(
            save_every=config.run.save_every,
            on_begin=lambda folder, history: on_begin(folder),
            on_step=lambda record: say(*lines.after(record)),
            check=signals.check,
            on_kept=lambda kept: say(str(kept)),
            on_verdict=lambda verdict: say(*(remark.text for remark in verdict.remarks)),
        )

    return train_headless(config, inputs, options_of, scenes)
