"""What is answered to wrong values over /prompt, at every input of every node of this pack.

    python -m benchmarks.wrong_inputs [--small] [--list]

The cases are made from what the server says of its nodes (/object_info), so that a new node is tried by
itself. A value is typed, or comes by a link from one of ComfyUI's own nodes. A prompt is refused at once, or
fails when the node runs; either answer has to be a sentence, and no error of Python's. What is taken (a null
for an input that may be left out, any text for a caption) is counted apart.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, dict[str, Any]]

REFUSED, FAILED, TAKEN, BARE, LATE = "refused", "failed", "taken", "bare Python error", "no answer"
"""What comes of a case: before anything ran, when the node ran, accepted, and what must not be."""

PATIENCE = 60.0
"""Seconds without any answer after which the rest is given up."""

TRIED, SHOWS = "tried", "shows"
"""Ids of the node with the wrong value, and of one that makes ComfyUI run it."""

LEAVE_OUT = object()
"""In place of a value: the input is missing."""

PYTHONS_OWN = re.compile(
    r"has no attribute|unsupported operand|not subscriptable|not iterable|not callable|unhashable"
    r"|positional argument|unexpected keyword|out of range|out of bounds|invalid literal|could not convert"
    r"|object is not|argument must be|must be (str|real)|NoneType|\[Errno|embedded null|codec can't"
    r"|maximum recursion|expected str|indices must|[A-Za-z]+Error\b|not supported between|^'[^']*'$"
)
"""Words of errors that nobody wrote for a user."""


@dataclass(frozen=True)
class Case:
    """One wrong value: `value` is put into the graph as it is, so that a link is a list."""

    node: str
    input: str
    label: str
    value: Any
    linked: Any = None
    """What a node of ComfyUI's that the link comes from hands on."""


@dataclass(frozen=True)
class Answer:
    """What came of a case, and what was said."""

    case: Case
    outcome: str
    message: str


def providers(model: str, folder: Path) -> Graph:
    """A graph with something of every type that our nodes take, computed once and kept by ComfyUI."""
    return {
        "model": _node("SemanticFocusStandInCheckpoint", model_file=model),
        "image": _node("EmptyImage", width=64, height=64, batch_size=1, color=0x808080),
        "mask": _node("SolidMask", value=1.0, width=64, height=64),
        "latent": _node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "prompt": _node("CLIPTextEncode", text="a woman", clip=["model", 1]),
        "masks": _node("SemanticFocusFromMask", mask=["mask", 0], name="face", merge="one mask per picture"),
        "latent_masks": _node("SemanticFocusMasksToLatent", masks=["masks", 0], latent=["latent", 0]),
        "training": _node(
            "SemanticFocusTrain",
            model=["model", 0],
            latents=["latent", 0],
            conditioning=["prompt", 0],
            latent_masks=["latent_masks", 0],
            objective=["objective", 0],
            **{"steps": 1, "batch_size": 1, "learning_rate": 1e-3, "lr_schedule": "constant", "rank": 1},
            **{"alpha": 1.0, "layers": "attention + feed-forward", "timesteps": "uniform", "seed": 0},
            **{"gradient_checkpointing": False, "run_name": "wrong_inputs"},
        ),
        "objective": _node("SemanticFocusCosineLoss", **_objective()),
        "folder": _node("PrimitiveString", value=str(folder)),
    }


SOURCES = {
    "MODEL": ["model", 0],
    "CLIP": ["model", 1],
    "VAE": ["model", 2],
    "IMAGE": ["image", 0],
    "MASK": ["mask", 0],
    "LATENT": ["latent", 0],
    "CONDITIONING": ["prompt", 0],
    "SEMANTIC_MASKS": ["masks", 0],
    "SEMANTIC_LATENT_MASKS": ["latent_masks", 0],
    "SEMANTIC_OBJECTIVE": ["objective", 0],
    "LORA_MODEL": ["training", 0],
    "LOSS_MAP": ["training", 1],
    "SEMANTIC_TRAIN_STATE": ["training", 3],
}
"""By type: the output of `providers` that has it."""

PRIMITIVES = {
    "INT": "PrimitiveInt",
    "FLOAT": "PrimitiveFloat",
    "STRING": "PrimitiveString",
    "BOOLEAN": "PrimitiveBoolean",
}


QUICK = {
    "SemanticFocusTrain": {"steps": 1, "rank": 1, "save_every": 0},
    "SemanticFocusFit": {"resolution": 64},
}
"""By node: what makes a value that ComfyUI takes for another one cost little."""


