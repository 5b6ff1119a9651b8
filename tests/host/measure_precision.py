"""What test_precision.py asserts, measured inside a ComfyUI: `python measure_precision.py COMFYUI`, as JSON.

A program of its own, because it imports ComfyUI.
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True
logging.disable(logging.WARNING)

import comfy.quant_ops  # noqa: E402
import torch  # noqa: E402
from tiny_models import FAMILIES, Family, conditioning  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402

from semantic_focus.comfy.fingerprint import model_fingerprint  # noqa: E402
from semantic_focus.comfy.model import ComfyVelocityModel, velocity_model  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.layers import linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.objective.total import Objective, ObjectiveValue  # noqa: E402
from semantic_focus.training import loss_scale  # noqa: E402
from semantic_focus.training.data import TrainingPictures  # noqa: E402
from semantic_focus.training.digest import digest  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402
from semantic_focus.training.state import TrainState  # noqa: E402
from semantic_focus.training.trainer import Trainer  # noqa: E402

ELEMENTS_OF_1024 = 128**2
"""Of a latent of 1024² pixels, in each channel."""


@dataclasses.dataclass(frozen=True)
class Times(Objective):
    """The objective times a factor.

    Every term of it is a mean: on a latent of n elements it gives each of them a gradient of 1/n. Times n /
    `ELEMENTS_OF_1024`, a small latent's elements get what those of a large one get.
    """

    factor: float = 1.0

    def __call__(self, *arguments: Any) -> ObjectiveValue:
        value = super().__call__(*arguments)
        return dataclasses.replace(value, total=value.total * self.factor)


def in_dtype(family: Family, dtype: torch.dtype) -> Any:
    """The family's MODEL with weights of a type, in which it computes."""
    patcher = family.build()
    network: Any = patcher.model.diffusion_model.to(dtype)
    for module in network.modules():
        if isinstance(vars(module).get("dtype"), torch.dtype):
            module.dtype = dtype
    return patcher


def pictures(family: Family) -> TrainingPictures:
    """Two, with a face in the upper half."""
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(2, *family.grid, generator=generator)
    face = torch.zeros(2, *family.grid[-2:])
    face[0, : family.grid[-2] // 2] = 1
    face[1] = 1 - face[0]
    return TrainingPictures(tuple(latents), (face, face), ("face", "background"))


def trainer_of(velocity: ComfyVelocityModel, family: Family, factor: float, **settings: Any) -> Trainer:
    """A training whose adapters already do something, so that all of them get a gradient."""
    adapters = LoraAdapters(linear_layers(velocity.network), AdapterSettings(rank=4, alpha=4.0), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapters.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.005)
    objective = Times(weights={"face": 1.0, "background": 0.3}, magnitude_weight=1.0, factor=factor)
    return Trainer(velocity, adapters, pictures(family), objective, TrainingSettings(**settings))


def steps(trainer: Trainer, count: int) -> list[str]:
    with trainer.adapters.attached():
        return [repr(trainer.step()) for _ in range(count)]


def prompts(family: Family) -> list[Any]:
    return [conditioning(family, 8, 1), conditioning(family, 12, 2)]


def gradients(family: Family, dtype: torch.dtype) -> Tensor:
    """Of the first step of a training at 1024² with 16 pictures in an update, as the optimizer gets them."""
    found: list[Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        found.extend(parameter.grad.flatten().double() for parameter in parameters)

    with velocity_model(in_dtype(family, dtype), prompts(family)) as velocity:
        factor = family.grid[-1] * family.grid[-2] / ELEMENTS_OF_1024
        trainer = trainer_of(velocity, family, factor, accumulation=16, max_grad_norm=0.0)
        handle = register_optimizer_step_pre_hook(note)
        try:
            steps(trainer, 1)
        finally:
            handle.remove()
    return torch.cat(found)


def measure_gradients(family: Family) -> dict[str, float]:
    """Relative error (L2 over all adapters) of the gradients, against fp32."""
    expected = gradients(family, torch.float32)

    def error(dtype: torch.dtype) -> float:
        return ((gradients(family, dtype) - expected).norm() / expected.norm()).item()

    found = {"scaled": error(torch.float16), "bf16": error(torch.bfloat16)}
    with patch.object(loss_scale, "START", 1):
        return found | {"unscaled": error(torch.float16)}


def measure_resume(family: Family) -> dict[str, Any]:
    """Five steps with overflows, and the same stopped after each of them and gone on with."""
    patcher = in_dtype(family, torch.float16)
    with patch.object(loss_scale, "GOOD_STEPS", 2), velocity_model(patcher, prompts(family)) as velocity:

        def new() -> Trainer:
            return trainer_of(velocity, family, 1000.0, learning_rate=1e-3)

        whole, records, states = new(), [], []
        for _ in range(5):
            records += steps(whole, 1)
            states.append(whole.state())
        resumed = []
        for stop in (1, 3):
            other = new()
            other.load(states[stop - 1])
            resumed.append(steps(other, 5 - stop) == records[stop:] and same(other.state(), whole.state()))
        return {
            "factors": [state.values["loss_scale"]["factor"] for state in states],
            "start": loss_scale.START,
            "bit_equal": resumed,
        }


def same(one: TrainState, other: TrainState) -> bool:
    tensors = all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    return tensors and one.values == other.values


def measure_compute() -> dict[str, Any]:
    """What a network says that it computes in: that of its weights, or what ComfyUI casts them to."""
    family = FAMILIES["sd15"]

    def told(dtype: torch.dtype, cast: torch.dtype | None = None) -> str:
        patcher = in_dtype(family, dtype)
        patcher.model.manual_cast_dtype = cast
        with velocity_model(patcher, prompts(family)) as velocity:
            return str(velocity.compute_dtype)

    return {
        "fp32": told(torch.float32),
        "fp16": told(torch.float16),
        "fp16 from fp8": told(torch.float8_e4m3fn, torch.float16),
        "bf16 from fp8": told(torch.float8_e4m3fn, torch.bfloat16),
    }


def measure_accumulation() -> list[list[bool]]:
    """torch's option while training and after an error in it, from each of its settings."""
    products: Any = torch.backends.cuda.matmul
    family = FAMILIES["sd15"]
    patcher, found = family.build(), []
    for before in (True, False):
        products.allow_fp16_accumulation = before
        try:
            with velocity_model(patcher, prompts(family)):
                during = products.allow_fp16_accumulation
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            found.append([during, products.allow_fp16_accumulation])
    products.allow_fp16_accumulation = False
    return found


class Quantised(Tensor):
    """Stands in for the weights of GGUF files: bytes that answer with the shape of what they stand for, and
    that no method copies."""

    @property
    def shape(self) -> torch.Size:
        return getattr(self, "stands_for", self.size())

    def clone(self, *_: Any, **__: Any) -> "Quantised":
        return self

    def detach(self) -> "Quantised":
        return self


class OutOfReach(Tensor):
    """A weight whose numbers lie somewhere else and are not told."""

    @staticmethod
    def __new__(cls, weight: Tensor) -> "OutOfReach":
        return Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0])
        raise NotImplementedError(f"no {func}")


