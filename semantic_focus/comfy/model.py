"""A ComfyUI model as the trainer's VelocityModel.

Written and run against ComfyUI 0.3.75 and 0.28.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import comfy.conds
import comfy.ldm.modules.attention
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.sd
import torch
from torch import Tensor, nn

from ..objective.noise_weighting import NoiseLevel
from ..training.data import UNCONDITIONAL
from ..training.memory import MemorySetting
from .conditioning import Conditioning, check_conditioning, detached
from .encoded_prompts import EncodedPrompts
from .lora_files import with_lora, with_training_adapter
from .memory.frozen import FrozenLayers
from .memory.placement import Placement, free_device
from .noise import NoiseProcess
from .sampling_patches import blamed, plain_options, sampling_patches, without_object_patches
from .sharding import ShardedPlacement, on_copies, with_own_modules
from .static_copy import drop, static_model
from .training_mode import (
    checkpoint_blocks,
    leave_inference_mode,
    refuse_placeholders,
    training_mode,
)


def latents_for_model(patcher: comfy.model_patcher.ModelPatcher, samples: Sequence[Tensor]) -> list[Tensor]:
    """Split LATENT samples into single pictures and apply the model's latent format.

    Args:
        samples: Float[B, C, *grid] each, as VAE Encode gives them; sizes may differ.

    Returns:
        One Float[C, *grid] per picture, on the CPU, free of inference mode.

    Raises:
        ValueError: a latent of another number of channels or dimensions than the model's.
    """
    latent_format: Any = patcher.get_model_object("latent_format")
    name, channels = type(patcher.model).__name__, latent_format.latent_channels
    pictures = []
    for latent in samples:
        if latent.is_nested:
            raise ValueError(
                f"a latent joins several kinds of data (sound and pictures, say): {name} is trained on one"
            )
        if latent.shape[1] != channels:
            raise ValueError(
                f"latent has {latent.shape[1]} channels, {name} needs {channels}: "
                "encode the pictures with the VAE of this model"
            )
        dimensions = latent_format.latent_dimensions
        if dimensions == 3 and latent.ndim == 4:
            latent = latent.unsqueeze(2)  # a picture is a video of one frame
        elif dimensions == 2 and latent.ndim == 5 and latent.shape[2] == 1:
            latent = latent.squeeze(2)
        if latent.ndim - 2 != dimensions:
            raise ValueError(
                f"latent is {list(latent.shape)}, {name} needs {dimensions} dimensions after the channels"
            )
        scaled = latent_format.process_in(latent.detach().cpu().float().clone())
        pictures.extend(scaled.unbind(0))
    return pictures


class ComfyVelocityModel:
    """One loaded ComfyUI model with its pictures' conditioning; made by `velocity_model`."""

    def __init__(
        self,
        patcher: comfy.model_patcher.ModelPatcher,
        conditionings: Sequence[Conditioning],
        placement: Placement,
        frozen: FrozenLayers,
        unconditional: Conditioning | None = None,
        without_training_adapter: comfy.model_patcher.ModelPatcher | None = None,
    ):
        self._patcher = patcher
        self._placement = placement
        self._frozen = frozen
        self._without_training_adapter = without_training_adapter or patcher
        self._model = patcher.model
        self._noise = NoiseProcess(patcher.get_model_object("model_sampling"))
        self._conditionings = conditionings
        self._unconditional = unconditional
        self._encoded = EncodedPrompts(self._encode)
        self._is_away = False
        """Lent for samples, and not brought back since."""
        self._transformer_options = _transformer_options(patcher)
        self.patches = sampling_patches(patcher)
        """What other nodes have hung on the MODEL."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._patcher.load_device

    @property
    def name(self) -> str:
        """What ComfyUI calls its kind of model."""
        return type(self._model).__name__

    @property
    def compute_dtype(self) -> torch.dtype:
        """What the network computes in, as ComfyUI has chosen it for sampling.

        Training stays with it. bf16 in the place of fp16 would need no loss scale, but has 8 bits where fp16
        has 11: it would round fp16 weights, and of fp8 weights too it gives gradients that are further off
        than those of fp16 with a loss scale. And the LoRA would meet other predictions than those it was
        trained on.
        """
        cast = self._model.manual_cast_dtype
        return self._model.get_dtype() if cast is None else cast

    @property
    def network(self) -> nn.Module:
        """The diffusion network that adapters go on."""
        return self._model.diffusion_model

    @property
    def whole_network(self) -> nn.Module:
        """The network with all of its weights; of one that is shared out, that which it was made of."""
        return self._without_training_adapter.model.diffusion_model

    @property
    def prediction(self) -> str:
        """What the network predicts: "velocity", "eps", "v" or "edm"."""
        return self._noise.prediction

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `VelocityModel.corrupt`; u is sigma itself for flow models, the share of the schedule for
        others.
        """
        return self._noise.corrupt(clean, noise, u)

    def snr(self, u: Tensor) -> Tensor:
        """Float[B]: signal to noise ratio alpha² / sigma² of what `corrupt` makes at the positions u."""
        return self._noise.snr(u)

    def noise_level(self, u: Tensor) -> NoiseLevel:
        """See `VelocityModel.noise_level`."""
        if self.prediction == "velocity":
            return NoiseLevel(u)
        # the error of an EDM network weighs in the picture as that of a v network does
        return NoiseLevel(u, self.snr(u), "eps" if self.prediction == "eps" else "v")

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """See `VelocityModel.predict`; the raw output of the network, before ComfyUI turns it into a
        picture.

        Pictures whose conditioning ComfyUI would not put into one batch run one after the other.

        Args:
            pictures: indices; `UNCONDITIONAL` stands for the empty prompt.
        """
        if self._is_away:
            self.resume()
        conditions = [self._conditions(index, noisy[i : i + 1]) for i, index in enumerate(pictures)]
        groups = _concatenable(conditions)
        if len(groups) == 1:
            return self._run(noisy, sigma, comfy.samplers.cond_cat(conditions))
        rows: list[Any] = [None] * len(pictures)
        for group in groups:
            together = comfy.samplers.cond_cat([conditions[i] for i in group])
            for i, row in zip(group, self._run(noisy[group], sigma[group], together), strict=True):
                rows[i] = row
        return torch.stack(rows)

    def alike(self, noisy: Tensor, pictures: list[int]) -> list[int]:
        """See `VelocityModel`. ComfyUI batches prompts of other lengths too, by repeating them."""
        conditions = [self._conditions(index, noisy[i : i + 1]) for i, index in enumerate(pictures)]
        runs = [1]
        for before, condition in itertools.pairwise(conditions):
            sizes = [{name: cond.size() for name, cond in one.items()} for one in (before, condition)]
            if sizes[0] == sizes[1] and comfy.samplers.cond_equal_size(before, condition):
                runs[-1] += 1
            else:
                runs.append(1)
        return runs

    @contextmanager
    def sampling(self, training_adapter: bool = False) -> Iterator[comfy.model_patcher.ModelPatcher]:
        """The MODEL for ComfyUI's samplers, in the midst of training; afterwards training goes on as if
        nothing had been.

        Args:
            training_adapter: leave it active, if there is one.
        """
        patcher = self._patcher if training_adapter else self._without_training_adapter
        self._is_away = True
        try:
            if patcher is not self._patcher:
                self._placement.load(patcher)
            yield patcher
        finally:
            self.resume()

    @contextmanager
    def without_patches(self) -> Iterator[None]:
        """Let the network predict as if no node had patched it; LoRAs applied to it stay."""
        patched = self._transformer_options
        self._transformer_options = plain_options(patched)
        try:
            with without_object_patches(self._patcher):
                yield
        finally:
            self._transformer_options = patched

    def patches_blamed(self) -> AbstractContextManager[None]:
        """See `sampling_patches.blamed`."""
        return blamed(self.patches)

    def resume(self) -> None:
        """Bring the model back to its device, as training needs it, after others have used the memory.

        Raises:
            TrainingOutOfMemory: others hold on to what it needs.
        """
        with torch.inference_mode(False):  # a node that samples is in it, and what it patches would stay so
            self._placement.load(self._patcher)
            leave_inference_mode(self._model, self._frozen)
            self._model.requires_grad_(False)
        self._is_away = False

    @property
    def memory(self) -> MemorySetting:
        """How much of the model waits in RAM now."""
        return self._placement.setting

    def make_room(self) -> bool:
        """Take less of the device from now on: encoded prompts go first, then more of the blocks wait in RAM.

        Returns:
            Whether there was anything left to do.
        """
        if self._encoded.drop():
            return True
        if not self._placement.make_room():
            return False
        self._placement.reload()
        leave_inference_mode(self._model, self._frozen)
        return True

    def lent(self, wanted: int) -> AbstractContextManager[None]:
        """See `Placement.lent`."""
        return self._placement.lent(wanted)

    def _run(self, noisy: Tensor, sigma: Tensor, conditions: dict[str, Any]) -> Tensor:
        raw: list[Any] = []
        capture = self.network.register_forward_hook(lambda _module, _inputs, output: raw.append(output))
        options = dict(self._transformer_options)
        options.update(cond_or_uncond=[0], sigmas=sigma)
        try:
            with self.patches_blamed():
                self._model.apply_model(noisy, sigma, transformer_options=options, **conditions)
        finally:
            capture.remove()
        if len(raw) != 1 or not torch.is_tensor(raw[0]) or raw[0].shape != noisy.shape:
            raise ValueError(
                f"{self.name} cannot be trained: its network gives no single prediction of the latent's size"
            )
        return raw[0].float()

    def _conditions(self, picture: int, noisy: Tensor) -> dict[str, comfy.conds.CONDRegular]:
        if picture != UNCONDITIONAL:
            conditioning = self._conditionings[picture]
        elif self._unconditional is not None:
            conditioning = self._unconditional
        else:
            raise ValueError(
                "training without caption was asked for but there is no empty prompt: connect the text "
                "encoder's output for an empty text, or set the caption dropout to 0"
            )
        return self._encoded.of(conditioning, noisy)

    def _encode(self, conditioning: Conditioning, noisy: Tensor) -> dict[str, comfy.conds.CONDRegular]:
        """What the network is given for one picture: text embedding, pooled embedding and all extras."""
        entries = comfy.sampler_helpers.convert_cond(detached(conditioning))
        with torch.no_grad():
            entries = comfy.samplers.encode_model_conds(
                self._model.extra_conds, entries, noisy, self.device, "positive",
                latent_image=torch.zeros_like(noisy), denoise_mask=None, seed=0, latent_shapes=[noisy.shape],
            )  # fmt: skip
            conditions = entries[0]["model_conds"]
            return {name: cond.process_cond(batch_size=1, area=None) for name, cond in conditions.items()}


