"""What test_static_copy.py asserts, measured inside a ComfyUI: `python measure_static_copy.py COMFYUI` prints
JSON.

A program of its own, because it imports ComfyUI.
"""

import gc
import json
import logging
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])

from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True
logging.disable(logging.WARNING)

import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from measure_special_cases import SD3, random_lora  # noqa: E402
from tiny_models import conditioning  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402

from semantic_focus.comfy.model import ComfyVelocityModel, velocity_model  # noqa: E402
from semantic_focus.comfy.request import TrainingRequest  # noqa: E402
from semantic_focus.comfy.training import RunPlace, train_comfy_lora  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.objective.total import Objective  # noqa: E402
from semantic_focus.regions.masks import SemanticMasks  # noqa: E402
from semantic_focus.training.memory import MemorySetting  # noqa: E402
from semantic_focus.training.run import RunOptions  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402

SIDE = 8


class Copy(comfy.model_patcher.ModelPatcher):
    """A copy with ordinary weights that notes what is moved off the device as it is unloaded."""

    ended = False
    fails = False
    moved: list[int] = []

    def load(self, *arguments: Any, **options: Any) -> Any:
        if self.fails:
            raise torch.OutOfMemoryError("no memory is left")
        return super().load(*arguments, **options)

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> Any:
        if Copy.ended and unpatch_weights:
            Copy.moved.append(sum(1 for _ in self.model.parameters()))
        return super().unpatch_model(device_to, unpatch_weights)


