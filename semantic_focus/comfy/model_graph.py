"""The nodes of a graph that give a MODEL, kept in a file and run again in another process.

    {"format": 1, "name": "model.safetensors", "output": ["4", 0], "nodes": {"4": {...}, ...},
     "from": {"UNETLoader": "nodes", ...}, "folders": {"loras": ["/ComfyUI/models/loras"], ...}}

`nodes` are in ComfyUI's API form, `from` says which module or pack each class is of, `folders` where the
files were that the nodes read, besides ComfyUI's own. Programs come from its own folders alone, whatever the
file says. Importing this module imports none of ComfyUI.
"""

import asyncio
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.text import parsed_json, shortened
from ..files.writing import write_text

FORMAT = 1
CORE = "nodes"
PACKS, HOSTED = "custom_nodes.", "comfy_api_nodes."
TRAINERS = ("SemanticFocusTrain", "TrainLoraNode")
"""Nodes whose LoRA is no file: what it was applied to cannot be had again without training it again."""
OF_PROGRAMS = ("custom_nodes", "configs")
"""Kinds of ComfyUI's folders that hold no models."""
KEEPER, EXECUTION = "SemanticFocusKeptModel", "semantic-focus"


class CannotBeRunAgainError(ValueError):
    """A MODEL of nodes that another process cannot run; the message names the node."""


def upstream(prompt: Mapping[str, Any], link: Sequence[Any]) -> dict[str, Any]:
    """The nodes of a graph in ComfyUI's API form that a link's value comes from.

    Raises:
        CannotBeRunAgainError: one of them is not in the graph, or trains.
    """
    needed: dict[str, Any] = {}
    waiting = [str(link[0])]
    while waiting:
        node = waiting.pop()
        if node in needed:
            continue
        if node not in prompt:
            raise CannotBeRunAgainError(
                f"node {node}, from which the model comes, is not in the graph as it was queued: another "
                "process cannot run it. Load the model by a node of the graph"
            )
        kind, inputs = prompt[node]["class_type"], prompt[node].get("inputs", {})
        if kind in TRAINERS:
            raise CannotBeRunAgainError(
                f"the model has a LoRA of node {node} ({kind}), which another process would have to train "
                "again: save that LoRA, and load the file"
            )
        needed[node] = {"class_type": kind, "inputs": inputs}
        waiting += [str(value[0]) for value in inputs.values() if isinstance(value, list) and value]
    return {node: needed[node] for node in prompt if node in needed}


def save_model_graph(path: Path, prompt: Mapping[str, Any], link: Sequence[Any], name: str) -> None:
    """Write the nodes that a link's MODEL comes from. ComfyUI must be running them.

    Args:
        link: of an input, [node, output].
        name: of the file that the model is from.

    Raises:
        CannotBeRunAgainError: as `upstream`, or a node that ComfyUI's company runs on its computers.
    """
    import folder_paths

    nodes = upstream(prompt, link)
    sources = {}
    for kind in dict.fromkeys(node["class_type"] for node in nodes.values()):
        sources[kind] = getattr(classes()[kind], "RELATIVE_PYTHON_MODULE", CORE)
        if sources[kind].startswith(HOSTED):
            raise CannotBeRunAgainError(f"{kind} is run by a service, not here: load the model from a file")
    folders = {
        kind: list(found[0])
        for kind, found in folder_paths.folder_names_and_paths.items()
        if kind not in OF_PROGRAMS
    }
    content = {
        "format": FORMAT,
        "name": name,
        "output": [str(link[0]), link[1]],
        "nodes": nodes,
        "from": sources,
        "folders": folders,
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_model_graph(path: Path) -> dict[str, Any]:
    """What `save_model_graph` has written.

    Raises:
        ValueError: no such file, or another one.
    """
    said = f"[model] path {path}"
    try:
        graph = parsed_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{said}: no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{said}: cannot be read ({error}). Save the job again from the graph") from error
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), dict):
        raise ValueError(
            f"{said}: no graph that the node Save Training Job has written. Give the .safetensors file of "
            "the diffusion model"
        )
    if graph.get("format") != FORMAT:
        found = shortened(graph.get("format"))
        raise ValueError(f"{said}: its format is {found}, this version reads {FORMAT}: update the pack")
    return graph


