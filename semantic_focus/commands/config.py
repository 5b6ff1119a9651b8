"""The arguments of the commands that take a config.toml and ComfyUI's code."""

import argparse
from dataclasses import dataclass
from pathlib import Path


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and where ComfyUI is."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="config.toml, see docs/headless.md")
    add_comfyui_argument(parser)


def add_comfyui_argument(parser: argparse.ArgumentParser) -> None:
    """Where ComfyUI is."""
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
        action="append",
        default=[],
        metavar="PATH",
        help="a folder with packs of nodes besides ComfyUI's custom_nodes, for a model that they give; may "
        "be given several times (see docs/jobs.md)",
    )


@dataclass(frozen=True)
class Programs:
    """Whose code is run besides ours, as far as the command line says.

    Attributes:
        comfyui: ComfyUI's folder.
        packs: folders with packs of nodes.
    """

    comfyui: Path | None = None
    packs: tuple[Path, ...] = ()

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Programs":
        """Those of a command line."""
        return cls(options.comfyui, tuple(options.custom_nodes))

    def arguments(self) -> list[str]:
        """As a command line says it."""
        comfyui = [] if self.comfyui is None else ["--comfyui", str(self.comfyui.absolute())]
        packs = (word for folder in self.packs for word in ("--custom-nodes", str(folder.absolute())))
        return [*comfyui, *packs]
