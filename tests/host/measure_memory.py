"""What test_memory.py asserts, measured inside a ComfyUI: `python measure_memory.py COMFYUI` prints JSON.

With --all, every family is trained with every kind of weights.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
logging.disable(logging.WARNING)

import comfy.model_management  # noqa: E402
import torch  # noqa: E402
from measure_special_cases import CatchingVae  # noqa: E402
from tiny_models import FAMILIES, FLUX, conditioning, from_config  # noqa: E402
from torch import Tensor  # noqa: E402
from two_devices import TwoDevices  # noqa: E402
from weight_kinds import KINDS, stored_as  # noqa: E402

from semantic_focus.comfy.memory import frozen, inputs, placement, swap  # noqa: E402
from semantic_focus.comfy.memory.transfers import Transfers  # noqa: E402
from semantic_focus.comfy.model import ComfyVelocityModel, velocity_model  # noqa: E402
from semantic_focus.comfy.preview import PreviewSettings, preview  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.layers import LAYER_CHOICES, linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.objective.total import Objective  # noqa: E402
from semantic_focus.training.data import TrainingPictures  # noqa: E402
from semantic_focus.training.memory import MemorySetting  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402
from semantic_focus.training.trainer import Trainer  # noqa: E402

inputs.SMALLEST_IN_RAM = 1

SETTINGS = {
    "all on the device": MemorySetting(0.0),
    "half in RAM": MemorySetting(0.5),
    "all in RAM": MemorySetting(1.0, inputs=True),
}
OF_TWO_FAMILIES = ("flux", "sdxl_v")
"""Transformer and UNet, which are trained with every kind of weights."""

SAME_AS = {"fast fp8": "fp8"}
"""Products in fp8 round the activations and have no gradient: trained with those in the activations' type."""

OPTIONS: dict[str, Any] = {"batch_size": 1, "accumulation": 2, "ema_decay": 0.9, "learning_rate": 0.01}


@contextmanager
def layers_own_products() -> Iterator[None]:
    """As without frozen layers; what closes its weights to autograd is opened beforehand."""
    before = frozen.fetch_for
    frozen.fetch_for = lambda _layer: None
    try:
        yield
    finally:
        frozen.fetch_for = before


def snapshot(model: Any) -> dict[str, Any]:
    """The bytes of its weights, and what its layers have beside them (but for ComfyUI's own marks)."""
    return {
        "weights": {
            key: value.as_subclass(Tensor).contiguous().view(torch.uint8).clone()
            for key, value in model.named_parameters()
            if value.ndim
        },
        "attributes": {
            name: sorted(key for key in vars(module) if "comfy" not in key and not key.endswith("_function"))
            for name, module in model.named_modules()
        },
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    }


def as_it_was(model: Any, before: dict[str, Any]) -> bool:
    after = snapshot(model)
    return all(after[part] == before[part] for part in ("attributes", "hooks")) and all(
        torch.equal(value, before["weights"][key]) for key, value in after["weights"].items()
    )


@dataclass(frozen=True)
class Case:
    """A training of two updates.

    Attributes:
        inference: the model is made in inference mode, as ComfyUI's nodes make it.
        base: the base model's own prediction before them too.
        between: done after the first of them.
    """

    name: str
    kind: str = "fp32"
    checkpointing: bool = True
    memory: MemorySetting = MemorySetting(0.0)
    inference: bool = True
    prior: float = 2.0
    base: bool = True
    between: Callable[[ComfyVelocityModel, Any], None] = lambda _velocity, _prompts: None
    layers: str = next(iter(LAYER_CHOICES))