def of_bytes(weight: Tensor) -> Tensor:
    stored: Any = (weight.flatten() * 100).to(torch.int8).view(torch.uint8).as_subclass(Quantised)
    stored.stands_for = weight.size()
    return stored


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "plain": lambda weight: weight,
    "bytes": of_bytes,
    "quantised": lambda weight: comfy.quant_ops.QuantizedTensor.from_float(weight, "TensorCoreFP8Layout"),
    "meta": lambda weight: weight.to("meta"),
    "out_of_reach": OutOfReach,
}


def measure_fingerprints() -> dict[str, list[str]]:
    """Of a model with one layer's weight stored in another form: twice, and with other numbers in it."""

    def named(kind: str, sign: int) -> str:
        patcher = FAMILIES["sd15"].build()
        network: Any = patcher.model.diffusion_model
        layer = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
        layer.weight = nn.Parameter(KINDS[kind](layer.weight.detach() * sign), requires_grad=False)
        with patch.object(nn.Module, "state_dict", side_effect=AssertionError("for placeholders only")):
            return model_fingerprint(patcher)

    return {kind: [named(kind, 1), named(kind, 1), named(kind, -1)] for kind in KINDS}


def measure_earlier_fingerprint() -> list[str]:
    """That of a model, and what version 0.2.0 made of its state_dict()."""
    patcher: Any = FAMILIES["flux"].build()
    weights = {}
    for name, tensor in patcher.model.diffusion_model.state_dict().items():
        count = tensor.numel()
        where = torch.linspace(0, count - 1, min(count, 16), dtype=torch.float64).long()
        described = [str(tensor.dtype), list(tensor.shape), str(tensor.dtype), tensor.flatten()[where]]
        weights[f"diffusion_model.{name}"] = described
    sampling = patcher.get_model_object("model_sampling")
    kinds = [cls.__name__ for cls in (*type(patcher.model).__mro__, *type(sampling).__mro__)]
    return [model_fingerprint(patcher), digest({"weights": weights, "patches": {}, "kinds": kinds})]


def main() -> None:
    found: dict[str, Any] = {name: measure_gradients(FAMILIES[name]) for name in ("sd15", "sdxl_v")}
    found["resume"] = measure_resume(FAMILIES["sd15"])
    found["compute"] = measure_compute()
    found["accumulation"] = measure_accumulation()
    found["fingerprints"] = measure_fingerprints()
    found["earlier_fingerprint"] = measure_earlier_fingerprint()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
