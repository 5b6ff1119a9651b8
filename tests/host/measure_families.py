"""What test_families.py asserts, measured inside a ComfyUI: `python measure_families.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import gc
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True
logging.disable(logging.WARNING)

import comfy.ldm.modules.attention  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from measure_special_cases import CatchingVae, measure_special_cases  # noqa: E402
from tiny_models import FAMILIES, Family, conditioning  # noqa: E402
from torch import Tensor  # noqa: E402

from semantic_focus.comfy.fingerprint import model_fingerprint  # noqa: E402
from semantic_focus.comfy.model import ComfyVelocityModel, latents_for_model, velocity_model  # noqa: E402
from semantic_focus.comfy.preview import PreviewSettings, preview  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.layers import linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.training.data import UNCONDITIONAL  # noqa: E402

POSITIONS = (0.05, 0.5, 0.95)
RANK_2 = AdapterSettings(rank=2, alpha=2.0)


class Measurement:
    """One family: its MODEL, three prompts of different lengths, and a batch of three latents."""

    def __init__(self, family: Family):
        with torch.inference_mode():  # as when a node of ComfyUI loads it
            self.patcher = family.build()
            self.prompts = [conditioning(family, 8, 1), conditioning(family, 12, 2)]
            self.empty = conditioning(family, 8, 3)
        generator = torch.Generator().manual_seed(4)
        self.clean = torch.randn(3, *family.grid, generator=generator)
        self.noise = torch.randn(3, *family.grid, generator=generator)
        self.grid = family.grid

    def velocity(self, patcher: Any = None, checkpointing: bool = False) -> Any:
        return velocity_model(patcher or self.patcher, self.prompts, checkpointing, self.empty)

    def adapters(self, velocity: ComfyVelocityModel) -> LoraAdapters:
        """An update that changes predictions by some percent."""
        adapters = LoraAdapters(linear_layers(velocity.network), RANK_2, seed=0)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
        return adapters

    def predict(self, velocity: ComfyVelocityModel) -> Tensor:
        noisy, sigma, _ = velocity.corrupt(self.clean, self.noise, torch.tensor(POSITIONS))
        return velocity.predict(noisy, sigma, [0, 1, UNCONDITIONAL])

    def loss(self, velocity: ComfyVelocityModel) -> Tensor:
        noisy, sigma, target = velocity.corrupt(self.clean, self.noise, torch.tensor(POSITIONS))
        return (velocity.predict(noisy, sigma, [0, 1, UNCONDITIONAL]) - target).square().mean()

    def train(self, velocity: ComfyVelocityModel, steps: int, between: Callable = lambda: None) -> Tensor:
        """All trained values after so many steps, with something else done after the first."""
        adapters = LoraAdapters(linear_layers(velocity.network), RANK_2, seed=0)
        optimizer = torch.optim.AdamW(adapters.parameters(), lr=1e-2)
        with adapters.attached():
            for step in range(steps):
                optimizer.zero_grad()
                self.loss(velocity).backward()
                optimizer.step()
                if step == 0:
                    between()
        return torch.cat([parameter.detach().flatten() for parameter in adapters.parameters()])


def state(patcher: Any) -> dict[str, Any]:
    """Everything of a MODEL that training might leave changed."""
    modules = list(patcher.model.modules())
    return {
        "weights": {name: tensor.clone() for name, tensor in patcher.model.state_dict().items()},
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        "attributes": [sorted(set(vars(m)) - {"weight_function", "bias_function"}) for m in modules],
        "training": [m.training for m in modules],
        "requires_grad": [p.requires_grad for p in patcher.model.parameters()],
        "grads": sum(p.grad is not None for p in patcher.model.parameters()),
        "patches": {key: len(value) for key, value in patcher.patches.items()},
        "options": str(patcher.model_options),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    weights = [(one["weights"][name], other["weights"][name]) for name in one["weights"]]
    rest = {**one, "weights": None} == {**other, "weights": None}
    return rest and all(torch.equal(a, b) for a, b in weights)


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference, in standard deviations of the second."""
    return ((one - other).abs().max() / other.std()).item()


