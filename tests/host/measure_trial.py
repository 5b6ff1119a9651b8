"""What test_trial.py asserts, measured inside a ComfyUI: `python measure_trial.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import importlib
import json
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])

import measure_families  # noqa: E402  (sets ComfyUI's options)
import torch  # noqa: E402
from heard import Heard  # noqa: E402
from measure_special_cases import random_lora  # noqa: E402
from tiny_models import FAMILIES, Family, conditioning  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.comfy.request import TrainingRequest  # noqa: E402
from semantic_focus.comfy.training import RunPlace, train_comfy_lora  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.objective.total import Objective  # noqa: E402
from semantic_focus.regions.masks import SemanticMasks  # noqa: E402
from semantic_focus.training.run import RunOptions  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402

SIDE = 16
NAMES = ("a.png", "b.png")
NAN = math.nan
logging.disable(logging.NOTSET)
logging.getLogger().setLevel(logging.INFO)


def core(module: str, node: str, *values: Any) -> Callable[[Any], Any]:
    """A MODEL through one of ComfyUI's own nodes, with its other inputs in order."""

    def patch(patcher: Any) -> Any:
        cls = getattr(importlib.import_module(f"comfy_extras.{module}"), node)
        if hasattr(cls, "FUNCTION"):
            return getattr(cls(), cls.FUNCTION)(patcher, *values)[0]
        made = cls.execute(patcher, *values)
        return made[0] if isinstance(made, tuple) else made.args[0]

    return patch


def own(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A MODEL as a node that nobody knows would change it."""

    def patch(patcher: Any) -> Any:
        patched = patcher.clone()
        change(patched)
        return patched

    return patch


def foreign_wrapper(error: Exception | None) -> Callable[[Any], Any]:
    def around(executor: Any, *arguments: Any, **options: Any) -> Any:
        if error is not None:
            raise error
        return executor(*arguments, **options) * 1.5

    return own(lambda patcher: patcher.add_wrapper_with_key("diffusion_model", "TeaCacheLike", around))


def without_gradient(patcher: Any) -> None:
    """What acceleration packs do that were written for sampling alone."""

    def around(executor: Any, *arguments: Any, **options: Any) -> Any:
        with torch.no_grad():
            return executor(*arguments, **options)

    patcher.add_wrapper_with_key("apply_model", "Accelerated", around)


def foreign_forward(patcher: Any) -> None:
    """A layer's own function replaced: what some attention and compile nodes do."""
    name = next(n for n, m in patcher.model.named_modules() if n.endswith("attn1.to_q"))
    layer = patcher.model.get_submodule(name)
    plain = layer.forward
    patcher.add_object_patch(f"{name}.forward", lambda x, *rest: plain(x) * 2)


def drawing(q: Tensor, k: Tensor, v: Tensor, extra: Any) -> tuple[Tensor, Tensor, Tensor]:
    return q + torch.randn_like(q), k, v


def with_lora(patcher: Any) -> Any:
    import comfy.sd

    lora = random_lora(patcher.model.diffusion_model, 2)
    return comfy.sd.load_lora_for_models(patcher, None, lora, 1.0, 0.0)[0]


def empty_prompt(patcher: Any) -> Any:
    empty = conditioning(FAMILIES["sd15"], 8, 3)
    return core("nodes_perpneg", "PerpNeg", empty, 1.0)(patcher)


PATCHES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "FreeU": ("sd15", core("nodes_freelunch", "FreeU", 1.1, 1.2, 0.9, 0.2)),
    "FreeU_V2": ("sd15", core("nodes_freelunch", "FreeU_V2", 1.3, 1.4, 0.9, 0.2)),
    "TomePatchModel": ("sd15", core("nodes_tomesd", "TomePatchModel", 0.9)),
    "HyperTile": ("sd15", core("nodes_hypertile", "HyperTile", 32, 2, 0, False)),
    "PatchModelAddDownscale": (
        "sd15",
        core("nodes_model_downscale", "PatchModelAddDownscale", 1, 2.0, 0.0, 0.35, True, "area", "area"),
    ),
    "SelfAttentionGuidance": ("sd15", core("nodes_sag", "SelfAttentionGuidance", 0.5, 2.0)),
    "ScaleROPE": ("z_image", core("nodes_rope", "ScaleROPE", 2.0, 0.0, 2.0, 0.0, 1.0, 0.0)),
    **{
        f"EasyCache on {family}": (family, core("nodes_easycache", "EasyCacheNode", 0.2, 0.15, 0.95, False))
        for family in ("sd15", "flux", "z_image")
    },
    "LazyCache": ("sd15", core("nodes_easycache", "LazyCacheNode", 0.2, 0.15, 0.95, False)),
    "PerturbedAttentionGuidance": ("sd15", core("nodes_pag", "PerturbedAttentionGuidance", 3.0)),
    "PerpNeg": ("sd15", empty_prompt),
    "CFGZeroStar": ("sd3", core("nodes_cfg", "CFGZeroStar")),
    "RescaleCFG": ("sd15", core("nodes_model_advanced", "RescaleCFG", 0.7)),
    "DifferentialDiffusion": ("sd15", core("nodes_differential_diffusion", "DifferentialDiffusion", 1.0)),
    "a wrapper": ("sd15", foreign_wrapper(None)),
    "a wrapper that fails": ("sd15", foreign_wrapper(Exception("no sampler is running"))),
    "a wrapper without gradient": ("sd3", own(without_gradient)),
    "a replaced forward": ("sd15", own(foreign_forward)),
    "an attention that draws": ("sd15", own(lambda patcher: patcher.set_model_attn1_patch(drawing))),
    "a wrapper of the sampler's calls": (
        "sd15",
        own(lambda patcher: patcher.set_model_unet_function_wrapper(drawing)),
    ),
    "nothing on sd3": ("sd3", lambda patcher: patcher),
    "nothing on sd15": ("sd15", lambda patcher: patcher),
    "a LoRA": ("sd3", with_lora),
    "ModelSamplingSD3": ("sd3", core("nodes_model_advanced", "ModelSamplingSD3", 5.0)),
    "ModelSamplingFlux": ("flux", core("nodes_model_advanced", "ModelSamplingFlux", 1.15, 0.5, 64, 64)),
    "ModelSamplingDiscrete": ("sd15", core("nodes_model_advanced", "ModelSamplingDiscrete", "eps", True)),
    "ModelComputeDtype": ("sd3", core("nodes_model_advanced", "ModelComputeDtype", "fp32")),
}
"""Family, and what makes a patched MODEL of its own."""