def _objective() -> dict[str, Any]:
    regions = ("face", "body", "clothing", "hair", "background", "lighting")
    weights = {f"{region}_weight": 1.0 for region in regions}
    terms = {"cosine_weight": 1.0, "magnitude_weight": 1.0, "prior_weight": 0.0}
    return {"enabled": True, "preset": "custom", **weights, "global_fallback": 1.0, **terms}


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def our_nodes(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the server says of the nodes of this pack, without the stand-ins."""
    return {name: node for name, node in info.items() if node["category"] == "SemanticFocus"}


def inputs_of(node: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any], bool]]:
    """Name, type (a list is a choice), options, whether it is required."""
    for part in ("required", "optional"):
        for name, (kind, *options) in node["input"].get(part, {}).items():
            yield name, kind, (options[0] if options else {}), part == "required"


def right_inputs(node: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the required inputs of a node may be."""
    values: dict[str, Any] = {}
    for name, kind, options, required in inputs_of(node):
        if isinstance(kind, list) or kind == "COMBO":
            choices = kind if isinstance(kind, list) else options["options"]
            value = options.get("default", choices[0] if choices else "")
        elif kind in PRIMITIVES:
            value = options.get("default", str(folder) if kind == "STRING" else 1)
        else:
            value = SOURCES.get(kind)
        if required:
            values[name] = value
    return values | QUICK.get(node["name"], {})


def cases(info: Mapping[str, Any], small: bool) -> list[Case]:
    """All wrong values of all inputs; `small`: those that differ most."""
    found = []
    for node_id, node in our_nodes(info).items():
        for name, kind, options, required in inputs_of(node):
            found += [Case(node_id, name, *wrong) for wrong in _wrong_literals(kind, options, small)]
            found += [Case(node_id, name, *wrong) for wrong in _wrong_links(kind, options, small)]
            if required:
                found.append(Case(node_id, name, "missing", LEAVE_OUT))
    return found


def _wrong_literals(kind: Any, options: Mapping[str, Any], small: bool) -> Iterator[tuple[str, Any]]:
    """Label and value."""
    yield "null", None
    yield "a dict", {"a": 1}
    if kind in ("INT", "FLOAT"):
        yield "a word", "many"
        yield "NaN", float("nan")
        yield "below", options.get("min", 0) - 1
        yield "infinity as text", "Infinity"
        if not small:
            yield "infinity", float("inf")
            yield "NaN as text", "nan"
            yield "above", options.get("max", 1e300) * 2 + 1
            yield "400 digits", 10**400
            yield "empty", ""
        return
    if kind == "STRING":
        yield "a NUL", "a\0b"
        yield "long", "long/" * 2000
        yield "a list of three", [1, 2, 3]
        if not small:
            yield "of no user", "~nobody-here/pictures"
            yield "half a character", "\ud800"
        return
    yield "a number", 7
    if kind != "BOOLEAN":
        yield "a word", "nonsense"
        yield "true", True
    if not small:
        yield "empty", ""
        yield "a list of three", [1, 2, 3]
        yield "a link with a switch", ["model", True]


def _wrong_links(kind: Any, options: Mapping[str, Any], small: bool) -> Iterator[tuple[Any, ...]]:
    """Label, link, and what `linked` hands on."""
    yield "a link to nobody", ["nobody", 0]
    yield "a link to a slot that is not there", ["model", 99]
    if not small:
        yield "an empty link", []
        yield "half a link", ["model"]
        yield "a link with a word", ["model", "first"]
        yield "a link of numbers", [1, 2]
    yield "a link of another type", ["model", 1]
    wrong: dict[str, Any] = {}
    if kind == "FLOAT":
        wrong = {"linked NaN": float("nan"), "linked below": options.get("min", 0) - 1, "linked above": 1e18}
    elif kind == "INT":
        wrong = {"linked below": options.get("min", 0) - 1, "linked above": 2**63 - 1}
    elif kind == "STRING":
        wrong = {"linked NUL": "a\0b", "linked long": "long/" * 2000}
    for label, value in wrong.items():
        if kind == "INT" and options.get("min", -1) - 1 <= value <= options.get("max", 2**64):
            continue
        yield label, ["given", 0], _node(PRIMITIVES[kind], value=value)


def graph_of(case: Case, info: Mapping[str, Any], around: Graph, folder: Path) -> Graph:
    """The graph with a case's value in its node, and a node that shows what that gives."""
    node = info[case.node]
    inputs = right_inputs(node, folder)
    inputs[case.input] = case.value
    if case.value is LEAVE_OUT:
        del inputs[case.input]
    graph = {**around, TRIED: _node(case.node, **inputs)}
    if case.linked is not None:
        graph["given"] = case.linked
    if not node["output_node"]:
        graph[SHOWS] = _node("PreviewAny", source=[TRIED, 0])
    return graph


def answers(
    server: "ComfyServer", model: str, folder: Path, tried: Sequence[Case], info: Mapping[str, Any]
) -> list[Answer]:
    """What the server says to every case; all are sent first, and then waited for."""
    around = providers(model, folder)
    found: list[Answer] = []
    waiting: dict[str, Case] = {}
    for case in tried:
        graph = graph_of(case, info, around, folder)
        targets = [SHOWS if SHOWS in graph else TRIED]
        try:
            said = server._json("/prompt", {"prompt": graph, "partial_execution_targets": targets})
            waiting[said["prompt_id"]] = case
        except urllib.error.HTTPError as error:
            found.append(_refusal(case, error))
    last = time.monotonic()
    while waiting and time.monotonic() < last + PATIENCE:
        for prompt in list(waiting):
            if entry := server._json(f"/history/{prompt}").get(prompt):
                found.append(_result(waiting.pop(prompt), entry))
                last = time.monotonic()
            else:
                time.sleep(0.05)
                break  # they run one after the other
    return found + [Answer(case, LATE, "") for case in waiting.values()]


def _refusal(case: Case, error: urllib.error.HTTPError) -> Answer:
    body = error.read().decode(errors="replace")
    try:
        said = json.loads(body)
        complaints = [item for node in said["node_errors"].values() for item in node["errors"]]
        message = "\n".join(map(_complaint, complaints))
        message = message or f"{said['error']['message']}: {said['error']['details']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(case, BARE, f"HTTP {error.code}: {body[:200]}")
    return Answer(case, BARE if PYTHONS_OWN.search(message) else REFUSED, message)


def _complaint(item: Mapping[str, Any]) -> str:
    bad_link = item["extra_info"].get("received_value") if item["type"] == "bad_linked_input" else None
    said = f"{item['message']}: {item['details']}"
    return f"{said}: {bad_link[0]}" if bad_link and isinstance(bad_link[0], str) else said


def _result(case: Case, entry: Mapping[str, Any]) -> Answer:
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            message = data["exception_message"].strip()
            bare = not message or PYTHONS_OWN.search(message) or data["node_id"] != TRIED
            return Answer(case, BARE if bare else FAILED, f"{data['exception_type']}: {message}")
    return Answer(case, TAKEN, "")


def table(found: Sequence[Answer]) -> str:
    """Outcomes by node, as Markdown."""
    outcomes = (REFUSED, FAILED, TAKEN, BARE, LATE)
    counts = Counter((answer.case.node, answer.outcome) for answer in found)
    names = list(dict.fromkeys(answer.case.node for answer in found))
    lines = ["| node | cases | " + " | ".join(outcomes) + " |", "| --- |" + " ---: |" * (1 + len(outcomes))]
    for name in names:
        each = [counts[name, outcome] for outcome in outcomes]
        lines.append(f"| {name.removeprefix('SemanticFocus')} | {sum(each)} | {' | '.join(map(str, each))} |")
    whole = [sum(counts[name, outcome] for name in names) for outcome in outcomes]
    return "\n".join([*lines, f"| all | {sum(whole)} | {' | '.join(map(str, whole))} |"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: the table; 1 when anything was answered in Python's words, or not at all."""
    from benchmarks.photographs import CHECKOUT
    from host.serve import ComfyServer, comfyui_folder, environment_python

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--small", action="store_true", help="as the tests have it")
    parser.add_argument("--list", action="store_true", help="every case with its answer")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        model = base / "models" / "diffusion_models" / "stand_in.safetensors"
        model.parent.mkdir(parents=True)
        program = [environment_python(), CHECKOUT / "tests" / "stand_in_model.py"]
        subprocess.run([*program, comfyui_folder(), model], check=True)
        (base / "pictures").mkdir()
        with ComfyServer(base, extra_custom_nodes=[CHECKOUT / "host" / "standins"]) as server:
            info = server.object_info()
            found = answers(server, model.name, base / "pictures", cases(info, options.small), info)
    for answer in found:
        if options.list or answer.outcome in (BARE, LATE):
            case = answer.case
            print(f"{case.node}.{case.input}, {case.label}: {answer.outcome}: {answer.message[:300]}")
    print(table(found))
    return any(answer.outcome in (BARE, LATE) for answer in found)


if __name__ == "__main__":
    sys.exit(main())
