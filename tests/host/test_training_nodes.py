"""The nodes around LoRA Train Step over HTTP: stopping and going on, options, samples, reports, files."""

import copy
import io
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, dict[str, Any]]

WEIGHTS = {"face": 1.0, "body": 0.3, "clothing": 0.0, "hair": 0.6, "background": 0.0, "lighting": 0.0}
"""Of the preset that the shared workflow uses."""

OPTIONS = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "warmup": 0,
    "schedule_steps": 0,
    "max_grad_norm": 1.0,
    "accumulation": 1,
    "up_rate_ratio": 1.0,
    "ema_decay": 0.0,
    "caption_dropout": 0.0,
}
"""Training Options as they come, without a warmup."""


@pytest.fixture(scope="module")
def dataset(make_dataset: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of one woman; one for all tests, so that ComfyUI segments them once."""
    return make_dataset(tmp_path_factory.mktemp("pictures") / "astronaut")


@pytest.fixture
def graph(shared_workflow: Graph, dataset: Path) -> Graph:
    """The shared workflow up to the saved LoRA: node 9 trains, 10 saves."""
    graph = copy.deepcopy({node: shared_workflow[node] for node in map(str, range(1, 11))})
    graph["2"]["inputs"]["folder"] = str(dataset)
    return graph


@pytest.fixture
def run_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test's training has."""
    return request.node.name.split("[")[0].removeprefix("test_")


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node in API form."""
    return {"class_type": class_type, "inputs": inputs}


def run_folder(server: "ComfyServer", name: str) -> Path:
    return server.base_directory / "output" / "semantic_focus" / name


def train(server: "ComfyServer", graph: Graph, name: str, **inputs: Any) -> tuple[Path, dict[str, Any]]:
    """Run the graph with these inputs of LoRA Train Step: the run's folder, what the nodes show."""
    graph["9"]["inputs"].update(inputs, run_name=name)
    shown = server.run(graph, timeout=60)["outputs"]
    return run_folder(server, name), shown


def lora_of(folder: Path, step: int = 3) -> dict[str, torch.Tensor]:
    return load_file(folder / f"lora_{step:06}.safetensors")


def header_of(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def curves(folder: Path) -> list[dict[str, Any]]:
    file = folder / "curves.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def picture(server: "ComfyServer", reference: dict[str, str]) -> Image.Image:
    return Image.open(io.BytesIO(server.view(reference)))


def pixels(image: Image.Image) -> np.ndarray:
    """Int[H, W, 3]."""
    return np.asarray(image.convert("RGB")).astype(int)


def failure(server: "ComfyServer", comfy: ModuleType, graph: Graph) -> str:
    """What the graph fails with."""
    with pytest.raises(comfy.PromptFailed) as caught:
        server.run(graph, timeout=60)
    return caught.value.exception


def test_every_choice_of_every_node_has_options(server: "ComfyServer", comfy: ModuleType):
    """Except the lists of files, of which there may be none."""
    ours = {
        name: info
        for name, info in server.object_info().items()
        if info["python_module"].endswith(comfy.PACK) and name.startswith("SemanticFocus")
    }
    assert {
        "SemanticFocusTrain",
        "SemanticFocusLoadTrainState",
        "SemanticFocusTrainingOptions",
        "SemanticFocusPreviewOptions",
        "SemanticFocusTimesteps",
        "SemanticFocusAdapterOptions",
        "SemanticFocusObjectiveOptions",
        "SemanticFocusDryRun",
        "SemanticFocusLossReport",
        "SemanticFocusLoadLoRA",
        "SemanticFocusSaveLoRA",
    } <= set(ours)
    for name, info in ours.items():
        for inputs in info["input"].values():
            for key, (kind, *rest) in inputs.items():
                options = kind if isinstance(kind, list) else rest[0]["options"] if kind == "COMBO" else [""]
                assert options or key == "lora_name", f"{name}: {key}"


@pytest.fixture(scope="module")
def plain(server: "ComfyServer", shared_workflow: Graph, dataset: Path) -> Path:
    """The run of three steps that others are compared with."""
    graph = copy.deepcopy({node: shared_workflow[node] for node in map(str, range(1, 11))})
    graph["2"]["inputs"]["folder"] = str(dataset)
    return train(server, graph, "plain")[0]


@pytest.fixture(scope="module")
def saved(server: "ComfyServer", plain: Path) -> Iterator[str]:
    """The LoRA of that run as a file that Load LoRA File offers."""
    folder = server.base_directory / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(plain / "lora_000003.safetensors", folder / "plain.safetensors")
    yield "plain.safetensors"
    (folder / "plain.safetensors").unlink()


def test_three_steps_and_three_more_are_six(server: "ComfyServer", graph: Graph, run_name: str):
    graph["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "schedule_steps": 6})
    whole, _ = train(server, graph, f"{run_name}_whole", steps=6, options=["options", 0])

    graph["next"] = copy.deepcopy(graph["9"])
    graph["next"]["inputs"].update(steps=3, run_name=f"{run_name}_b", train_state=["9", 3])
    graph["10"]["inputs"].update(lora=["next", 0], steps=["next", 2], prefix=f"loras/{run_name}")
    first, _ = train(server, graph, f"{run_name}_a", steps=3)
    second = run_folder(server, f"{run_name}_b")
    assert [line["step"] for line in curves(first)] == [1, 2, 3]
    assert [line["step"] for line in curves(second)] == [4, 5, 6]
    assert same(lora_of(second, 6), lora_of(whole, 6))
    assert not same(lora_of(second, 6), lora_of(first, 3))
    saved = list((server.base_directory / "output" / "loras").glob(f"{run_name}_6_steps_*.safetensors"))
    assert len(saved) == 1 and same(load_file(saved[0]), lora_of(whole, 6))

    graph["loaded"] = node("SemanticFocusLoadTrainState", path=f"semantic_focus/{run_name}_a")
    graph["shown"] = node("PreviewAny", source=["loaded", 1])
    del graph["next"]
    graph["10"]["inputs"].update(lora=["9", 0], steps=["9", 2])
    from_disk, shown = train(server, graph, f"{run_name}_c", steps=3, train_state=["loaded", 0])
    assert shown["shown"]["text"] == ["3"]
    assert same(lora_of(from_disk, 6), lora_of(whole, 6))


def test_a_state_for_another_rank_says_what_does_not_fit(
    server: "ComfyServer", comfy: ModuleType, graph: Graph, plain: Path, run_name: str
):
    graph["loaded"] = node("SemanticFocusLoadTrainState", path=str(plain))
    graph["9"]["inputs"].update(rank=8, train_state=["loaded", 0], run_name=run_name)
    message = failure(server, comfy, graph)
    assert "[4, " in message and "needs [8, " in message and "another rank" in message


def test_a_folder_without_a_state_is_named(server: "ComfyServer", comfy: ModuleType, graph: Graph):
    (server.base_directory / "output" / "empty").mkdir(exist_ok=True)
    graph["loaded"] = node("SemanticFocusLoadTrainState", path="empty")
    graph["9"]["inputs"]["train_state"] = ["loaded", 0]
    message = failure(server, comfy, graph)
    assert str(server.base_directory / "output" / "empty") in message and "no training state" in message


@pytest.fixture
def preview() -> dict[str, Any]:
    """Samples in every step, one for each caption, decoded."""
    return node(
        "SemanticFocusPreviewOptions",
        positive=["7", 0],
        negative=["7", 0],
        every=1,
        steps=2,
        cfg=2.0,
        seed=5,
        sampler="euler",
        scheduler="simple",
        with_training_adapter=False,
        vae=["1", 2],
    )


@pytest.mark.parametrize("with_vae", [True, False])
def test_samples_on_the_way_do_not_change_the_training(
    server: "ComfyServer", graph: Graph, plain: Path, preview: dict[str, Any], with_vae: bool
):
    """Not even with a sampler that draws noise."""
    preview["inputs"]["sampler"] = "euler_ancestral"
    if not with_vae:
        del preview["inputs"]["vae"]
    graph["preview"] = preview
    folder, _ = train(server, graph, f"samples_{with_vae}", preview=["preview", 0])
    side = 128 if with_vae else 16  # a latent cell is 8 pixels
    rounds = [Image.open(folder / "previews" / f"step_00000{step}.png") for step in (1, 2, 3)]
    assert [image.size for image in rounds] == [(2 * side, side)] * 3
    assert rounds[0].tobytes() != rounds[2].tobytes()
    with Image.open(folder / "previews" / "grid.png") as grid:
        assert grid.width == 2 * side and grid.height > 3 * side
    assert same(lora_of(folder), lora_of(plain))


def test_a_sample_is_what_cores_sampler_paints_with_the_lora(
    server: "ComfyServer", graph: Graph, preview: dict[str, Any], run_name: str
):
    """To rounding: the LoRA acts on activations there, on weights here."""
    graph["preview"] = preview
    graph["loaded"] = node("LoraModelLoader", model=["1", 0], lora=["9", 0], strength_model=1.0, bypass=False)
    graph["latent"] = node("EmptySD3LatentImage", width=128, height=128, batch_size=1)
    graph["sampled"] = node(
        "KSampler",
        model=["loaded", 0],
        positive=["7", 0],
        negative=["7", 0],
        latent_image=["latent", 0],
        sampler_name="euler",
        denoise=1.0,
        **{name: preview["inputs"][name] for name in ("seed", "steps", "cfg", "scheduler")},
    )
    graph["decoded"] = node("VAEDecode", samples=["sampled", 0], vae=["1", 2])
    graph["shown"] = node("PreviewImage", images=["decoded", 0])
    folder, shown = train(server, graph, run_name, preview=["preview", 0], learning_rate=0.05)
    expected = np.hstack([pixels(picture(server, image)) for image in shown["shown"]["images"]])
    first, last = (pixels(Image.open(folder / "previews" / f"step_00000{step}.png")) for step in (1, 3))
    assert np.abs(last - expected).max() <= 2
    assert np.abs(first - expected).max() > 8


def test_a_cancel_while_a_sample_is_made_loses_nothing(
    server: "ComfyServer",
    comfy: ModuleType,
    graph: Graph,
    plain: Path,
    preview: dict[str, Any],
    eventually: Callable[..., Any],
    run_name: str,
):
    preview["inputs"].update(every=2, steps=200)
    graph["preview"] = preview
    graph["9"]["inputs"].update(preview=["preview", 0], run_name=run_name)
    folder = run_folder(server, run_name)
    prompt = server.queue(graph)
    eventually(lambda: len(curves(folder)) == 2, 60)
    server.interrupt()
    with pytest.raises(comfy.PromptInterrupted):
        server.wait(prompt, timeout=20)
    assert (folder / "state_000002.safetensors").is_file() and not (folder / "previews").exists()
    del graph["preview"], graph["9"]["inputs"]["preview"]
    train(server, graph, run_name)
    assert same(lora_of(folder), lora_of(plain))


def test_the_dry_run_shows_that_the_masks_are_used(server: "ComfyServer", graph: Graph):
    graph["dry"] = node(
        "SemanticFocusDryRun",
        **{name: graph["9"]["inputs"][name] for name in ("model", "latents", "conditioning", "latent_masks")},
        objective=["8", 0],
        noise_position=0.5,
    )
    graph["heat"] = node("PreviewImage", images=["dry", 1])
    del graph["9"], graph["10"]
    shown = server.run(graph, timeout=60)["outputs"]
    report = shown["dry"]["text"][0]
    assert "The masks are used: no gradient outside the trained regions." in report
    rows = {line.split()[0]: line.split()[1:] for line in report.splitlines()[1:-1]}
    assert {name: float(row[0]) for name, row in rows.items()} == {**WEIGHTS, "residual": 0.1}
    cover, gradient = (
        {name: float(row[column].rstrip("%")) for name, row in rows.items()} for column in (2, 3)
    )
    assert cover["face"] < 10 and gradient["face"] > 50
    # not 0: the edges of regions are soft
    assert cover["clothing"] + cover["background"] > 80
    assert gradient["clothing"] + gradient["background"] < 10
    pictures = [picture(server, reference) for reference in shown["heat"]["images"]]
    assert [image.size for image in pictures] == [(128, 128), (112, 144)]
    assert all(image.convert("L").getextrema() == (0, 255) for image in pictures)


def test_the_loss_report_shows_a_plot_and_the_errors_by_noise_level(
    server: "ComfyServer", graph: Graph, run_name: str
):
    graph["report"] = node("SemanticFocusLossReport", loss_map=["9", 1], smoothing=0.5)
    folder, shown = train(server, graph, run_name)
    assert picture(server, shown["report"]["images"][0]).width > 300
    head, *rows = shown["report"]["text"][0].splitlines()
    fifths = {min(int(sample["position"] * 5), 4) for line in curves(folder) for sample in line["samples"]}
    assert head.split()[2:] == [
        f"{low:g}-{high:g}" for low, high in ((k / 5, (k + 1) / 5) for k in sorted(fifths))
    ]
    assert {row.split()[0] for row in rows} <= {*WEIGHTS, "residual"}
    assert next(row for row in rows if row.startswith("face")).split()[1:]


def test_the_options_reach_the_training_and_the_file(server: "ComfyServer", graph: Graph, run_name: str):
    graph["objective"] = node(
        "SemanticFocusObjectiveOptions",
        objective=["8", 0],
        base_weight=0.5,
        base_loss="huber",
        base_mask_floor=0.1,
        cosine="pixel",
        normalise="fixed",
        area_shrinkage=4.0,
        snr_gamma=5.0,
        prior_every=2,
        windows="face: 0 .. 0.95",
    )
    graph["timesteps"] = node(
        "SemanticFocusTimesteps",
        kind="model_anchors",
        model=["1", 0],
        steps=4,
        scheduler="simple",
        mean=0.0,
        std=1.0,
        shift=3.0,
        jitter=0.001,
        low=0.0,
        high=1.0,
    )
    graph["adapter"] = node(
        "SemanticFocusAdapterOptions",
        kind="lokr",
        rank=2,
        alpha=2.0,
        dropout=0.1,
        factor=4,
        include="",
        exclude="mlp",
    )
    graph["options"] = node(
        "SemanticFocusTrainingOptions",
        **{**OPTIONS, "accumulation": 2, "up_rate_ratio": 4.0, "ema_decay": 0.5},
    )
    folder, _ = train(
        server,
        graph,
        run_name,
        objective=["objective", 0],
        timestep_options=["timesteps", 0],
        adapter=["adapter", 0],
        options=["options", 0],
    )
    lora = folder / "lora_000003.safetensors"
    keys = load_file(lora).keys()
    assert all(key.endswith(".alpha") or ".lokr_w" in key for key in keys)
    assert keys and not any(".mlp." in key for key in keys)
    # four steps of SD3, whose shift is 3: 3t / (1 + 2t) at t = 1, 0.75, 0.5, 0.25
    anchors = torch.tensor([1.0, 0.9, 0.75, 0.5])
    positions = [sample["position"] for line in curves(folder) for sample in line["samples"]]
    assert len(positions) == 3 * 2
    assert all((anchors - position).abs().min() < 0.01 for position in positions)
    settings = json.loads(header_of(lora)["semantic_focus.settings"])
    assert settings["objective"]["base_loss"] == "huber" and settings["objective"]["prior_every"] == 2
    assert settings["training"]["timesteps"]["anchors"] == pytest.approx(anchors.tolist(), abs=2e-3)
    assert settings["adapters"]["kind"] == "lokr" and settings["training"]["ema_decay"] == 0.5
    assert [line["prior"] is None for line in curves(folder)] == [False, True, False]


def test_model_anchors_without_the_model_say_so(server: "ComfyServer", comfy: ModuleType, graph: Graph):
    graph["timesteps"] = node(
        "SemanticFocusTimesteps",
        kind="model_anchors",
        mean=0.0,
        std=1.0,
        shift=3.0,
        jitter=0.02,
        low=0.0,
        high=1.0,
    )
    graph["9"]["inputs"]["timestep_options"] = ["timesteps", 0]
    assert "connect it" in failure(server, comfy, graph)


def test_a_lora_is_saved_in_three_key_styles_with_how_it_was_trained(
    server: "ComfyServer", graph: Graph, run_name: str
):
    styles = {"comfyui": "diffusion_model.", "kohya": "lora_", "diffusers": "transformer."}
    for style in styles:
        graph[style] = node(
            "SemanticFocusSaveLoRA",
            lora=["9", 0],
            model=["1", 0],
            filename_prefix=f"loras/{run_name}_{style}",
            key_style=style,
            dtype="bf16",
            train_state=["9", 3],
        )
    folder, shown = train(server, graph, run_name)
    run = json.loads((folder / "run.json").read_text())["identity"]
    for style, prefix in styles.items():
        file = Path(shown[style]["text"][0])
        assert file.parent == server.base_directory / "output" / "loras"
        tensors, header = load_file(file), header_of(file)
        assert tensors and all(key.startswith(prefix) for key in tensors)
        assert {tensor.dtype for key, tensor in tensors.items() if "alpha" not in key} == {torch.bfloat16}
        assert header["semantic_focus.key_style"] == style
        assert json.loads(header["semantic_focus.region_weights"]) == WEIGHTS
        assert header["semantic_focus.steps"] == header["ss_steps"] == "3"
        assert header["semantic_focus.dataset"] == run["data"]
        assert header["semantic_focus.base_model"] == run["model"]
        assert header["ss_sd_model_name"] == "stand_in"


def test_a_lora_in_kohyas_keys_is_compared_as_the_same_lora(
    server: "ComfyServer", graph: Graph, run_name: str
):
    compare = node(
        "SemanticFocusCompare",
        lora=["9", 0],
        **{name: graph["9"]["inputs"][name] for name in ("model", "latents", "conditioning", "latent_masks")},
    )
    graph["compare"] = compare
    graph["saved"] = node(
        "SemanticFocusSaveLoRA",
        lora=["9", 0],
        model=["1", 0],
        filename_prefix=f"loras/{run_name}",
        key_style="kohya",
    )
    _, shown = train(server, graph, run_name, learning_rate=0.05)
    loras = server.base_directory / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    shutil.copy(shown["saved"]["text"][0], loras / "kohya.safetensors")
    compare["inputs"]["lora"] = ["file", 0]
    graph["file"] = node("SemanticFocusLoadLoRA", lora_name="kohya.safetensors")
    for name in ("9", "10", "saved"):
        del graph[name]
    from_file = server.run(graph, timeout=60)["outputs"]
    rows = json.loads(shown["compare"]["semantic_focus_report"][0])
    assert {row["region"] for row in rows} >= {"face", "hair", "background"}
    assert json.loads(from_file["compare"]["semantic_focus_report"][0]) == rows


def test_a_saved_lora_is_trained_on(
    server: "ComfyServer", graph: Graph, plain: Path, saved: str, run_name: str
):
    """One step of Adam moves no value by more than about the learning rate."""
    graph["file"] = node("SemanticFocusLoadLoRA", lora_name=saved)
    folder, _ = train(
        server,
        graph,
        run_name,
        start_from=["file", 0],
        steps=1,
        learning_rate=1e-5,
        rank=64,
        lr_schedule="constant",
    )
    before, after = lora_of(plain), lora_of(folder, 1)
    assert before.keys() == after.keys() and not same(before, after)
    assert max((before[key] - after[key]).abs().max().item() for key in before) < 1.1e-5


def test_a_lora_that_a_training_kept_can_be_chosen(server: "ComfyServer", plain: Path):
    kept = max(plain.glob("lora_*.safetensors"))
    graph = {
        "load": node("SemanticFocusLoadLoRA", lora_name=f"semantic_focus/{plain.name}/{kept.name}"),
        "name": node("PreviewAny", source=["load", 1]),
    }
    assert server.run(graph)["outputs"]["name"]["text"] == [f"{plain.name}_{kept.stem}"]


def test_a_training_adapter_acts_while_training_and_is_gone_afterwards(
    server: "ComfyServer", graph: Graph, plain: Path, saved: str, preview: dict[str, Any], run_name: str
):
    """Samples without it, on the way, do not disturb it."""
    graph["file"] = node("SemanticFocusLoadLoRA", lora_name=saved)
    with_adapter, _ = train(server, graph, run_name, training_adapter=["file", 0])
    graph["preview"] = preview
    with_samples, _ = train(server, graph, f"{run_name}_samples", preview=["preview", 0])
    assert same(lora_of(with_samples), lora_of(with_adapter))
    for name in ("training_adapter", "preview"):
        del graph["9"]["inputs"][name]
    del graph["preview"], graph["file"]
    after, _ = train(server, graph, f"{run_name}_after")
    assert not same(lora_of(with_adapter), lora_of(plain))
    assert same(lora_of(after), lora_of(plain))


def test_caption_dropout_needs_the_empty_prompt(
    server: "ComfyServer", comfy: ModuleType, graph: Graph, run_name: str
):
    """Said before the first step, however rare the empty prompt is."""
    graph["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "caption_dropout": 0.01})
    graph["9"]["inputs"].update(options=["options", 0], run_name=run_name)
    message = failure(server, comfy, graph)
    assert "caption_dropout is 0.01" in message and "empty_prompt" in message
    assert not run_folder(server, run_name).exists()
    graph["empty"] = node("CLIPTextEncode", text="", clip=["1", 1])
    folder, _ = train(server, graph, run_name, empty_prompt=["empty", 0])
    assert len(curves(folder)) == 3


def test_a_distilled_model_is_warned_of(
    server: "ComfyServer", graph: Graph, stand_in_model: Path, run_name: str
):
    turbo = "stand_in_turbo.safetensors"
    (server.base_directory / "models" / "diffusion_models" / turbo).symlink_to(stand_in_model)
    graph["1"]["inputs"]["model_file"] = turbo
    assert "distilled" not in server.log.read_text()
    train(server, graph, run_name)
    assert f"LoRA training: {turbo} seems to be a distilled model" in server.log.read_text()


def test_a_weight_of_what_no_mask_is_called_is_told_of(server: "ComfyServer", graph: Graph, run_name: str):
    graph["8"]["inputs"]["more_weights"] = "tattoo: 0.8\nscar: 0"
    _, shown = train(server, graph, run_name)
    (report,) = shown["9"]["semantic_focus_training"]
    (note,) = (note for note in report["notes"] if note["kind"] == "no_mask")
    assert note["values"] == {"regions": "tattoo"}
    assert "no mask is called tattoo: that weight trains nothing" in note["text"]


@pytest.mark.parametrize("name", ["people/anna", "..", "  "])
def test_a_run_name_is_a_plain_folder_name(server: "ComfyServer", comfy: ModuleType, graph: Graph, name: str):
    graph["9"]["inputs"]["run_name"] = name
    message = failure(server, comfy, graph)
    assert repr(name) in message and "plain folder name" in message


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_the_state_and_ends_the_server(
    start_server: "Callable[..., ComfyServer]",
    graph: Graph,
    eventually: Callable[..., Any],
    number: signal.Signals,
):
    with start_server() as server:
        graph["9"]["inputs"].update(steps=100_000, save_every=0, run_name="signalled")
        folder = run_folder(server, "signalled")
        server.queue(graph)
        eventually(lambda: len(curves(folder)) >= 2, 60)
        server._process.send_signal(number)
        status = server._process.wait(20)
    steps = len(curves(folder))
    states = [file.name for file in folder.glob("*.safetensors")]
    assert sorted(states) == [f"lora_{steps:06}.safetensors", f"state_{steps:06}.safetensors"]
    assert f"Training stopped at step {steps} ({number.name})" in server.log.read_text()
    # SIGINT is Ctrl+C, which ComfyUI answers itself
    assert status == -number if number == signal.SIGTERM else "Stopped server" in server.log.read_text()
