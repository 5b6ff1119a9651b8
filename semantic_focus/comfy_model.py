"""A ComfyUI model as the trainer's VelocityModel. The only file that knows ComfyUI's model internals.

Written against ComfyUI 0.3.75 and read against 0.28.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.conds
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.sampler_helpers
import comfy.samplers
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

Conditioning = list[tuple[Tensor, dict[str, Any]]]
"""ComfyUI's CONDITIONING: text embedding Float[1, N, D] with its extras, one entry per prompt."""

EVERYTHING = 10**20
"""Bytes asked for, so that ComfyUI moves every other model out of the way."""

UNSUPPORTED_EXTRAS = {
    "control": "a ControlNet",
    "gligen": "GLIGEN boxes",
    "area": "an area",
    "mask": "a mask",
}


def latents_for_model(patcher: comfy.model_patcher.ModelPatcher, samples: Sequence[Tensor]) -> list[Tensor]:
    """Split LATENT samples into single pictures and apply the model's latent format.

    Args:
        samples: Float[B, C, *grid] each, as VAE Encode gives them.

    Returns:
        One Float[C, *grid] per picture, on the CPU, free of inference mode.

    Raises:
        ValueError: a latent of another number of channels than the model's.
    """
    latent_format = patcher.model.latent_format
    pictures = []
    for latent in samples:
        if latent.shape[1] != latent_format.latent_channels:
            raise ValueError(
                f"latent has {latent.shape[1]} channels, {type(patcher.model).__name__} needs "
                f"{latent_format.latent_channels}: encode the pictures with the VAE of this model"
            )
        if latent.ndim - 2 < latent_format.latent_dimensions:
            latent = latent.unsqueeze(2)  # a picture is a video of one frame
        pictures.extend(latent_format.process_in(latent.detach().cpu().float().clone()).unbind(0))
    return pictures


def conditioning_per_picture(conditionings: Sequence[Conditioning], pictures: int) -> list[Conditioning]:
    """One conditioning per picture, from a list as long as the pictures, one with as many entries, or a
    single one.

    Raises:
        ValueError: the numbers do not match.
    """
    if len(conditionings) == 1 and len(conditionings[0]) == pictures:
        return [[entry] for entry in conditionings[0]]
    if len(conditionings) == 1:
        return list(conditionings) * pictures
    if len(conditionings) != pictures:
        raise ValueError(
            f"{pictures} pictures but {len(conditionings)} conditionings: give one for all, or one per "
            "picture (connect the captions of the dataset to the text encoder)"
        )
    return list(conditionings)