class Streamed(comfy.model_patcher.ModelPatcher):
    """Stands in for ComfyUI's dynamic patcher: keeps pinned memory while it is in use, cannot be loaded
    completely, and reads its file again for a copy with ordinary weights.
    """

    file_is_there = True
    copy_fails = False

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.read: list[tuple[bool, weakref.ref[Any], list[StorageWeakRef]]] = getattr(self.model, "read", [])
        """Per copy: whether pinned memory was held meanwhile, its model, its weights."""
        self.model.read = self.read

    def is_dynamic(self) -> bool:
        return True

    def load(self, *_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a streamed model is loaded completely")

    def partially_load(self, *_arguments: Any, **_options: Any) -> int:
        self.model.pins = torch.zeros(1)
        return 0

    def unpatch_model(self, device_to: Any = None, unpatch_weights: bool = True) -> None:
        if unpatch_weights:
            self.model.pins = None

    def clone(self, disable_dynamic: bool = False, *arguments: Any, **options: Any) -> Any:
        if not disable_dynamic:
            return super().clone(*arguments, **options)
        if not self.file_is_there:
            raise FileNotFoundError("No such file or directory: sd3.safetensors")
        model: Any = SD3.build().model
        self.read.append((self.model.pins is not None, weakref.ref(model), references(model)))
        copy: Any = Copy(model, self.load_device, self.offload_device)
        copy.patches = {key: list(patches) for key, patches in self.patches.items()}
        copy.patches_uuid = self.patches_uuid
        copy.object_patches = self.object_patches.copy()
        copy.parent = self
        copy.fails = self.copy_fails
        return copy


def references(model: nn.Module) -> list[StorageWeakRef]:
    """To the memory of its weights, whichever tensors lie in it."""
    tensors = (*model.parameters(), *model.buffers())
    return [StorageWeakRef(tensor.untyped_storage()) for tensor in tensors]


def predict(velocity: ComfyVelocityModel) -> Tensor:
    noisy = torch.randn(1, *SD3.grid, generator=torch.Generator().manual_seed(1))
    return velocity.predict(noisy, torch.tensor([0.6]), [0])


class Subject:
    """A streamed MODEL, and what is trained on it."""

    def __init__(self) -> None:
        with torch.inference_mode():
            model: Any = SD3.build().model
            model.pins = None
            self.streamed: Any = Streamed(model, torch.device("cpu"), torch.device("cpu"))
            self.prompt = conditioning(SD3, 8, 1)
        self.result: Any = None
        self.within: list[StorageWeakRef] = []
        self.lora = random_lora(model.diffusion_model, 2)
        Copy.ended, Copy.moved = False, []

    def request(self, patcher: Any) -> TrainingRequest:
        latent = torch.randn(1, SD3.grid[0], SIDE, SIDE, generator=torch.Generator().manual_seed(4))
        return TrainingRequest(
            patcher,
            [latent],
            [self.prompt],
            [SemanticMasks(torch.ones(1, 1, SIDE, SIDE), ("face",))],
            Objective(weights={"face": 1.0}),
            TrainingSettings(steps=2, batch_size=1, warmup=0),
            AdapterSettings(rank=2, alpha=2.0),
            gradient_checkpointing=False,
        )

    def with_lora(self) -> Any:
        return comfy.sd.load_lora_for_models(self.streamed, None, self.lora, 1.0, 0.0)[0]

    def with_other_sampling(self) -> Any:
        from comfy_extras.nodes_model_advanced import ModelSamplingSD3

        return ModelSamplingSD3().patch(self.streamed, 5.0)[0]

    def outcome(self, use: Callable[[Any], Any], patcher: Any = None) -> dict[str, Any]:
        """What is left when a use of the MODEL has ended, while its error is still known.

        Args:
            use: given the MODEL; calls `self.loaded` once it is ready.
        """
        patcher = patcher or self.streamed
        comfy.model_management.load_models_gpu([patcher])
        patched = patcher.object_patches.get("model_sampling", nn.Module())

        def kept() -> list[Tensor]:
            return [*patcher.model.parameters(), *patched.buffers()]

        before = [(weight, weight.clone()) for weight in kept()]
        error: BaseException | None = None
        try:
            use(patcher)
        except BaseException as caught:
            error = caught
        weights = [weight for *_, weights in self.streamed.read for weight in weights] + self.within
        alive = sum(1 for weight in weights if not weight.expired())
        models = comfy.model_management.current_loaded_models
        listed = [type(loaded.model).__name__ for loaded in models if loaded.model is not patcher]
        said = f"{type(error).__name__}: {error}" if error else ""
        error = None
        gc.collect()
        left = sum(1 for weight in weights if not weight.expired())
        comfy.model_management.load_models_gpu([patcher])  # as sampling does next
        return {
            "error": said,
            "copies": len(self.streamed.read),
            "pinned_meanwhile": any(pinned for pinned, *_ in self.streamed.read),
            "weights_alive": alive,
            "weights_left": left,
            "models_alive": sum(1 for _, model, _ in self.streamed.read if model() is not None),
            "weights_seen": len(weights),
            "listed": listed,
            "moved": Copy.moved,
            "as_found": all(
                now is weight and torch.equal(weight, value)
                for now, (weight, value) in zip(kept(), before, strict=True)
            ),
            "loads_again": models[0].model is patcher and patcher.model.pins is not None,
        }

    def loaded(self, velocity: ComfyVelocityModel) -> None:
        """Remember the weights that the training sees, and that it ends from here on."""
        self.within += references(velocity.network)
        Copy.ended = True

    def predicting(self, **options: Any) -> Callable[[Any], None]:
        def use(patcher: Any) -> None:
            with velocity_model(patcher, [self.prompt], **options) as velocity:
                predict(velocity)
                self.loaded(velocity)

        return use

    def training(self, fault: Callable[[], BaseException] | None = None, within_step: bool = False) -> Any:
        """A training of two steps; the error comes between them, or in the last block of the second."""

        def use(patcher: Any) -> None:
            def options(velocity: ComfyVelocityModel, _data: Any) -> RunOptions:
                self.loaded(velocity)
                last: Any = velocity.network.final_layer

                def fail(*_anything: Any) -> None:
                    if fault is not None and (torch.is_grad_enabled() or not within_step):
                        raise fault()

                def on_step(_record: Any) -> None:
                    if within_step:
                        last.register_forward_pre_hook(fail)
                    else:
                        fail()

                return RunOptions(on_step=on_step)

            with tempfile.TemporaryDirectory() as folder:
                self.result = train_comfy_lora(self.request(patcher), RunPlace(Path(folder)), options)

        return use


def measure() -> dict[str, Any]:
    interrupted = comfy.model_management.InterruptProcessingException
    foreign = {"diffusion_model.nowhere.lora_up.weight": torch.zeros(2, 2)}
    uses: dict[str, Callable[[Subject], dict[str, Any]]] = {
        "a prediction": lambda s: s.outcome(s.predicting()),
        "checkpointing": lambda s: s.outcome(s.predicting(gradient_checkpointing=True)),
        "blocks in RAM": lambda s: s.outcome(
            s.predicting(memory=MemorySetting(0.5), training_adapter=s.lora), s.with_lora()
        ),
        "a LoRA of the MODEL": lambda s: s.outcome(s.predicting(), s.with_lora()),
        "a training adapter": lambda s: s.outcome(s.predicting(training_adapter=s.lora)),
        "a LoRA to start from": lambda s: s.outcome(s.predicting(fixed=s.lora)),
        "all LoRAs": lambda s: s.outcome(
            s.predicting(training_adapter=s.lora, fixed=s.lora), s.with_lora()
        ),
        "a sampling of the MODEL": lambda s: s.outcome(s.predicting(), s.with_other_sampling()),
        "a training": lambda s: s.outcome(s.training()),
        "cancel": lambda s: s.outcome(s.training(interrupted)),
        "an error in a step": lambda s: s.outcome(s.training(RuntimeError, within_step=True)),
        "no memory in a step": lambda s: s.outcome(s.training(torch.OutOfMemoryError, within_step=True)),
        "a foreign adapter": lambda s: s.outcome(s.predicting(training_adapter=foreign)),
    }  # fmt: skip
    found = {}
    for name, use in uses.items():
        subject = Subject()
        found[name] = use(subject)
    subject = Subject()
    subject.streamed.copy_fails = Copy.ended = True
    found["no memory for the copy"] = subject.outcome(subject.predicting())
    subject = Subject()
    subject.streamed.file_is_there = False
    found["no file"] = subject.outcome(subject.predicting())
    return {"uses": found, "same": measure_same()}


def measure_same() -> dict[str, bool]:
    """What is trained on a streamed model, against the same on ordinary weights."""
    subject = Subject()
    loras = []
    for patcher in (subject.streamed, SD3.build()):
        subject.training()(patcher)
        loras.append(subject.result.lora)
    return {key: torch.equal(tensor, loras[1][key]) for key, tensor in loras[0].items()}


def main(_arguments: Sequence[str]) -> None:
    sys.stdout.write(json.dumps(measure()))


if __name__ == "__main__":
    main(sys.argv[2:])
