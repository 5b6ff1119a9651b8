"""Pictures from the model as it is in the midst of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ..training.random_numbers import own_random_numbers
from .conditioning import Conditioning
from .memory.placement import EVERYTHING
from .model import ComfyVelocityModel


@dataclass(frozen=True)
class PreviewSettings:
    """How a preview is sampled, as in ComfyUI's KSampler.

    Attributes:
        training_adapter: leave the training adapter active; without, the preview shows what the LoRA gives
            on the distilled model it is for.
    """

    steps: int = 20
    cfg: float = 4.0
    seed: int = 0
    sampler: str = "euler"
    scheduler: str = "simple"
    training_adapter: bool = False

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"preview steps is {self.steps}: it must be 1 or more")
        for what, name, known in (
            ("sampler", self.sampler, comfy.samplers.SAMPLER_NAMES),
            ("scheduler", self.scheduler, comfy.samplers.SCHEDULER_NAMES),
        ):
            if name not in known:
                raise ValueError(f"preview {what} {name!r}: choose one of {', '.join(known)}")


def preview(
    velocity: ComfyVelocityModel,
    conditionings: Sequence[Conditioning],
    negative: Conditioning,
    shape: Sequence[int],
    settings: PreviewSettings = PreviewSettings(),  # noqa: B008
    vae: Any = None,
) -> Tensor:
    """Sample with ComfyUI's own sampler, with whatever adapters are attached to the network.

    The model stays loaded, and neither it nor torch's random numbers are changed: training goes on as if
    there had been no preview.

    Args:
        conditionings: one picture for each.
        negative: used when cfg is not 1.
        shape: of one latent, (C, *grid).
        vae: ComfyUI's VAE; without one, latents are turned into small pictures by the linear map that
            ComfyUI's own previews use.

    Returns:
        Float[N, H, W, 3] in 0..1 on the CPU; the frames of videos follow each other. Without a VAE, one
        pixel for each latent cell.
    """
    with torch.no_grad(), velocity.sampling(settings.training_adapter) as patcher:
        with own_random_numbers(settings.seed, velocity.device):
            latents = [_sample(patcher, c, negative, (1, *shape), settings) for c in conditionings]
        if vae is None:
            images = [latent_to_rgb(patcher.get_model_object("latent_format"), latent) for latent in latents]
        else:
            with velocity.lent(_wanted_by(vae, latents[0])):
                images = [vae.decode(latent) for latent in latents]
    return torch.cat([image.reshape(-1, *image.shape[-3:])[..., :3].float().cpu() for image in images])


def _wanted_by(vae: Any, latent: Tensor) -> int:
    """Bytes for a VAE of ComfyUI and its decoding of a latent; of another it is not known: all there are."""
    if not hasattr(vae, "memory_used_decode"):
        return EVERYTHING
    return int(vae.memory_used_decode(latent.shape, vae.vae_dtype)) + vae.patcher.model_size()


def latent_to_rgb(latent_format: Any, latent: Tensor) -> Tensor:
    """A picture with one pixel for each latent cell, Float[N, h, w, 3] in 0..1.

    Formats without a known linear map give grey pictures of the mean over the channels.

    Args:
        latent: Float[N, C, h, w] or Float[N, C, T, h, w] as a VAE would take it; frames follow each other.
    """
    cells = latent_format.process_in(latent.float().clone())
    reshape = getattr(latent_format, "latent_rgb_factors_reshape", None)
    if reshape is not None:
        cells = reshape(cells)
    if cells.ndim == 5:
        cells = cells.movedim(2, 1).flatten(0, 1)
    cells = cells.movedim(1, -1)
    if latent_format.latent_rgb_factors is None or cells.ndim != 4:
        grey = cells.mean(-1, keepdim=True)
        low, high = grey.amin(), grey.amax()
        return ((grey - low) / (high - low).clamp_min(1e-6)).expand(*grey.shape[:-1], 3)
    factors = torch.tensor(latent_format.latent_rgb_factors).to(cells)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias or (0.0, 0.0, 0.0)).to(cells)
    return ((cells @ factors + bias + 1) / 2).clamp(0, 1)


def _sample(
    patcher: comfy.model_patcher.ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    shape: tuple[int, ...],
    settings: PreviewSettings,
) -> Tensor:
    """What a KSampler gives on an empty latent, without its management of memory."""
    device = patcher.load_device
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(settings.seed))
    sigmas = comfy.samplers.KSampler(
        patcher, settings.steps, device, settings.sampler, settings.scheduler
    ).sigmas
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds(positive, negative)
    guider.set_cfg(settings.cfg)
    guider.inner_model = patcher.model
    guider.model_options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
    guider.conds = {name: [entry.copy() for entry in conds] for name, conds in guider.original_conds.items()}
    comfy.sampler_helpers.prepare_model_patcher(patcher, guider.conds, guider.model_options)
    comfy.samplers.filter_registered_hooks_on_conds(guider.conds, guider.model_options)
    return guider.inner_sample(
        noise.to(device), torch.zeros(shape, device=device), device,
        comfy.samplers.sampler_object(settings.sampler), sigmas.to(device), None, None, True, settings.seed,
        latent_shapes=[torch.Size(shape)],
    )  # fmt: skip
