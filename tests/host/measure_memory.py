"""What test_memory.py asserts, measured inside a ComfyUI: `python measure_memory.py COMFYUI` prints JSON.

With --all, every family is trained with every kind of weights.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
logging.disable(logging.WARNING)

import comfy.model_management  # noqa: E402
import torch  # noqa: E402
from measure_special_cases import CatchingVae  # noqa: E402
from short_trainings import SETTINGS, Case, equal, trained  # noqa: E402
from tiny_models import FAMILIES, FLUX, conditioning, from_config  # noqa: E402
from torch import Tensor  # noqa: E402
from two_devices import TwoDevices  # noqa: E402
from weight_kinds import KINDS, RESTORED  # noqa: E402

from semantic_focus.comfy.memory import frozen, inputs, placement, swap  # noqa: E402
from semantic_focus.comfy.memory.transfers import Transfers  # noqa: E402
from semantic_focus.comfy.model import ComfyVelocityModel, velocity_model  # noqa: E402
from semantic_focus.comfy.preview import PreviewSettings, preview  # noqa: E402

inputs.SMALLEST_IN_RAM = 1

OF_TWO_FAMILIES = ("flux", "sdxl_v")
"""Transformer and UNet, which are trained with every kind of weights."""

SAME_AS = {"fast fp8": "fp8"}
"""Products in fp8 round the activations and have no gradient: trained with those in the activations' type."""


@contextmanager
def layers_own_products() -> Iterator[None]:
    """As without frozen layers; what closes its weights to autograd is opened beforehand."""
    before = frozen.fetch_for
    frozen.fetch_for = lambda _layer: None
    restored = RESTORED.set(True)
    try:
        yield
    finally:
        RESTORED.reset(restored)
        frozen.fetch_for = before


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


LAYOUTS: dict[str, Callable[[Any], Tensor]] = {
    "pictures": lambda draw: draw(2, 5, 128),
    "first part of joined streams": lambda draw: draw(2, 20, 128)[:, :5],
    "last part of joined streams": lambda draw: draw(2, 20, 128)[:, 5:],
    "part of joined streams of one picture": lambda draw: draw(1, 20, 128)[:, 5:],
    "third of the columns": lambda draw: draw(2, 20, 384)[..., 128:256],
    "turned": lambda draw: draw(2, 128, 20).transpose(1, 2),
    "heads": lambda draw: draw(2, 4, 20, 128)[:, :, :5],
    "turned heads": lambda draw: draw(2, 5, 4, 128).transpose(1, 2),
    "repeated": lambda draw: draw(1, 20, 128).expand(3, -1, -1),
    "rows": lambda draw: draw(20, 128),
    "one row": lambda draw: draw(128),
    "no rows": lambda draw: draw(2, 0, 128),
}
"""How the inputs of a linear layer may lie: torch multiplies some at once and others one after the other."""


def measure_layouts() -> dict[str, bool]:
    """Whether product and gradient of a frozen layer are those of the layer itself; on two threads, where the
    order of summation shows.
    """
    found: dict[str, bool] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    for name, make in LAYOUTS.items():
        for bias in (True, False):
            generator = torch.Generator().manual_seed(0)
            x = make(lambda *shape, generator=generator: torch.randn(shape, generator=generator))
            layer = torch.nn.Linear(128, 384, bias=bias).requires_grad_(False)
            (product,) = frozen.FrozenLayers(layer).by_module.values()
            product.bring = lambda: None  # or a plain layer would be asked for its own product
            results = []
            for through in (layer, product):
                given = x.detach().requires_grad_()
                out = through(given)
                gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
                results.append((out, *torch.autograd.grad(out, given, gradient)))
            found[f"{name}, {bias}"] = all(map(torch.equal, *results))
    torch.set_num_threads(threads)
    return found


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


class Registered:
    """CUDA's register of pinned memory: bytes by where they begin."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def cudaHostRegister(self, begin: int, size: int, _flags: int) -> int:
        self.sizes[begin] = size
        return 0

    def cudaHostUnregister(self, begin: int) -> int:
        del self.sizes[begin]
        return 0


def measure_pinning() -> dict[str, Any]:
    """Per kind of weights: how many wait in RAM, how many are pinned meanwhile, each in whole places of 512
    bytes, and how many afterwards.
    """
    found: dict[str, Any] = {}
    management: Any = comfy.model_management
    limit, register = management.MAX_PINNED_MEMORY, torch.cuda.cudart
    for kind in KINDS:
        registered, seen = Registered(), {}

        def look(velocity: Any, _prompts: Any, here: Any = registered, seen: Any = seen) -> None:
            blocks = velocity._placement._swap.blocks
            seen.update(
                {
                    "in RAM": sum(len(block.in_ram) for block in blocks),
                    "bytes": sum(block.size for block in blocks),
                    "pinned": len(here.sizes),
                    "pinned bytes": sum(-(-size // 512) * 512 for size in here.sizes.values()),
                }
            )

        management.MAX_PINNED_MEMORY = 2**30
        torch.cuda.cudart = lambda registered=registered: registered
        try:
            trained(Case("flux", kind, memory=SETTINGS["all in RAM"], base=False, between=look))
        finally:
            management.MAX_PINNED_MEMORY, torch.cuda.cudart = limit, register
        found[kind] = {**seen, "afterwards": len(registered.sizes)}
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


def not_brought_back(velocity: ComfyVelocityModel, prompts: Any) -> None:
    """Samples by a VAE that does not fit, after which the model does not fit either; later it does."""
    load = placement.Placement._load
    placement.Placement._load = Shortage(1000).before(load)
    with suppress(RuntimeError):  # a training does without, see nodes/train_progress.py
        preview(
            velocity, prompts[:1], prompts[1], FAMILIES["flux"].grid, PreviewSettings(steps=2), ShortVae()
        )
    placement.Placement._load = load


def measure_return() -> dict[str, Any]:
    """A training whose model could not be brought back after samples: how its blocks come from then on."""
    events: list[Any] = []

    def between(velocity: ComfyVelocityModel, prompts: Any) -> None:
        not_brought_back(velocity, prompts)
        events.clear()

    case = Case("flux", "fp8", memory=SETTINGS["half in RAM"], base=False)
    undisturbed = trained(case)
    with recorded(events):
        same = equal(trained(replace(case, between=between)), undisturbed)
    return {"equal": same, "sent": sum(event[0] == "send" for event in events)}


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
    """Whether a norm that a training adapter changes passes gradients after samples in inference mode."""
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
        "layouts": measure_layouts(),
        "few blocks": measure_few_blocks(),
        "transfers": measure_transfers(),
        "two devices": measure_two_devices(),
        "pinning": measure_pinning(),
        "return": measure_return(),
        "shortage": measure_shortage(),
        "disturbance": measure_disturbance(),
    }
    sys.stdout.write(json.dumps(found))


main()
