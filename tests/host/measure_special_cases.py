"""What only one family has to show: training adapters, other types of weights, and what is refused."""

from collections.abc import Callable
from typing import Any

import comfy.model_sampling
import comfy.ops
import comfy.samplers
import comfy.sd
import torch
from tiny_models import FAMILIES, Family, conditioning
from torch import Tensor, nn

from semantic_focus.comfy.fingerprint import looks_distilled
from semantic_focus.comfy.model import ComfyVelocityModel, latents_for_model, velocity_model
from semantic_focus.comfy.noise import inference_anchors
from semantic_focus.comfy.preview import PreviewSettings, preview
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.data import UNCONDITIONAL

SD3: Family = FAMILIES["sd3"]
MODEL_NAMES = (
    "z_image_turbo_bf16.safetensors",
    "flux1-schnell.safetensors",
    "SDXL-Lightning_4step.safetensors",
    "models/Hyper-SD15.safetensors",
    "dmd2_sdxl_4step.safetensors",
    "qwen_image_distill_full.safetensors",
    "ZImageTurbo_fp8.safetensors",
    "zimageturbo.safetensors",
    "flux1-dev.safetensors",
    "sd_xl_base_1.0.safetensors",
    "z_image_base.safetensors",
    "wan2.1_t2v_14B_fp8.safetensors",
    "hyperrealism_v4.safetensors",
    "turbofan_photos.safetensors",
    "z_image_non-turbo.safetensors",
    "z_image_de-turbo.safetensors",
    "ZImageUndistilled.safetensors",
    "zImageDeTurbo.safetensors",
    "HyperRealism_v4.safetensors",
)
RANK_2 = AdapterSettings(rank=2, alpha=2.0)


class CatchingVae:
    """Stands in for a VAE: keeps the latent."""

    def decode(self, latent: Tensor) -> Tensor:
        self.latent = latent
        return torch.zeros(1, 8, 8, 3)