def trained(case: Case, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """What comes of it.

    Args:
        found: takes "as found", also after an error.
    """
    found = {} if found is None else found
    family = FAMILIES[case.name]
    with torch.inference_mode(case.inference):
        patcher = stored_as(family.build(), case.kind)
        prompts = [conditioning(family, 8, 1), conditioning(family, 8, 2)]
    before = snapshot(patcher.model)
    try:
        return _trained(case, patcher, prompts)
    finally:
        found["as found"] = as_it_was(patcher.model, before)


def _trained(case: Case, patcher: Any, prompts: Any) -> dict[str, Any]:
    grid = FAMILIES[case.name].grid
    latents = tuple(torch.randn(2, *grid, generator=torch.Generator().manual_seed(4)).unbind())
    mask = (torch.arange(grid[-1]) < 4).float().expand(1, *grid[-2:])
    with velocity_model(patcher, prompts, case.checkpointing, memory=case.memory) as velocity:
        layers = linear_layers(velocity.network, case.layers)
        adapters = LoraAdapters(layers, AdapterSettings(rank=2, alpha=2.0, dropout=0.2), 0, velocity.device)
        data = TrainingPictures(latents, (mask, mask), ("face",), device=velocity.device)
        objective = Objective(weights={"face": 1.0}, prior_weight=case.prior)
        trainer = Trainer(velocity, adapters, data, objective, TrainingSettings(steps=2, **OPTIONS))
        with adapters.attached():
            base = torch.zeros(())
            if case.base:
                noisy, sigma, _ = velocity.corrupt(latents[0][None], latents[1][None], torch.tensor([0.6]))
                with torch.no_grad(), adapters.disabled():
                    base = velocity.predict(noisy, sigma, [0])
            records = [trainer.step()]
            case.between(velocity, prompts)
            records.append(trainer.step())
        lora = trainer.lora()
    return {
        "base": base,
        "losses": torch.tensor([record.total for record in records]),
        "gradients": torch.tensor([record.gradient_norm for record in records]),
        **lora,
    }


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def measure_equality(everything: bool) -> dict[str, Any]:
    """Per family, kind of weights and checkpointing: whether each setting gives what the layers' own products
    do.
    """
    found: dict[str, Any] = {}
    for name in FAMILIES:
        for kind in KINDS if everything or name in OF_TWO_FAMILIES else ("fp32",):
            for checkpointing in (False, True):
                with layers_own_products():
                    own = trained(Case(name, SAME_AS.get(kind, kind), checkpointing, inference=False))
                row = f"{name}, {kind}, {'with' if checkpointing else 'without'} checkpointing"
                found[row] = {
                    text: equal(trained(Case(name, kind, checkpointing, setting)), own)
                    for text, setting in SETTINGS.items()
                }
                found[row]["moved"] = bool(own["losses"].isfinite().all()) and any(
                    bool(value.any()) for key, value in own.items() if "lora_up" in key
                )
    return found


@contextmanager
def recorded(events: list[Any]) -> Iterator[None]:
    """Note which block is entered, sent to the device and waited for, in the order of the program."""
    originals = swap.BlockSwap._send, swap.BlockSwap.bring, Transfers.wait

    def send(self: Any, number: int) -> Any:
        events.append(["send", number])
        return originals[0](self, number)

    def bring(self: Any, number: int) -> None:
        if self._current != number:
            events.append(["enter", number])
            originals[1](self, number)

    def wait(self: Any, copied: Any) -> None:
        events.append(["wait"])
        originals[2](self, copied)

    swap.BlockSwap._send, swap.BlockSwap.bring, Transfers.wait = send, bring, wait
    try:
        yield
    finally:
        swap.BlockSwap._send, swap.BlockSwap.bring, Transfers.wait = originals


def measure_few_blocks() -> dict[str, Any]:
    """Of networks with no block, or one: whether each setting gives what the first does."""
    found: dict[str, Any] = {}
    for depth in (0, 1):
        size = FLUX | {"depth": depth, "depth_single_blocks": 0}
        name = f"flux of depth {depth}"
        FAMILIES[name] = replace(FAMILIES["flux"], build=lambda size=size: from_config("Flux", size))
        cases = [Case(name, memory=setting, layers="all linear layers") for setting in SETTINGS.values()]
        first, *others = map(trained, cases)
        found[str(depth)] = [equal(first, other) for other in others]
        del FAMILIES[name]
    return found


def measure_transfers() -> dict[str, Any]:
    """Of two updates of a network with four blocks, all of them in RAM."""
    found: dict[str, Any] = {}
    for name in ("flux", "sdxl_v"):
        for checkpointing in (False, True):
            for prior in (True, False):
                events: list[Any] = []
                with recorded(events):
                    trained(Case(name, "fp32", checkpointing, SETTINGS["all in RAM"], prior=2.0 * prior))
                found[f"{name}, {checkpointing}, {prior}"] = events
    return found


def measure_two_devices() -> dict[str, Any]:
    """A training in which nothing in RAM may be computed with."""
    found: dict[str, Any] = {}
    for name in FAMILIES:
        memories = TwoDevices()
        put_away, load = inputs.to_ram, swap.BlockSwap.__init__

        def begin(self: Any, blocks: Any, device: Any, load: Any = load, memories: Any = memories) -> None:
            load(self, blocks, device)
            for block in self.blocks:
                for weight in block.in_ram:
                    memories.put_in_ram(weight)

        inputs.to_ram = lambda tensor, put_away=put_away, memories=memories: memories.put_in_ram(
            put_away(tensor)
        )
        swap.BlockSwap.__init__ = begin
        try:
            with memories:
                trained(Case(name, memory=SETTINGS["all in RAM"]))
            found[name] = memories.transfers
        except RuntimeError as error:
            found[name] = str(error)
        finally:
            inputs.to_ram, swap.BlockSwap.__init__ = put_away, load
    return found


class Shortage:
    """Memory that runs out so many times at one place."""

    def __init__(self, times: int):
        self.times = times

    def before(self, function: Any) -> Any:
        def short(*arguments: Any, **options: Any) -> Any:
            if self.times:
                self.times -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return function(*arguments, **options)

        return short


STAGES: dict[str, tuple[Any, str]] = {
    "loading": (placement.Placement, "_load"),
    "forward": (ComfyVelocityModel, "predict"),
    "backward": (frozen.FrozenLayer, "gradient"),
    "optimizer": (torch.optim.AdamW, "step"),
}
"""Where memory is made to run out."""


def measure_shortage() -> dict[str, Any]:
    """What a training does when memory runs out, once or for good, on a device with a memory of its own."""
    found: dict[str, Any] = {}
    kept = placement.Placement._is_apart
    placement.Placement._is_apart = lambda self: True
    case = Case("flux", "fp8", base=False)
    undisturbed = trained(case)
    for stage, (owner, name) in STAGES.items():
        original = getattr(owner, name)
        for times in (1, 1000):
            setattr(owner, name, Shortage(times).before(original))
            before: dict[str, Any] = {}
            try:
                result = trained(case, before)
                said = "equal" if equal(result, undisturbed) else "another result"
            except Exception as error:  # whatever comes is what is measured
                said = f"{type(error).__name__}: {error}"
            setattr(owner, name, original)
            found[f"{stage}, {times}"] = {"said": said, **before}
    placement.Placement._is_apart = kept
    return found


def with_samples(vae: Any) -> Callable[[ComfyVelocityModel, Any], None]:
    """A preview in the midst of a training, for which the VAE pushes some of the model out."""

    def between(velocity: ComfyVelocityModel, prompts: Any) -> None:
        try:
            with torch.inference_mode():
                preview(
                    velocity, prompts[:1], prompts[1], FAMILIES["flux"].grid, PreviewSettings(steps=2), vae
                )
        except torch.OutOfMemoryError:
            pass  # a training does without, see nodes/train_progress.py

    return between


class PushingVae(CatchingVae):
    """Takes the memory of the model."""

    def decode(self, latent: Tensor) -> Tensor:
        for loaded in comfy.model_management.current_loaded_models:
            loaded.model.partially_unload(loaded.model.offload_device, 1e9)
        return super().decode(latent)


class ShortVae(CatchingVae):
    """Does not fit."""

    def decode(self, latent: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def cancelled(_velocity: ComfyVelocityModel, _prompts: Any) -> None:
    """The next layer that computes hears of it."""
    comfy.model_management.interrupt_current_processing()


def measure_disturbance() -> dict[str, Any]:
    """Trainings of fp8 weights that are disturbed after the first update."""
    found: dict[str, Any] = {}
    for setting in ("all on the device", "half in RAM"):
        case = Case("flux", "fast fp8", memory=SETTINGS[setting], base=False)
        undisturbed = trained(case)
        for what, between in {
            "samples": with_samples(CatchingVae()),
            "samples by a VAE that needs room": with_samples(PushingVae()),
            "samples by a VAE that does not fit": with_samples(ShortVae()),
            "cancel": cancelled,
        }.items():
            before: dict[str, Any] = {}
            try:
                result = trained(replace(case, between=between), before)
                said = "equal" if equal(result, undisturbed) else "another result"
            except comfy.model_management.InterruptProcessingException:
                said = "cancelled"
            found[f"{what}, {setting}"] = {"said": said, **before}
    return found


def measure_resumed() -> bool:
    """Whether a norm that a training adapter changes passes gradients after a sampling in inference mode."""
    patcher, prompts = FAMILIES["sd15"].build(), [conditioning(FAMILIES["sd15"], 8, 1)]
    norm: Any = patcher.model.diffusion_model.out[0]
    adapter = {f"diffusion_model.out.0.{part}": torch.ones(len(norm.weight)) for part in ("diff", "diff_b")}
    with velocity_model(patcher, prompts, training_adapter=adapter) as velocity:
        with torch.inference_mode(), velocity.sampling():
            pass
        return not norm.weight.is_inference() and not norm.bias.is_inference()


def main() -> None:
    found = {
        "resumed": measure_resumed(),
        "equality": measure_equality("--all" in sys.argv),
        "few blocks": measure_few_blocks(),
        "transfers": measure_transfers(),
        "two devices": measure_two_devices(),
        "shortage": measure_shortage(),
        "disturbance": measure_disturbance(),
    }
    sys.stdout.write(json.dumps(found))


main()
