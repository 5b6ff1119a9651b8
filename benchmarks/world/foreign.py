"""Losses of other training programs, written from their definitions, run by this library's trainer.

The definitions are those of the programs' documentation, with their settings as they are set at first; no
code is theirs.
"""

import torch
from torch import Tensor

from semantic_focus.training.data import Batch
from semantic_focus.training.step_report import JudgedPass
from semantic_focus.training.trainer import Trainer

UNMASKED_WEIGHT = 0.1
"""What the surroundings count in both programs."""
UNMASKED_SHARE = 0.1
"""OneTrainer shows this share of the pictures without their mask."""


class ForeignTrainer(Trainer):
    """A trainer with a loss of its own; the objective reports, but teaches nothing."""

    def loss(self, batch: Batch, noisy: Tensor, sigma: Tensor, target: Tensor, v_pred: Tensor) -> Tensor:
        """The scalar to differentiate; velocities are Float[B, C, h, w]."""
        raise NotImplementedError

    def base_prediction(self, noisy: Tensor, sigma: Tensor, prompts: list[int]) -> Tensor:
        """Float[B, C, h, w]: what the model says without the adapters."""
        with self.adapters.disabled(), torch.no_grad():
            return self.model.predict(noisy, sigma, prompts)

    def _backward(self, batch: Batch, share: float) -> JudgedPass:
        noisy, sigma, target = self.model.corrupt(batch.clean, batch.noise, batch.u)
        v_pred = self.model.predict(noisy, sigma, batch.prompts)
        seen: list[Tensor] = []
        v_pred.register_hook(seen.append)
        loss = self.loss(batch, noisy, sigma, target, v_pred)
        (loss * share).backward()
        value = self.objective(v_pred.detach(), target, batch.masks)
        return JudgedPass.of(batch, value, seen[0])


class OneTrainerMasked(ForeignTrainer):
    """The squared error, in the surroundings a tenth of it; one picture in ten is learnt whole."""

    prior_weight = 0.0

    def loss(self, batch: Batch, noisy: Tensor, sigma: Tensor, target: Tensor, v_pred: Tensor) -> Tensor:
        mask = _face(batch).clamp_min(UNMASKED_WEIGHT)
        shown_whole = torch.rand(len(mask), generator=self._generator) < UNMASKED_SHARE
        mask[shown_whole] = 1.0
        loss = ((v_pred - target).square() * mask).mean()
        if self.prior_weight:
            change = (v_pred - self.base_prediction(noisy, sigma, batch.prompts)).square()
            loss = loss + self.prior_weight * (change * (1 - mask)).mean()
        return loss


class OneTrainerMaskedPrior(OneTrainerMasked):
    """The same with masked prior preservation: what the mask leaves is held to the base model."""

    prior_weight = 1.0


class InvertedMaskPrior(ForeignTrainer):
    """ai-toolkit's masked loss, its mask scaled to a mean of 1, and half the change from the base model under
    the inverted mask, scaled likewise.
    """

    prior_weight = 0.5

    def loss(self, batch: Batch, noisy: Tensor, sigma: Tensor, target: Tensor, v_pred: Tensor) -> Tensor:
        face = _face(batch)
        change = (v_pred - self.base_prediction(noisy, sigma, batch.prompts)).square()
        masked = ((v_pred - target).square() * _mean_one(face.clamp_min(UNMASKED_WEIGHT))).mean()
        return masked + self.prior_weight * (change * _mean_one(1 - face)).mean()


class DifferentialPreservation(ForeignTrainer):
    """ai-toolkit's differential output preservation: the whole picture is learnt, and with the name taken out
    of the caption the model is to say what the base model says.

    The model's prompts are those of all pictures, then the same without the name.
    """

    def loss(self, batch: Batch, noisy: Tensor, sigma: Tensor, target: Tensor, v_pred: Tensor) -> Tensor:
        nameless = [len(self.data.latents) + picture for picture in batch.pictures]
        change = self.model.predict(noisy, sigma, nameless) - self.base_prediction(noisy, sigma, nameless)
        return (v_pred - target).square().mean() + change.square().mean()


def _face(batch: Batch) -> Tensor:
    return batch.masks["face"][:, None]


def _mean_one(mask: Tensor) -> Tensor:
    return mask / mask.mean().clamp_min(1e-6)
