"""How a ComfyUI model noises a latent, and what its network is trained to predict."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Parametrisation:
    """What one kind of network predicts.

    Attributes:
        name: the field's word for it.
        target: clean, noise, sigma [B, 1, ...] and sigma_data -> the raw output of a perfect network.
    """

    name: str
    target: Callable[[Tensor, Tensor, Tensor, float], Tensor]


def _velocity(clean: Tensor, noise: Tensor, sigma: Tensor, data: float) -> Tensor:
    return noise - clean


def _eps(clean: Tensor, noise: Tensor, sigma: Tensor, data: float) -> Tensor:
    return noise


def _v(clean: Tensor, noise: Tensor, sigma: Tensor, data: float) -> Tensor:
    """Salimans and Ho 2022, appendix D, for data of standard deviation `data`."""
    return (data * noise - sigma * clean / data) / (sigma**2 + data**2).sqrt()


def _edm(clean: Tensor, noise: Tensor, sigma: Tensor, data: float) -> Tensor:
    """The preconditioned output F of Karras et al. 2022, table 1: v with the sign of the picture."""
    return -_v(clean, noise, sigma, data)


PARAMETRISATIONS: tuple[tuple[type, Parametrisation], ...] = (
    (comfy.model_sampling.CONST, Parametrisation("velocity", _velocity)),
    (comfy.model_sampling.COSMOS_RFLOW, Parametrisation("velocity", _velocity)),
    (comfy.model_sampling.EDM, Parametrisation("edm", _edm)),
    (comfy.model_sampling.V_PREDICTION, Parametrisation("v", _v)),
    (comfy.model_sampling.EPS, Parametrisation("eps", _eps)),
)
"""ComfyUI's classes, derived ones first."""


class NoiseProcess:
    """Noising and target of one model, from its `model_sampling`.

    Raises:
        ValueError: ComfyUI turns the network's output into a picture in a way that is not known here.
    """

    def __init__(self, sampling: Any):
        self._sampling = sampling
        self._parametrisation = _parametrisation(sampling)
        self._straight = isinstance(sampling, comfy.model_sampling.CONST | comfy.model_sampling.COSMOS_RFLOW)
        self._cosmos = isinstance(sampling, comfy.model_sampling.COSMOS_RFLOW)
        self._noise_scale = float(getattr(sampling, "noise_scale", 1.0))
        self._log_sigmas = sampling.sigmas.detach().cpu().float().log()
        self._check()

    @property
    def prediction(self) -> str:
        """What the network predicts: "velocity", "eps", "v" or "edm"."""
        return self._parametrisation.name

    def sigma(self, u: Tensor) -> Tensor:
        """The model's sigma at the positions u, Float[B].

        For flow models sigma is u (Cosmos: u / (1 − u)); for others u is the share of the table of sigmas,
        interpolated in the logarithm as ComfyUI does.
        """
        if self._cosmos:
            return u / (1 - u)
        if self._straight:
            return u
        table = self._log_sigmas.to(u.device)
        index = u.float() * (len(table) - 1)
        below, share = index.floor().long(), index.frac()
        return torch.lerp(table[below], table[index.ceil().long()], share).exp().to(u)

    def positions(self, sigmas: Tensor) -> tuple[float, ...]:
        """The inverse of `sigma`."""
        values = sigmas.double().cpu()
        if self._cosmos:
            values = values / (1 + values)
        elif not self._straight:
            shares = np.linspace(0, 1, len(self._log_sigmas))
            return tuple(np.interp(values.log().numpy(), self._log_sigmas.numpy(), shares).tolist())
        return tuple(values.tolist())

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `VelocityModel.corrupt`."""
        sigma = self.sigma(u)
        noisy = self._sampling.noise_scaling(sigma, noise, clean)
        return noisy, sigma, self._target(clean, noise, sigma)

    def snr(self, u: Tensor) -> Tensor:
        """Float[B]: alpha² / sigma² of noisy = alpha·clean + sigma·noise at the positions u."""
        if self._straight:
            return ((1 - u) / (u * self._noise_scale)) ** 2
        return self.sigma(u) ** -2

    def _target(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        scaled = noise * self._noise_scale if self._noise_scale != 1 else noise
        levels = sigma.view(-1, *[1] * (clean.ndim - 1))
        return self._parametrisation.target(clean, scaled, levels, getattr(self._sampling, "sigma_data", 1.0))

    def _check(self) -> None:
        """Refuse a model whose own step from prediction to picture does not bring the target back."""
        clean, noise = torch.tensor([[[[0.5]]], [[[-1.5]]]]), torch.tensor([[[[-0.75]]], [[[1.25]]]])
        noisy, sigma, target = self.corrupt(clean, noise, torch.tensor([0.3, 0.6]))
        if not torch.allclose(self._sampling.calculate_denoised(sigma, target, noisy), clean, atol=1e-3):
            raise ValueError(_unsupported(self._sampling))


def inference_anchors(
    patcher: comfy.model_patcher.ModelPatcher, scheduler: str, steps: int
) -> tuple[float, ...]:
    """The noise positions at which sampling this MODEL in so many steps calls the network, noisiest first.

    Args:
        scheduler: one of ComfyUI's.

    Raises:
        ValueError: there is no such scheduler, or steps is below 1.
    """
    if scheduler not in comfy.samplers.SCHEDULER_NAMES:
        raise ValueError(
            f"scheduler {scheduler!r}: choose one of {', '.join(comfy.samplers.SCHEDULER_NAMES)}"
        )
    if steps < 1:
        raise ValueError(f"steps is {steps}: it must be 1 or more")
    sampling = patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    return NoiseProcess(sampling).positions(sigmas[sigmas > 0])


def _parametrisation(sampling: Any) -> Parametrisation:
    unlike = comfy.model_sampling.X0
    for kind, parametrisation in PARAMETRISATIONS:
        if isinstance(sampling, kind) and not isinstance(sampling, unlike):
            return parametrisation
    raise ValueError(_unsupported(sampling))


def _unsupported(sampling: Any) -> str:
    names = ", ".join(cls.__name__ for cls in type(sampling).__mro__[1:3])
    return (
        f"models of the kind {names} are not supported: training needs velocity, eps or v prediction "
        "(if a ModelSampling node is in the way, connect the model before it)"
    )