def measure_target(m: Measurement) -> dict[str, float]:
    """What ComfyUI makes of the noisy latent when the network answers with the target; the SNR by noising
    ones and zeros."""
    pictures: list[Tensor] = []
    with m.velocity() as velocity, torch.no_grad():
        u = torch.tensor(POSITIONS)
        noisy, sigma, target = velocity.corrupt(m.clean, m.noise, u)
        apply_model = m.patcher.model.apply_model
        m.patcher.model.apply_model = lambda *a, **k: pictures.append(apply_model(*a, **k))
        answer = velocity.network.register_forward_hook(lambda *_: target)
        try:
            raw = velocity.predict(noisy, sigma, [0, 0, 0])
        finally:
            answer.remove()
            del m.patcher.model.apply_model
        ones, zeros = torch.ones_like(m.clean), torch.zeros_like(m.clean)
        signal, added = (
            velocity.corrupt(*pair, u)[0].flatten(1)[:, 0] for pair in ((ones, zeros), (zeros, ones))
        )
        return {
            "picture": (pictures[0] - m.clean).abs().max().item(),
            "raw": (raw - target).abs().max().item(),
            "snr": (velocity.snr(u) / (signal / added) ** 2 - 1).abs().max().item(),
            "prediction": velocity.prediction,
        }  # fmt: skip


def measure_batches(m: Measurement) -> dict[str, float]:
    """Three prompts of two lengths in one batch, against each alone."""
    with m.velocity() as velocity, torch.no_grad():
        noisy, sigma, _ = velocity.corrupt(m.clean, m.noise, torch.tensor(POSITIONS))
        prompts = [0, 1, UNCONDITIONAL]
        single = [velocity.predict(noisy[i : i + 1], sigma[i : i + 1], [p]) for i, p in enumerate(prompts)]
        mixed = velocity.predict(noisy, sigma, prompts)
        return {
            "mixed": difference(mixed, torch.cat(single)),
            "prompts": difference(velocity.predict(noisy, sigma, [1, 1, 1]), mixed),
        }


def measure_checkpointing(m: Measurement) -> dict[str, float]:
    """Gradients with and without, with random dropout in every adapted layer; how often layers ran."""
    gradients, runs = [], []
    for checkpointing in (False, True):
        with m.velocity(checkpointing=checkpointing) as velocity:
            adapters = m.adapters(velocity)
            calls = [0]

            def drop(_module: Any, _inputs: Any, output: Tensor, calls: list[int] = calls) -> Tensor:
                calls[0] += 1
                return torch.nn.functional.dropout(output, 0.1)

            layers = linear_layers(velocity.network).values()
            hooks = [layer.register_forward_hook(drop) for layer in layers]
            torch.manual_seed(0)
            with adapters.attached():
                m.loss(velocity).backward()
            for hook in hooks:
                hook.remove()
            runs.append(calls[0])
            gradients.append([p.grad for p in adapters.parameters()])
    pairs = list(zip(*gradients, strict=True))
    return {
        "difference": max(0.0 if a is b else (a - b).abs().max().item() for a, b in pairs),
        "without_gradient": sum(not (a is not None and a.abs().max() > 0) for a, _ in pairs) / len(pairs),
        "runs": runs[1] / runs[0],
    }