@dataclass(frozen=True)
class Subject:
    """A MODEL of each family, built once, and what is trained on it."""

    family: Family
    patcher: Any

    @classmethod
    def of(cls, name: str) -> "Subject":
        with torch.inference_mode():
            return cls(FAMILIES[name], FAMILIES[name].build())

    def request(self, patcher: Any) -> TrainingRequest:
        grid = (*self.family.grid[:-2], SIDE, SIDE)
        generator = torch.Generator().manual_seed(4)
        return TrainingRequest(
            patcher,
            [torch.randn(1, *grid, generator=generator) for _ in NAMES],
            [conditioning(self.family, 8, seed) for seed in (1, 2)],
            [SemanticMasks(torch.ones(1, 1, SIDE, SIDE), ("face",)) for _ in NAMES],
            Objective(weights={"face": 1.0}),
            TrainingSettings(steps=1, batch_size=2, warmup=0),
            AdapterSettings(rank=2, alpha=2.0),
            names=NAMES,
        )


def outcome(request: TrainingRequest) -> dict[str, Any]:
    """How a training of one step ends, and what it says on the way."""
    said: list[str] = []
    log = Heard()
    logging.getLogger().addHandler(log)
    with tempfile.TemporaryDirectory() as folder:
        try:
            train_comfy_lora(
                request,
                RunPlace(Path(folder)),
                lambda _velocity, _data: RunOptions(),
                lambda kind, message, **_values: said.append(f"{kind}: {message}"),
            )
            error = ""
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"
        finally:
            logging.getLogger().removeHandler(log)
        folders = sorted(path.name for path in Path(folder).iterdir())
    lines = [line for line in log.lines if line.startswith("LoRA training:")]
    return {"error": error, "said": said, "logged": lines, "folders": folders}


def measure_patches() -> dict[str, Any]:
    subjects, found = {}, {}
    for name, (family, patch) in PATCHES.items():
        if family not in subjects:
            subjects[family] = Subject.of(family)
        subject = subjects[family]
        with torch.inference_mode():
            patched = patch(subject.patcher)
        request = subject.request(patched)
        with velocity_model(patched, request.conditionings):
            pass  # loads it
        before = measure_families.state(patched)
        found[name] = outcome(request)
        found[name]["as_found"] = measure_families.same(measure_families.state(patched), before)
    return found


class Placeholder(Tensor):
    """A quantised weight whose copies are itself, as GGUF loaders have them."""

    def clone(self, *_arguments: Any, **_options: Any) -> Tensor:
        return self

    def detach(self) -> Tensor:
        return self


def with_placeholders(patcher: Any) -> Any:
    with torch.inference_mode():
        for name, layer in patcher.model.diffusion_model.named_modules():
            if name.endswith("qkv"):
                weight = nn.Parameter(layer.weight.clone(), requires_grad=False).as_subclass(Placeholder)
                layer._parameters["weight"] = weight
    return patcher


