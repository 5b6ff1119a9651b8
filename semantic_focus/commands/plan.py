"""The command "plan": what a training would take of the device, before anything is loaded."""

import argparse
import logging
import math

from ..comfy.headless import check_model_file, find_comfyui, import_comfyui
from ..datasets.cached_shapes import largest_given, largest_inputs
from ..settings.training import load_config
from ..training.memory import GIB
from .config import add_config_arguments
from .outcome import CANNOT_START, FAILED, SUCCESS, CannotStartError, answer, say

HELP = (
    "Tell how much memory the training of a config.toml takes with each memory setting, how much is free, "
    "and what would make it fit. Only the headers of the model and of the dataset are read. Exit code 1: it "
    "does not fit."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of "plan"."""
    parser.set_defaults(command_function=run)
    add_config_arguments(parser)
    parser.add_argument(
        "--free",
        type=_gibibytes,
        metavar="GIB",
        help="as if so much of the device were free (default: what is free now)",
    )


def _gibibytes(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f'"{text}": give the GiB of the device that are free, 12 say')
    return int(value * GIB)


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 it fits, 1 it does not, 2 cannot start."""
    logging.getLogger().setLevel(logging.WARNING)
    try:
        config = load_config(options.config)
        folder = find_comfyui(options.comfyui, config.model.comfyui)
        check_model_file(config.model)
        if config.model.is_graph:
            raise CannotStartError(
                f"[model] path {config.model.path}: its nodes give the model, so there is no file whose "
                "header could be read. In the graph LoRA Train Step tells what it will take"
            )
        inputs = largest_inputs(config.sources) if config.tensors is None else largest_given(config.tensors)
        import_comfyui(folder, config.model.device, config.model.arguments)
        from ..comfy.headless_plan import plan_headless
        from ..comfy.memory.counted import CannotBeCounted

        try:
            plan = plan_headless(config, inputs, options.free)
        except CannotBeCounted as error:
            say(
                f"{config.model.path}: how much memory it takes cannot be told: {error}. Check that the "
                "dataset's latents and text embeddings come from the VAE and the text encoder of this model"
            )
            return CANNOT_START
    except (ValueError, ImportError, OSError) as error:
        say(str(error))
        return CANNOT_START
    for line in plan.lines():
        answer(line)
    return SUCCESS if plan.verdict.fits else FAILED