class ComfyVelocityModel:
    """One loaded ComfyUI model with its pictures' conditioning; made by `velocity_model`."""

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher, conditionings: Sequence[Conditioning]):
        self._patcher = patcher
        self._model = patcher.model
        self._sampling: Any = patcher.get_model_object("model_sampling")
        self._conditionings = conditionings
        self._encoded: dict[tuple[int, torch.Size], dict[str, comfy.conds.CONDRegular]] = {}
        self._target = _target_function(self._sampling)
        self._options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
        comfy.sampler_helpers.prepare_model_patcher(patcher, {"positive": []}, self._options)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._patcher.load_device

    @property
    def network(self) -> nn.Module:
        """The diffusion network that adapters go on."""
        return self._model.diffusion_model

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `VelocityModel.corrupt`; u is sigma itself for flow models, the share of the schedule for
        others.
        """
        if isinstance(self._sampling, comfy.model_sampling.CONST):
            sigma = u
        else:
            sigma = self._sampling.sigma(u * (self._sampling.num_timesteps - 1)).to(u)
        noisy = self._sampling.noise_scaling(sigma, noise, clean)
        return noisy, sigma, self._target(clean, noise, sigma.view(-1, *[1] * (clean.ndim - 1)))

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """See `VelocityModel.predict`; the raw output of the network, before ComfyUI turns it into a
        picture.
        """
        conditions = [self._conditions(index, noisy[i : i + 1]) for i, index in enumerate(pictures)]
        if all(comfy.samplers.cond_equal_size(conditions[0], other) for other in conditions[1:]):
            return self._run(noisy, sigma, comfy.samplers.cond_cat(conditions))
        single = [
            self._run(noisy[i : i + 1], sigma[i : i + 1], comfy.samplers.cond_cat([condition]))
            for i, condition in enumerate(conditions)
        ]
        return torch.cat(single)

    def _run(self, noisy: Tensor, sigma: Tensor, conditions: dict[str, Any]) -> Tensor:
        raw: list[Any] = []
        capture = self.network.register_forward_hook(lambda _module, _inputs, output: raw.append(output))
        options = dict(self._options["transformer_options"])
        options.update(cond_or_uncond=[0], sigmas=sigma)
        try:
            self._model.apply_model(noisy, sigma, transformer_options=options, **conditions)
        finally:
            capture.remove()
        if len(raw) != 1 or not torch.is_tensor(raw[0]):
            raise ValueError(
                f"{type(self._model).__name__} cannot be trained: its network gives no single prediction"
            )
        return raw[0].float()

    def _conditions(self, picture: int, noisy: Tensor) -> dict[str, comfy.conds.CONDRegular]:
        key = (picture, noisy.shape)
        if key not in self._encoded:
            self._encoded[key] = self._encode(self._conditionings[picture], noisy)
        return self._encoded[key]

    def _encode(self, conditioning: Conditioning, noisy: Tensor) -> dict[str, comfy.conds.CONDRegular]:
        """What the network is given for one picture: text embedding, pooled embedding and all extras."""
        if len(conditioning) != 1:
            raise ValueError(
                f"a picture has {len(conditioning)} combined prompts: "
                "training takes one conditioning per picture"
            )
        entries = comfy.sampler_helpers.convert_cond(_detached(conditioning))
        for name, meaning in UNSUPPORTED_EXTRAS.items():
            if name in entries[0]:
                raise ValueError(
                    f"the conditioning carries {meaning}, which training cannot use: take it out"
                )
        with torch.no_grad():
            entries = comfy.samplers.encode_model_conds(
                self._model.extra_conds, entries, noisy, self.device, "positive",
                latent_image=torch.zeros_like(noisy), denoise_mask=None, seed=0, latent_shapes=[noisy.shape],
            )  # fmt: skip
            conditions = entries[0]["model_conds"]
            return {name: cond.process_cond(batch_size=1, area=None) for name, cond in conditions.items()}


def _detached(value: Any) -> Any:
    """A copy of nested conditioning whose tensors may be used in training (inference tensors may not)."""
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_detached(item) for item in value)
    return value


def _target_function(sampling: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What the network is trained to predict, from clean picture, noise and sigma [B, 1, ...]."""
    kinds = comfy.model_sampling
    if isinstance(sampling, kinds.CONST):
        return lambda clean, noise, sigma: noise - clean
    if isinstance(sampling, kinds.V_PREDICTION) and not isinstance(sampling, kinds.EDM):
        return lambda clean, noise, sigma: (noise - sigma * clean) / (sigma**2 + 1).sqrt()
    if isinstance(sampling, kinds.EPS) and not isinstance(sampling, kinds.X0 | kinds.EDM):
        return lambda clean, noise, sigma: noise
    names = ", ".join(cls.__name__ for cls in type(sampling).__mro__[1:3])
    raise ValueError(
        f"models of the kind {names} are not supported: training needs velocity, eps or v prediction"
    )


@contextmanager
def velocity_model(
    patcher: comfy.model_patcher.ModelPatcher,
    conditionings: Sequence[Conditioning],
    gradient_checkpointing: bool = False,
) -> Iterator[ComfyVelocityModel]:
    """Load a MODEL for training and leave it as it was found, also after an error.

    Args:
        patcher: ComfyUI's MODEL; LoRAs already applied to it are part of the base.
        conditionings: one per picture.
        gradient_checkpointing: recompute each block in the backward pass instead of keeping its activations.
    """
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        comfy.model_management.load_models_gpu([patcher], memory_required=EVERYTHING, force_full_load=True)
        stack.callback(patcher.cleanup)
        patcher.pre_run()
        model = patcher.model
        _leave_inference_mode(model)
        stack.enter_context(_frozen(model))
        if gradient_checkpointing:
            stack.enter_context(_checkpointed(model.diffusion_model))
        yield ComfyVelocityModel(patcher, conditionings)


def _leave_inference_mode(model: nn.Module) -> None:
    """Replace inference tensors by equal ordinary ones: autograd cannot save the former for the backward
    pass.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradient for any weight of the model; afterwards each has its own setting again."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _checkpointed(network: nn.Module) -> Iterator[None]:
    """Recompute the network's blocks (members of its module lists) in the backward pass."""
    blocks = [
        block
        for child in network.modules()
        if isinstance(child, nn.ModuleList)
        for block in child
        if not isinstance(block, nn.ModuleList | nn.Linear) and next(block.parameters(), None) is not None
    ]
    inner = {id(part) for block in blocks for part in block.modules() if part is not block}
    outermost = [block for block in blocks if id(block) not in inner]
    originals = [(block, block.__dict__.get("forward")) for block in outermost]
    for block in outermost:
        block.forward = _recomputed(block.forward)
    try:
        yield
    finally:
        for block, own in originals:
            if own is None:
                del block.forward
            else:
                block.forward = own


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return torch.utils.checkpoint.checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
