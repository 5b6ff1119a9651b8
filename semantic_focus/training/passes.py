"""The passes of one step through the model, there and back, in smaller pieces where memory runs out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..lora.network import LoraAdapters
from .data import Batch, VelocityModel
from .processes import Attempt, CalledAway, Processes
from .random_numbers import SEEDS, own_random_numbers
from .shortage import TrainingOutOfMemory, empty_device_cache, out_of_memory
from .step_report import JudgedPass


class Passes:
    """Fills the gradients of the adapters, which must be attached.

    Args:
        backward: one pass with the share that its pictures have in the step; it adds to the gradients.
        accompany: the same pass, of which nothing counts.
        batch_size: pictures in a pass, as long as they fit.
        processes: that share the step.

    Attributes:
        at_once: pictures in a pass now.
    """

    def __init__(
        self,
        model: VelocityModel,
        adapters: LoraAdapters,
        backward: Callable[[Batch, float], JudgedPass],
        accompany: Callable[[Batch], None],
        batch_size: int,
        processes: Processes,
    ):
        self._model, self._adapters = model, adapters
        self._backward, self._accompany = backward, accompany
        self._batch_size, self._processes = batch_size, processes
        self._parameters = adapters.parameters()
        self.at_once = batch_size

    def gradients(
        self, batches: Sequence[Batch], seed: int, step: int, check: Callable[[], None]
    ) -> list[JudgedPass]:
        """Let the parameters have the gradient of a step, and tell what all its pictures showed.

        Args:
            seed: of all that draws from torch's own generators.
            step: its number from 1.
            check: called before each pass.

        Raises:
            TrainingOutOfMemory: not even one picture at a time fits.
        """
        while True:
            self.clear()
            attempts = self._processes.settle(self._attempt(batches, seed, check))
            shortages = [attempt.shortage for attempt in attempts if attempt.shortage]
            if not shortages:
                self._processes.sum_gradients()
                found = [judged for attempt in attempts for judged in attempt.passes]
                return sorted(found, key=lambda judged: judged.first)
            # not where the error is caught: it holds on to all that the pass has made
            self.clear()
            empty_device_cache()
            is_short = bool(attempts[self._processes.rank].shortage)
            if not self._processes.agree(not is_short or self._make_room()):
                self._halve(shortages[0], step)

    def clear(self) -> None:
        """Take the gradients away."""
        for parameter in self._parameters:
            parameter.grad = None

    def _attempt(self, batches: Sequence[Batch], seed: int, check: Callable[[], None]) -> Attempt:
        """This process's share of a step."""
        pictures = sum(len(batch.pictures) for batch in batches)
        self._processes.begin(self._parameters)
        judged = []
        try:
            for batch in self._processes.share(batches):
                for piece in self._pieces(batch):
                    check()
                    self._processes.check()
                    judged.append(self._there_and_back(piece, len(piece.pictures) / pictures, seed))
                self._processes.done_with(batch)
            self._go_along(batches[0], seed, check)
        except CalledAway:
            return Attempt()
        except RuntimeError as error:
            if not out_of_memory(error) or self._processes.in_step:  # others need it for this pass
                raise
            return Attempt(shortage=str(error) or type(error).__name__)
        return Attempt(judged)

    def _go_along(self, batch: Batch, seed: int, check: Callable[[], None]) -> None:
        """As many passes as others have left, on a picture of the batch; the share is done."""
        while self._processes.others_go_on(check):
            piece = batch.cut(0, 1)
            with self._random_numbers(piece, seed):
                self._accompany(piece)

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        """The batch as memory has room for it. With dropout only prompts of one size share a pass: it is
        drawn for each picture over all that the network holds of it. So they do in step: several sizes are
        several passes of the network.
        """
        of_one_size = self._adapters.dropout or self._processes.in_step
        alike = getattr(self._model, "alike", None) if of_one_size else None
        for piece in batch.split(self.at_once):
            start = 0
            for length in alike(piece.clean, piece.prompts) if alike else [len(piece.pictures)]:
                yield piece.cut(start, start + length)
                start += length

    def _there_and_back(self, piece: Batch, share: float, seed: int) -> JudgedPass:
        """One pass, with random numbers that are its own wherever it is done."""
        with self._random_numbers(piece, seed):
            return self._backward(piece, share)

    @contextmanager
    def _random_numbers(self, piece: Batch, seed: int) -> Iterator[None]:
        own = own_random_numbers((seed + piece.first) % SEEDS, piece.clean.device)
        with own, self._adapters.training(seed, piece.places):
            yield

    def _make_room(self) -> bool:
        """Whether the model takes less from now on; see `VelocityModel`."""
        make_room = getattr(self._model, "make_room", None)
        return make_room is not None and make_room()

    def _halve(self, said: str, step: int) -> None:
        if self.at_once == 1:
            raise TrainingOutOfMemory(
                f"step {step}: out of memory with one picture at a time ({said}). "
                "Switch gradient checkpointing on, lower the resolution of the pictures or the rank, "
                "or load the model in a smaller precision"
            )
        self.at_once = (self.at_once + 1) // 2
        logging.warning(
            f"LoRA training: out of memory, going on with {self.at_once} of {self._batch_size} "
            "pictures at a time. The result is the same up to rounding, a step takes longer"
        )