def run_model_graph(path: Path) -> Any:
    """The MODEL that the nodes give. ComfyUI must have been imported; packs of nodes are loaded as needed.

    Raises:
        ValueError: a node is not there, or fails; the message names it.
    """
    importlib.import_module("utils")  # before `nodes`, which puts a folder first that has another one
    import execution

    graph = read_model_graph(path)
    _add_folders(graph["folders"])
    _load_classes(path, graph["from"])
    kept: list[Any] = []
    classes()[KEEPER] = _keeper(kept)
    prompt = {**graph["nodes"], KEEPER: {"class_type": KEEPER, "inputs": {"model": graph["output"]}}}
    kind: Any = execution.CacheType.CLASSIC
    executor = execution.PromptExecutor(_NoServer(), kind, {"lru": 0, "ram": 0.0})
    try:
        executor.execute(prompt, EXECUTION, {}, [KEEPER])
    finally:
        del classes()[KEEPER]
    if not kept:
        said = next((data for event, data in executor.status_messages if event == "execution_error"), {})
        why = str(said.get("exception_message", "it gives none")).strip()
        raise ValueError(
            f"[model] path {path}: the nodes give no model: {said.get('node_type', 'the last one')} "
            f"(node {said.get('node_id', graph['output'][0])}): {why}"
        )
    return kept[0]


def _nodes() -> Any:
    """ComfyUI's module of this name, not ours."""
    return importlib.import_module(CORE)


def classes() -> dict[str, Any]:
    """ComfyUI's nodes by their ids."""
    return _nodes().NODE_CLASS_MAPPINGS


def _keeper(kept: list[Any]) -> type:
    """A node that puts its MODEL into `kept`."""

    def keep(_self: object, model: Any) -> dict[str, Any]:
        kept.append(model)
        return {}

    inputs = {"required": {"model": ("MODEL",)}}
    attributes = {"FUNCTION": "keep", "RETURN_TYPES": (), "OUTPUT_NODE": True, "CATEGORY": "", "keep": keep}
    return type(KEEPER, (), {**attributes, "INPUT_TYPES": classmethod(lambda cls: inputs)})


def _add_folders(folders: Mapping[str, Sequence[str]]) -> None:
    import folder_paths

    for kind, found in folders.items():
        for folder in found:
            if kind not in OF_PROGRAMS and Path(folder).is_dir():
                folder_paths.add_model_folder_path(kind, folder)


def _load_classes(path: Path, sources: Mapping[str, str]) -> None:
    """Have ComfyUI know these classes.

    Raises:
        ValueError: one is not there, or its pack cannot be loaded.
    """
    known = classes()
    if any(kind not in known and not source.startswith(PACKS) for kind, source in sources.items()):
        asyncio.run(_nodes().init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    for kind, source in sources.items():
        if kind not in known and source.startswith(PACKS):
            _load_pack(path, kind, source.removeprefix(PACKS))
        if kind not in known:
            raise ValueError(
                f"[model] path {path}: this ComfyUI has no node {kind} (of {source}): update it, or save the "
                "job again from a graph that loads the model by other nodes"
            )


def _load_pack(path: Path, kind: str, name: str) -> None:
    import folder_paths
    import server

    if getattr(server.PromptServer, "instance", None) is None:  # packs add routes to it
        server.PromptServer.instance = _NoServer()  # pyright: ignore[reportAttributeAccessIssue]
    pack = next(_places_of_pack(name), None)
    if pack is None or not asyncio.run(_nodes().load_custom_node(str(pack), module_parent="custom_nodes")):
        folders = ", ".join(folder_paths.get_folder_paths("custom_nodes"))
        where = (
            f"it is not in {folders}. Install it, or give the folder of packs with --custom-nodes"
            if pack is None
            else f"{pack} cannot be loaded here"
        )
        raise ValueError(f"[model] path {path}: needs the pack {name} for its node {kind}: {where}")


def _places_of_pack(name: str) -> Iterator[Path]:
    import folder_paths

    for folder in folder_paths.get_folder_paths("custom_nodes"):
        yield from (place for place in (Path(folder, name), Path(folder, f"{name}.py")) if place.exists())


class _NoServer:
    """Stands where ComfyUI has its server: what is registered there, or sent, goes nowhere."""

    client_id = last_node_id = last_prompt_id = None

    def __init__(self):
        from aiohttp import web

        self.routes, self.app = web.RouteTableDef(), web.Application()
        self.supports: list[str] = []
        self.loop = None

    def send_sync(self, *_: Any, **__: Any) -> None:
        """To nobody."""

    def send_progress_text(self, *_: Any, **__: Any) -> None:
        """To nobody."""

    def add_on_prompt_handler(self, *_: Any) -> None:
        """No prompt comes."""