def measure_reload(m: Measurement) -> dict[str, Any]:
    """The trained LoRA through ComfyUI's loader; the model afterwards, also after an error."""
    with m.velocity():
        pass  # loads it
    before, name = state(m.patcher), model_fingerprint(m.patcher)
    with m.velocity() as velocity:
        losses = [m.loss(velocity).item()]
        m.train(velocity, 2)
        adapters = m.adapters(velocity)
        with torch.no_grad():
            base = m.predict(velocity)
            with adapters.attached():
                ours = m.predict(velocity)
    after = state(m.patcher)
    try:
        with m.velocity(checkpointing=True) as velocity, adapters.attached():
            m.loss(velocity).backward()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        after_error = state(m.patcher)
    core = {}
    for strength in (1.0, 0.0):
        patched: Any = comfy.sd.load_lora_for_models(m.patcher, None, adapters.state_dict(), strength, 0.0)[0]
        with m.velocity(patched) as velocity, torch.no_grad():
            core[strength] = m.predict(velocity)
            patched_name = model_fingerprint(patched)
    with m.velocity():
        names = [model_fingerprint(m.patcher), patched_name]
    return {
        "finite": all(loss == loss for loss in losses),
        "effect": difference(ours, base),
        "reloaded": difference(core[1.0], ours),
        "strength_0": torch.equal(core[0.0], base),
        "as_found": same(after, before),
        "as_found_after_error": same(after_error, before),
        "fingerprints": [name, *names],
    }


def measure_preview(m: Measurement) -> dict[str, Any]:
    """A preview against ComfyUI's own sampling of the model with the LoRA applied; training around it."""
    settings = PreviewSettings(steps=3, cfg=2.0, seed=6, sampler="euler_ancestral")
    vae = CatchingVae()

    def show(velocity: ComfyVelocityModel, with_vae: Any = None) -> Tensor:
        return preview(velocity, [m.prompts[0]], m.empty, m.grid, settings, with_vae)

    with m.velocity() as velocity:
        adapters = m.adapters(velocity)
        with adapters.attached():
            show(velocity, vae)
        plain, random_state = m.train(velocity, 3), torch.get_rng_state()
        images: list[Tensor] = []
        interrupted = m.train(velocity, 3, lambda: images.append(show(velocity)))
        undisturbed = torch.equal(torch.get_rng_state(), random_state)
    patched: Any = comfy.sd.load_lora_for_models(m.patcher, None, adapters.state_dict(), 1.0, 0.0)[0]
    empty = torch.zeros(1, *m.grid)
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(empty, settings.seed)
        torch.manual_seed(settings.seed)
        core = comfy.sample.sample(
            patched, noise, 3, 2.0, settings.sampler, settings.scheduler, m.prompts[0], m.empty, empty,
            disable_pbar=True, seed=settings.seed,
        )  # fmt: skip
    return {
        "core": difference(vae.latent, core),
        "training_unchanged": torch.equal(plain, interrupted),
        "random_numbers_unchanged": undisturbed,
        "shape": list(images[0].shape),
        "range": [images[0].min().item(), images[0].max().item()],
    }


def measure_latents(m: Measurement) -> dict[str, Any]:
    """Latents of two sizes at once, scaled as ComfyUI's sampler scales them."""
    small = m.clean[:2]
    large = torch.cat((m.clean, m.clean), -1)
    scaled = latents_for_model(m.patcher, [small, large])
    expected = [*m.patcher.model.process_latent_in(small), *m.patcher.model.process_latent_in(large)]
    return {
        "scaled": max((a - b).abs().max().item() for a, b in zip(scaled, expected, strict=True)),
        "shapes": [list(latent.shape) for latent in scaled],
    }


MEASURES: dict[str, Callable[[Measurement], Any]] = {
    "target": measure_target,
    "batches": measure_batches,
    "checkpointing": measure_checkpointing,
    "reload": measure_reload,
    "preview": measure_preview,
    "latents": measure_latents,
}


def main(families: Sequence[str]) -> None:
    found: dict[str, Any] = {}
    for name in families or FAMILIES:
        measurement = Measurement(FAMILIES[name])
        found[name] = {what: measure(measurement) for what, measure in MEASURES.items()}
        del measurement
        gc.collect()
    found["special_cases"] = measure_special_cases()
    found["attention"] = comfy.ldm.modules.attention.optimized_attention.__name__
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[2:])
