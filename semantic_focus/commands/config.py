"""The arguments of the commands that take a config.toml and ComfyUI's code."""

import argparse
from dataclasses import dataclass
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


def add_packs_argument(parser: argparse.ArgumentParser) -> None:
    """Where packs of nodes are."""
    parser.add_argument(
        "--custom-nodes",
        type=Path,
        metavar="PATH",
        help="a folder with packs of nodes besides ComfyUI's custom_nodes, for a model that they give (see "
        "docs/headless.md)",
    )


@dataclass(frozen=True)
class Programs:
    """Whose code is run besides ours, as far as the command line says.

    Attributes:
        comfyui: ComfyUI's folder.
        packs: a folder with packs of nodes.
    """

    comfyui: Path | None = None
    packs: Path | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Programs":
        """Those of a command line."""
        return cls(options.comfyui, options.custom_nodes)

    def arguments(self) -> list[str]:
        """As a command line says it."""
        said = (("--comfyui", self.comfyui), ("--custom-nodes", self.packs))
        return [word for name, folder in said if folder is not None for word in (name, str(folder))]
