"""The arguments of the commands that take a config.toml and ComfyUI's code."""

import argparse
from pathlib import Path


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and where ComfyUI is."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="config.toml, see docs/headless.md")
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="PATH",
        help="ComfyUI's folder (default: the variable COMFYUI_PATH, else [comfyui] path)",
    )