def random_lora(network: nn.Module, seed: int) -> dict[str, Tensor]:
    adapters = LoraAdapters(linear_layers(network), RANK_2, seed=0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return adapters.state_dict()


def predict(velocity: ComfyVelocityModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, *SD3.grid, generator=generator)
    return velocity.predict(noisy, torch.tensor([0.6]), [0])


def message(action: Callable[[], Any]) -> str:
    """What an action is refused with."""
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


def measure_special_cases() -> dict[str, Any]:
    """A training adapter beside a LoRA that the MODEL already has, and the other cases."""
    prompt = conditioning(SD3, 8, 1)
    plain = SD3.build()
    network = plain.model.diffusion_model
    style: Any = comfy.sd.load_lora_for_models(plain, None, random_lora(network, 2), 1.0, 0.0)[0]
    adapter = random_lora(network, 3)
    both: Any = comfy.sd.load_lora_for_models(style, None, adapter, 1.0, 0.0)[0]
    expected: dict[str, Tensor] = {}
    for name, patcher in (("plain", plain), ("style", style), ("both", both)):
        with velocity_model(patcher, [prompt]) as velocity, torch.no_grad():
            expected[name] = predict(velocity)
    weight = network.joint_blocks[0].x_block.attn.qkv.weight
    vae, previews = CatchingVae(), []
    with velocity_model(style, [prompt], training_adapter=adapter) as velocity, torch.no_grad():
        during = predict(velocity)
        for active in (False, True, False):
            settings = PreviewSettings(steps=2, cfg=1.0, training_adapter=active)
            preview(velocity, [prompt], prompt, SD3.grid, settings, vae)
            previews.append(vae.latent)
        after_previews = predict(velocity)
    with velocity_model(style, [prompt]) as velocity, torch.no_grad():
        afterwards = predict(velocity)
        preview(velocity, [prompt], prompt, SD3.grid, settings, vae)
    with velocity_model(plain, [prompt]) as velocity, torch.no_grad():
        unpatched = predict(velocity)
    foreign = {"diffusion_model.nowhere.lora_up.weight": torch.zeros(2, 2)}
    return {
        "active": torch.equal(during, expected["both"]) and not torch.equal(during, expected["style"]),
        "active_after_previews": torch.equal(after_previews, during),
        "gone_afterwards": torch.equal(afterwards, expected["style"]),
        "lora_of_the_model_stays": not torch.equal(afterwards, expected["plain"]),
        "weights_come_back": torch.equal(unpatched, expected["plain"]) and bool(weight.isfinite().all()),
        "previews_without_it": torch.equal(previews[0], vae.latent) and torch.equal(previews[2], vae.latent),
        "previews_with_it": not torch.equal(previews[1], previews[0]),
        "foreign": message(lambda: velocity_model(plain, [prompt], training_adapter=foreign).__enter__()),
        "refused": measure_refusals(plain, prompt),
        "anchors": inference_anchors(plain, "simple", 4),
        "table_round_trip": measure_table(),
        "fp8": measure_fp8(),
        "frames": [
            list(latents_for_model(plain, [torch.zeros(1, 16, 1, 4, 6)])[0].shape),
            list(latents_for_model(FAMILIES["wan_video"].build(), [torch.zeros(1, 16, 4, 6)])[0].shape),
        ],
        "distilled": {name: looks_distilled(name) for name in MODEL_NAMES},
    }


def measure_refusals(patcher: Any, prompt: Any) -> dict[str, str]:
    """What cannot be trained is said."""

    def ask(conditioning: Any, picture: int = 0) -> Callable[[], Any]:
        def run() -> None:
            with velocity_model(patcher, [conditioning]) as velocity:
                velocity.predict(torch.zeros(1, *SD3.grid), torch.tensor([0.5]), [picture])

        return run

    class Lcm(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        def calculate_denoised(self, sigma: Tensor, output: Tensor, noisy: Tensor) -> Tensor:
            return 0.5 * super().calculate_denoised(sigma, output, noisy)

    lcm = patcher.clone()
    lcm.add_object_patch("model_sampling", Lcm())
    with_mask = [[prompt[0][0], prompt[0][1] | {"mask": torch.ones(1, 8, 8)}]]
    return {
        "no_empty_prompt": message(ask(prompt, UNCONDITIONAL)),
        "combined": message(ask(prompt * 2)),
        "mask": message(ask(with_mask)),
        "sampler": message(lambda: PreviewSettings(sampler="eulr")),
        "channels": message(lambda: latents_for_model(patcher, [torch.zeros(1, 4, 8, 8)])),
        "video": message(lambda: latents_for_model(patcher, [torch.zeros(1, 16, 2, 8, 8)])),
        "lcm": message(lambda: velocity_model(lcm, [prompt]).__enter__()),
        "scheduler": message(lambda: inference_anchors(patcher, "simpel", 4)),
    }


def measure_table() -> float:
    """Largest error of positions -> sigma -> positions on a discrete model, against its own table."""
    patcher = FAMILIES["sd15"].build()
    sampling: Any = patcher.get_model_object("model_sampling")
    anchors = inference_anchors(patcher, "normal", 7)
    sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", 7)[:-1]
    found = sampling.sigma(torch.tensor(anchors) * (sampling.num_timesteps - 1))
    return (found / sigmas - 1).abs().max().item()


def measure_fp8() -> dict[str, float]:
    """Gradients through layers with fp8 weights, against the same weights in fp32."""
    gradients, states = [], []
    for layer_type in (comfy.ops.fp8_ops.Linear, comfy.ops.manual_cast.Linear):
        patcher = SD3.build()
        generator = torch.Generator().manual_seed(5)
        for block in patcher.model.diffusion_model.joint_blocks:
            old = block.x_block.attn.qkv
            values = torch.randn(old.weight.shape, generator=generator) * 0.05
            layer: Any = layer_type(old.in_features, old.out_features)
            layer.weight = nn.Parameter(values.to(torch.float8_e4m3fn), requires_grad=False)
            layer.bias = nn.Parameter(torch.zeros(old.out_features), requires_grad=False)
            if layer_type is comfy.ops.manual_cast.Linear:
                layer.weight = nn.Parameter(layer.weight.float(), requires_grad=False)
            block.x_block.attn.qkv = layer.eval()
        with velocity_model(patcher, [conditioning(SD3, 8, 1)]) as velocity:
            adapters = LoraAdapters(linear_layers(velocity.network), RANK_2, seed=0)
            with adapters.attached():
                predict(velocity).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in adapters.parameters() if p.grad is not None]))
        states.append((layer.training, layer.weight.requires_grad, len(layer.weight_function)))
    return {
        "gradients": ((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()).item(),
        "as_found": states[0] == (False, False, 0),
    }