def _concatenable(conditions: Sequence[dict[str, comfy.conds.CONDRegular]]) -> list[list[int]]:
    """Indices of the conditions, grouped as ComfyUI may batch them."""
    groups: list[list[int]] = []
    for index, condition in enumerate(conditions):
        for group in groups:
            if comfy.samplers.cond_equal_size(conditions[group[0]], condition):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _transformer_options(patcher: comfy.model_patcher.ModelPatcher) -> dict[str, Any]:
    """The options that the network gets in every call, with an attention that has a backward pass."""
    model_options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
    comfy.sampler_helpers.prepare_model_patcher(patcher, {"positive": []}, model_options)
    options = model_options["transformer_options"]
    inference_only = (
        comfy.model_management.sage_attention_enabled() or comfy.model_management.flash_attention_enabled()
    )
    if inference_only or "optimized_attention_override" in options:
        options["optimized_attention_override"] = _torch_attention
    return options


def _torch_attention(_chosen: Any, *args: Any, **kwargs: Any) -> Tensor:
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


@contextmanager
def velocity_model(
    patcher: comfy.model_patcher.ModelPatcher,
    conditionings: Sequence[Conditioning],
    gradient_checkpointing: bool = False,
    unconditional: Conditioning | None = None,
    training_adapter: Mapping[str, Tensor] | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    memory: MemorySetting = MemorySetting(),  # noqa: B008
    shared_by: Any = None,
) -> Iterator[ComfyVelocityModel]:
    """Load a MODEL for training and leave it as it was found, also after an error.

    Args:
        patcher: ComfyUI's MODEL; LoRAs already applied to it are part of the base.
        conditionings: one per picture.
        gradient_checkpointing: recompute each block in the backward pass instead of keeping its activations.
        unconditional: the empty prompt, which `UNCONDITIONAL` stands for.
        training_adapter: a LoRA that is active while training only: it undoes the distillation of a few-step
            model, whose result then works without it.
        fixed: of a LoRA, what is part of the base now (see `lora_files.ModelLora`).
        memory: how much of the model waits in RAM.
        shared_by: processes, a group of torch.distributed, each of which holds a part of the weights; None:
            they are whole.

    Raises:
        ValueError: the training adapter is not for this model, a conditioning cannot be used, weights are
            not there, or the model cannot be read again (see `static_copy`).
        TrainingOutOfMemory: the model does not fit on its device, though all that can waits in RAM.
    """
    for conditioning in (*conditionings, *([] if unconditional is None else [unconditional])):
        check_conditioning(conditioning)
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        base = active = stack.enter_context(static_model(patcher))
        if fixed:
            base = active = with_lora(base, fixed)
            stack.callback(_unload, base)
        if training_adapter is not None:
            active = with_training_adapter(base, training_adapter)
            stack.callback(_unload, active)
        if shared_by is not None:
            active = with_own_modules(active)
        stack.callback(drop, active, patcher)  # or its weights would first be moved to RAM
        stack.callback(active.cleanup)
        refuse_placeholders(active.model)
        frozen, blocks = FrozenLayers(active.model, active.object_patches), checkpoint_blocks(active.model)
        if shared_by is None:
            placement = Placement(frozen, blocks, memory, gradient_checkpointing)
        else:
            placement = ShardedPlacement(frozen, blocks, gradient_checkpointing, shared_by)
        stack.callback(placement.unload)
        placement.load(active)
        stack.enter_context(
            training_mode(active.model, frozen, gradient_checkpointing, lambda: placement.inputs_in_ram)
        )
        if shared_by is not None:
            parts = [*blocks, active.model.diffusion_model]
            stack.enter_context(on_copies(parts, gradient_checkpointing))
        yield ComfyVelocityModel(active, conditionings, placement, frozen, unconditional, base)


def _unload(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Take a patcher's weights off its device and undo its patches."""
    free_device(patcher.load_device, lambda loaded: loaded is patcher)