def with_meta_weights(patcher: Any) -> Any:
    """Only a placeholder is told of."""
    network = patcher.model.diffusion_model
    network._register_state_dict_hook(
        lambda _module, tensors, *_rest: {
            key: value.to("meta") if "qkv.weight" in key else value for key, value in tensors.items()
        }
    )
    return patcher


class OfAnotherPack(nn.Linear):
    """Multiplies in its own way."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight, self.bias)


def with_layers_of_another_pack(patcher: Any) -> Any:
    for block in patcher.model.diffusion_model.joint_blocks:
        with torch.inference_mode():
            own = block.x_block.attn.qkv
            layer = OfAnotherPack(own.in_features, own.out_features)
            layer.load_state_dict(own.state_dict())
        block.x_block.attn.qkv = layer
    return patcher


def without_weights(patcher: Any) -> Any:
    for block in patcher.model.diffusion_model.joint_blocks:
        layer = block.x_block.attn.qkv
        layer.weight = nn.Parameter(layer.weight.to("meta"), requires_grad=False)
    return patcher


def without_backward_pass(*parts: str) -> Callable[[Any], Any]:
    """Kernels that have none, as nunchaku's."""

    def change(patcher: Any) -> Any:
        for name in parts:
            part = patcher.model.diffusion_model.get_submodule(name)
            part.forward = torch.no_grad()(part.forward)
        return patcher

    return change


def with_weight(value: float) -> Callable[[Any], Any]:
    def change(patcher: Any) -> Any:
        network = patcher.model.diffusion_model
        weight = network.joint_blocks[0].x_block.attn.proj.weight
        with torch.inference_mode():
            weight[0, 0] = value
        return patcher

    return change


def that_overflows(patcher: Any) -> Any:
    """Finite weights, but a product beyond what the type holds."""
    with torch.inference_mode():
        patcher.model.diffusion_model.final_layer.linear.weight.mul_(1e38)
        patcher.model.diffusion_model.final_layer.linear.bias.mul_(1e38)
    return patcher


def spoilt(*indices: int, value: float = NAN) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda tensors: [t * value if i in indices else t for i, t in enumerate(tensors)]


def spoilt_text(request: TrainingRequest) -> TrainingRequest:
    (text, extras), *_ = request.conditionings[1]
    extras = {**extras, "pooled_output": extras["pooled_output"] * NAN}
    return replace(request, conditionings=[request.conditionings[0], [[text, extras]]])


def spoilt_everywhere(request: TrainingRequest) -> TrainingRequest:
    masks = list(request.masks)
    masks[0] = replace(masks[0], masks=masks[0].masks * NAN)
    changed = replace(request, latents=spoilt(1)(list(request.latents)), masks=masks)
    return spoilt_text(changed)


def spoilt_empty_prompt(request: TrainingRequest) -> TrainingRequest:
    empty = conditioning(FAMILIES["sd3"], 8, 3)
    return replace(request, unconditional=[[empty[0][0] * NAN, empty[0][1]]])


def foreign_text(request: TrainingRequest) -> TrainingRequest:
    foreign = conditioning(FAMILIES["sd15"], 8, 1)
    return replace(request, conditionings=[foreign, foreign])


def unchanged(value: Any) -> Any:
    return value


BAD: dict[str, tuple[Callable[[Any], Any], Callable[[TrainingRequest], TrainingRequest]]] = {
    "latent": (unchanged, lambda r: replace(r, latents=spoilt(1)(list(r.latents)))),
    "infinite latent": (unchanged, lambda r: replace(r, latents=spoilt(0, value=math.inf)(list(r.latents)))),
    "text": (unchanged, spoilt_text),
    "all at once": (unchanged, spoilt_everywhere),
    "empty prompt": (unchanged, spoilt_empty_prompt),
    "foreign text": (unchanged, foreign_text),
    "weight": (with_weight(NAN), unchanged),
    "infinite weight": (with_weight(math.inf), unchanged),
    "overflow": (that_overflows, unchanged),
    "no weights": (without_weights, unchanged),
    "no backward pass": (without_backward_pass("joint_blocks.0", "joint_blocks.1"), unchanged),
    "no backward pass in a part": (without_backward_pass("joint_blocks.0.x_block.mlp"), unchanged),
    "layers of another pack": (with_layers_of_another_pack, unchanged),
    "placeholders": (with_placeholders, unchanged),
    "meta weights": (with_meta_weights, unchanged),
}
"""What is done to the model, and to what is trained on it."""


def measure_bad() -> dict[str, Any]:
    found = {}
    for name, (change_model, change_request) in BAD.items():
        subject = Subject.of("sd3")
        patcher = change_model(subject.patcher)
        found[name] = outcome(change_request(subject.request(patcher)))
    return found


def main(_arguments: Sequence[str]) -> None:
    found = {"patches": measure_patches(), "bad": measure_bad()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[2:])
