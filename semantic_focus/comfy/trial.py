"""A model is tried before it is trained: one picture there and back, so that what is amiss is said."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import comfy.model_management
import torch
from torch import Tensor

from ..files.text import in_short, some
from ..lora.network import LoraAdapters
from ..training.data import Batch, TrainingPictures
from ..training.not_finite import BaseNotFinite, not_finite, weights_not_finite
from ..training.random_numbers import own_random_numbers
from ..training.shortage import out_of_memory
from .model import ComfyVelocityModel

LEVELS = (0.1, 0.5, 0.95)
"""Noise positions at which a patched prediction is compared: some patches act in a part of sampling only."""

ROUNDING = 0.02
"""Of the root mean square of a prediction: what kernels of 16 bit may differ by from one call to the next."""

MOST_WITHOUT_GRADIENT = 0.5
"""Share of the layers that may get no gradient; more, and the model is refused."""

FEW_WITHOUT_GRADIENT = 0.05
"""Share that is said in the log alone: a last block's text stream, which no prediction needs."""

Say = Callable[..., None]
"""say(kind, message, **values): see `TrainingStatus.note`."""


def say_in_log(_kind: str, message: str, **_values: str) -> None:
    """Where there is no node: warn in the log."""
    logging.warning(f"LoRA training: {message}")


@dataclass(frozen=True)
class Trial:
    """One picture through a model.

    Attributes:
        idle: the adapters change nothing yet.
        in_step: other processes make the same passes, and need this one for them.
    """

    velocity: ComfyVelocityModel
    adapters: LoraAdapters
    data: TrainingPictures
    batch: Batch
    idle: bool
    in_step: bool = False

    def run(self, say: Say) -> None:
        """Predict the picture with and without adapters, twice, and once without what patches the model.

        Where there is not memory enough, nothing is said: the first step has ways of its own. In step it has
        none: the error ends the training.

        Raises:
            ValueError: a prediction or its gradient cannot be had, or is not finite.
        """
        patches = self.velocity.patches
        if patches.sampler:
            logging.info(
                f"LoRA training: {', '.join(patches.sampler)} of the model act in previews only, training "
                "goes without them"
            )
        try:
            with own_random_numbers(0, self.data.device), self.adapters.attached():
                self._compare(say)
        except RuntimeError as error:
            if not out_of_memory(error) or self.in_step:
                raise

    def _compare(self, say: Say) -> None:
        base = self._predict(self.batch)
        if not_finite(base):
            raise BaseNotFinite(
                self.velocity.name,
                self.data.called(self.batch.pictures[0]),
                self.batch.u.item(),
                weights_not_finite(self.velocity.whole_network),
            )
        again = [self._predict(self.batch)]
        trained = self._with_gradient(say)
        if self.idle:
            again.append(trained)
        names = ", ".join(self.velocity.patches.network)
        if names and (changed := self._changed()) > ROUNDING:
            say(
                "patched",
                f"the model carries sampling patches ({names}) that change its predictions by {changed:.0%}, "
                "and is trained through them. Connect it before them to train the model itself",
                patches=names,
                share=f"{changed:.0%}",
            )
        elif names:
            logging.info(f"LoRA training: {names} of the model do not change its predictions here")
        unsteady = max(_difference(other, base) for other in again)
        if unsteady > ROUNDING:
            say(
                "unsteady",
                f"{self.velocity.name} gives two predictions for one picture that differ by {unsteady:.0%}: "
                "the prior pulls towards that noise. Connect the model before what draws at random, or set "
                "prior_weight to 0",
                model=self.velocity.name,
                share=f"{unsteady:.0%}",
            )

    def _changed(self) -> float:
        """The largest change that the patches make at some noise level."""
        changes = [0.0]
        for level in LEVELS:
            batch = replace(self.batch, u=torch.full_like(self.batch.u, level))
            with self.velocity.without_patches():
                plain = self._predict(batch)
            changes.append(_difference(self._predict(batch), plain))
        return max(changes)

    def _predict(self, batch: Batch) -> Tensor:
        """The base model's own prediction."""
        with self._in_words(), self.adapters.disabled(), torch.no_grad():
            noisy, sigma, _ = self.velocity.corrupt(batch.clean, batch.noise, batch.u)
            return self.velocity.predict(noisy, sigma, batch.prompts)

    def _with_gradient(self, say: Say) -> Tensor:
        """The prediction through the adapters, whose gradient is asked for and dropped."""
        with self._in_words():
            noisy, sigma, target = self.velocity.corrupt(self.batch.clean, self.batch.noise, self.batch.u)
            prediction = self.velocity.predict(noisy, sigma, self.batch.prompts)
            # the sum: of the mean over a large latent, the gradients vanish in fp16
            missed = self._without_gradient((prediction - target).square().sum())
            layers = len(self.adapters.layers)
            if len(missed) > MOST_WITHOUT_GRADIENT * layers:
                self._refuse_without_gradient(missed)
        if missed:
            text = (
                f"{len(missed)} of {layers} layers get no gradient and learn nothing: {some(missed)}. What "
                "they give does not reach the picture, or passes a part that has no backward pass"
            )
            if len(missed) > FEW_WITHOUT_GRADIENT * layers:
                say("no_gradient", text, layers=some(missed), count=str(len(missed)), of=str(layers))
            else:
                logging.info(f"LoRA training: {text}")
        return prediction.detach()

    def _without_gradient(self, loss: Tensor) -> list[str]:
        """Names of the adapted layers that nothing comes back to."""
        if not loss.requires_grad:
            return list(self.adapters.layers)
        owners = [(name, factor) for name, factors in self.adapters.layers.items() for factor in factors]
        gradients = torch.autograd.grad(loss, [factor for _, factor in owners], allow_unused=True)
        reached = {
            name
            for (name, _), gradient in zip(owners, gradients, strict=True)
            if gradient is not None and bool(gradient.any())
        }
        return [name for name in self.adapters.layers if name not in reached]

    def _refuse_without_gradient(self, missed: list[str]) -> None:
        reason = f"no gradient comes back from its prediction to {len(missed)} layers of the LoRA"
        if self.velocity.patches.network:
            raise RuntimeError(reason)  # for which the patches are blamed
        raise ValueError(
            f"{self.velocity.name} cannot be trained: {reason} ({some(missed)}), these layers or those after "
            "them have no backward pass (nunchaku's, say). Load the model from a safetensors or GGUF file"
        )

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            with self.velocity.patches_blamed():
                yield
        except (comfy.model_management.InterruptProcessingException, ValueError):
            raise  # the latter are ours
        except Exception as error:  # of a network that is given what it was not made for: of any kind
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            picture = self.data.called(self.batch.pictures[0])
            raise ValueError(
                f"{self.velocity.name} cannot be trained: it fails on {picture}, whose latent is "
                f"{list(self.batch.clean.shape[1:])} ({in_short(error)}). Check that latents and text come "
                "from the VAE and the text encoder of this model"
            ) from error


def _difference(one: Tensor, other: Tensor) -> float:
    """Root mean square of the difference, over that of the second."""
    scale = other.double().square().mean().sqrt()
    return ((one.double() - other.double()).square().mean().sqrt() / scale.clamp_min(1e-12)).item()
