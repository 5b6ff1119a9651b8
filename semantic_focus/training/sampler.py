"""Which pictures each batch holds; its position in the dataset is a value that can be saved."""

import copy
from collections.abc import Container, Sequence
from typing import Any

import torch


class PictureSampler:
    """Endless full batches of picture indices of one latent size each.

    Every pass over the dataset is a new permutation; pictures wait in a queue of their size until it fills a
    batch, so that every picture is used as often as its repeats say and a small dataset still gives full
    batches.

    Args:
        sizes: shape of each picture's latent.
        repeats: how often each picture comes in one pass, >= 1; empty: once each.
        batch_size: pictures in a batch.
        generator: gives the permutations; its state is saved by its owner.
        held_out: indices of pictures that never come.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, ...]],
        repeats: Sequence[int],
        batch_size: int,
        generator: torch.Generator,
        held_out: Container[int] = (),
    ):
        self._sizes = [tuple(size) for size in sizes]
        counts = repeats or [1] * len(sizes)
        self._deck = [
            index for index, count in enumerate(counts) if index not in held_out for _ in range(count)
        ]
        self._batch_size = batch_size
        self._generator = generator
        self._to_come: list[int] = []
        self._waiting: dict[tuple[int, ...], list[int]] = {}

    def next_batch(self) -> list[int]:
        """The next `batch_size` pictures of one size."""
        while True:
            if not self._to_come:
                order = torch.randperm(len(self._deck), generator=self._generator).tolist()
                self._to_come = [self._deck[place] for place in order]
            index = self._to_come.pop(0)
            queue = self._waiting.setdefault(self._sizes[index], [])
            queue.append(index)
            if len(queue) == self._batch_size:
                del self._waiting[self._sizes[index]]
                return queue

    def state_dict(self) -> dict[str, Any]:
        """The position as plain numbers and lists."""
        return {"to_come": list(self._to_come), "waiting": copy.deepcopy(list(self._waiting.values()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position that `state_dict` gave for the same dataset and batch size.

        Raises:
            ValueError: it is none.
        """
        to_come, waiting = state["to_come"], state["waiting"]
        known = set(self._deck)
        if not all(
            isinstance(index, int) and index in known for queue in (to_come, *waiting) for index in queue
        ):
            raise ValueError("the walk through the pictures names some that are not there")
        if not all(0 < len(queue) < self._batch_size for queue in waiting):
            raise ValueError("the walk through the pictures has batches of another size")
        self._to_come = list(to_come)
        self._waiting = {self._sizes[queue[0]]: list(queue) for queue in waiting}
