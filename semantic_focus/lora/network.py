"""The adapters of one model: when they act, and what they hold.

They work on the activations of frozen linear layers through forward hooks: the model's own weights are never
rebuilt or touched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import ADAPTER_KINDS, Adapter, AdapterSettings
from .dropout import Dropout
from .keys import PREFIX, generic_tensors
from .layers import adaptable_layers, is_pointwise, size_of

NO_DROPOUT = Dropout()


class LoraAdapters:
    """All adapters of one model. They act only inside ``with adapters.attached():``.

    Args:
        layers: dotted name -> layer, as from `layers.linear_layers` or `layers.adaptable_layers`; the names
            become the file's keys.
        settings: of every adapter.
        seed: of the random initialisation; torch's own generator is left alone.
        device: where the network computes; None: where each layer's weight is.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        settings: AdapterSettings,
        seed: int,
        device: torch.device | None = None,
    ):
        generator = torch.Generator().manual_seed(seed)
        make = ADAPTER_KINDS[settings.kind].new
        self._bind(
            layers,
            {name: make(*size_of(layer), settings, generator) for name, layer in layers.items()},
            settings.dropout,
            device,
        )

    def _bind(
        self,
        layers: Mapping[str, nn.Module],
        adapters: Mapping[str, Adapter],
        dropout: float,
        device: torch.device | None,
    ) -> None:
        self._layers: dict[str, Any] = dict(layers)
        self._adapters = {
            name: adapter.to(device or self._layers[name].weight.device) for name, adapter in adapters.items()
        }
        self.dropout = dropout
        """Share of the inner activations that training drops."""
        self._beside: dict[str, Tensor] = {}
        self._enabled = True
        self._drawn: tuple[int, Sequence[int]] | None = None
        self._attached = 0

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable tensors with the keys that `state_dict` gives them, in a fixed order."""
        return [
            (f"{PREFIX}{name}.{suffix}", factor)
            for name, adapter in self._adapters.items()
            for suffix, factor in adapter.named_factors().items()
        ]

    @property
    def layers(self) -> dict[str, list[nn.Parameter]]:
        """The trainable tensors of each layer, by its dotted name."""
        return {name: list(adapter.named_factors().values()) for name, adapter in self._adapters.items()}

    def parameters(self) -> list[nn.Parameter]:
        """The trainable tensors, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def parameter_groups(self, learning_rate: float, up_rate_ratio: float = 1.0) -> list[dict[str, Any]]:
        """Groups for an optimizer, in which `up` learns faster than `down` (Hayou et al. 2024, "LoRA+").

        Args:
            up_rate_ratio: rate of `up` (of loha w1_a and w2_a, of lokr w2 or w2_a) over that of the others;
                about 16 in the paper. 1: a single group.
        """
        if up_rate_ratio == 1:
            return [{"params": self.parameters(), "lr": learning_rate}]
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for adapter in self._adapters.values():
            for suffix, factor in adapter.named_factors().items():
                groups[suffix in adapter.UP].append(factor)
        return [
            {"params": groups[False], "lr": learning_rate},
            {"params": groups[True], "lr": learning_rate * up_rate_ratio},
        ]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the adapters act on the model; on leaving, also by an error, the model is as it was.

        Entered once more inside, it changes nothing. The backward pass belongs inside too where blocks are
        recomputed in it.
        """
        handles = []
        if self._attached == 0:
            handles = [
                layer.register_forward_hook(self._hook(number, self._adapters[name], is_pointwise(layer)))
                for number, (name, layer) in enumerate(self._layers.items())
            ]
        self._attached += 1
        try:
            yield
        finally:
            self._attached -= 1
            for handle in handles:
                handle.remove()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Let the base model answer alone for a while."""
        before, self._enabled = self._enabled, False
        try:
            yield
        finally:
            self._enabled = before

    @contextmanager
    def training(self, seed: int, places: Sequence[int]) -> Iterator[None]:
        """Use dropout for a while; without it there is none. Forward and backward pass belong together in it.

        Args:
            seed: of the step.
            places: in the step, of the pictures that the pass has; see `Dropout`.
        """
        before, self._drawn = self._drawn, (seed, places)
        try:
            yield
        finally:
            self._drawn = before

    def _hook(
        self, number: int, adapter: Adapter, pointwise: bool
    ) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def add_update(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._enabled:
                return None
            drawn = self._drawn
            dropout = NO_DROPOUT if drawn is None else Dropout(self.dropout, drawn[0], number, drawn[1])
            if not pointwise:
                return adapter.add_to(output, inputs[0], dropout)
            # Float[B, C, *grid]: the channels go last, as an adapter has them
            updated = adapter.add_to(output.movedim(1, -1), inputs[0].movedim(1, -1), dropout)
            return updated.movedim(-1, 1).contiguous()

        return add_update

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all tensors under ComfyUI's generic LoRA keys, on the CPU.

        ``diffusion_model.<layer>.lora_up.weight``, ``….lora_down.weight`` and ``….alpha``, or those of loha
        (``….hada_w1_a`` …) and lokr (``….lokr_w1`` …).
        """
        return generic_tensors(self._adapters)

    def lora(self) -> dict[str, Tensor]:
        """The whole LoRA for a file: `state_dict`, and what a LoRA that was read has beside adapters."""
        return {**self.state_dict(), **self._beside}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors that `state_dict` gave; all of them or, after an error, none.

        Raises:
            ValueError: a layer is missing, has another shape, or is one that has no adapter here.
        """
        wanted = self.named_parameters()
        known = {key for key, _ in wanted} | {f"{PREFIX}{name}.alpha" for name in self._adapters}
        surplus = [key for key in tensors if key not in known]
        if surplus:
            raise ValueError(
                f"LoRA key {surplus[0]} ({len(surplus)} such) is not trained here: "
                "choose the layers and the kind of adapter that it was trained with"
            )
        for key, parameter in wanted:
            if key not in tensors or tensors[key].shape != parameter.shape:
                found = list(tensors[key].shape) if key in tensors else "missing"
                raise ValueError(
                    f"LoRA key {key} is {found}, the model needs {list(parameter.shape)}: "
                    "was it trained with another rank, kind, layer choice or base model?"
                )
        with torch.no_grad():
            for key, parameter in wanted:
                parameter.copy_(tensors[key])
        for name, adapter in self._adapters.items():
            alpha = tensors.get(f"{PREFIX}{name}.alpha")
            adapter.alpha = float(adapter.rank if alpha is None else alpha)

    @classmethod
    def of_adapters(
        cls,
        model: nn.Module,
        adapters: Mapping[str, Adapter],
        dropout: float = 0.0,
        beside: Mapping[str, Tensor] | None = None,
        device: torch.device | None = None,
    ) -> "LoraAdapters":
        """Adapters that `reading.read_lora` found in a file.

        Args:
            adapters: by the names of the model's layers.
            beside: what the LoRA has for weights that no adapter can hold. It is handed on as it is; that it
                acts, the caller sees to.
            device: where the network computes; None: where each layer's weight is.
        """
        layers = adaptable_layers(model)
        loaded = cls.__new__(cls)
        loaded._bind({name: layers[name] for name in adapters}, adapters, dropout, device)
        loaded._beside = dict(beside or {})
        return loaded
