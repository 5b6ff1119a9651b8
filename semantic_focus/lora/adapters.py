"""Low-rank updates of one linear layer each, computed on its activations: LoRA, LoHa and LoKr.

The parameters are fp32 whatever the precision of the layer; products are computed in that of its activations.
Every update is zero at the start. The names of the parameters are the suffixes of their keys in a file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .dropout import Dropout
from .patterns import layer_patterns


@dataclass(frozen=True)
class AdapterSettings:
    """Which adapters a training makes.

    Attributes:
        kind: lora (Hu et al. 2021), loha (Hyeon-Woo et al. 2021) or lokr (Yeh et al. 2023, "LyCORIS").
        rank: of every adapter, >= 1.
        alpha: the update is scaled by alpha / rank.
        dropout: share in [0, 1) of the inner activations (of the update itself for loha) dropped in training.
        factor: lokr only: the first Kronecker factor is at most factor × factor.
        include: patterns of layer names that take the place of the layer choice, see `patterns.py`.
        exclude: patterns of layer names that are left alone.
    """

    kind: Literal["lora", "loha", "lokr"] = "lora"
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    factor: int = 8
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self):
        if self.kind not in ADAPTER_KINDS:
            raise ValueError(f"adapter kind {self.kind!r}: choose one of {', '.join(ADAPTER_KINDS)}")
        for name in ("rank", "factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}: it must be a finite number above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and below 1")
        layer_patterns((*self.include, *self.exclude))


class Adapter(nn.Module):
    """The update of one linear layer: named fp32 factors and a scale.

    Args:
        factors: name -> tensor; the names and shapes decide how the update is computed.
        alpha: see `AdapterSettings`.
    """

    UP: ClassVar[frozenset[str]]
    """Factors that start at zero, or take the place of those that do: LoRA+ trains them faster."""

    def __init__(self, factors: Mapping[str, Tensor], alpha: float):
        super().__init__()
        self.factors = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(tensor) for name, tensor in factors.items()}
        )
        self.alpha = alpha

    def named_factors(self) -> dict[str, nn.Parameter]:
        """The trainable tensors by the suffixes of their keys, in a fixed order."""
        return {name.replace("/", "."): factor for name, factor in self.factors.items()}

    @property
    def rank(self) -> int:
        """What alpha is divided by."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of the layer that the factors fit."""
        raise NotImplementedError

    @property
    def scale(self) -> float:
        """Factor of the update."""
        return self.alpha / self.rank

    def add_to(self, output: Tensor, x: Tensor, dropout: Dropout) -> Tensor:
        """The output of the layer with the update added.

        Args:
            output: Float[..., out], what the layer gave.
            x: Float[..., in], what it was given.
            dropout: of the inner activations; outside training it drops nothing.
        """
        raise NotImplementedError


def _add_product(output: Tensor, hidden: Tensor, weight: Tensor, scale: float) -> Tensor:
    """output + scale · hidden @ weightᵀ in one kernel, without a tensor for the product.

    Args:
        output: Float[..., out]; its elements are in the order of the rows of hidden.
        hidden: Float[..., r].
        weight: Float[o, r], o · rows of hidden = elements of output.
    """
    hidden = hidden.to(output.dtype).reshape(-1, weight.shape[1])
    base = output.reshape(hidden.shape[0], weight.shape[0])
    return torch.addmm(base, hidden, weight.to(output.dtype).t(), alpha=scale).view(output.shape)


class LoRA(Adapter):
    """ΔW = alpha/rank · up @ down, up Float[out, rank], down Float[rank, in]."""

    UP = frozenset({"lora_up.weight"})

    @classmethod
    def new(cls, out: int, inputs: int, settings: AdapterSettings, generator: torch.Generator) -> "LoRA":
        """The start of training: down uniform as a linear layer's own weights, up zero."""
        down = _uniform(settings.rank, inputs, generator)
        return cls(
            {"lora_down.weight": down, "lora_up.weight": torch.zeros(out, settings.rank)}, settings.alpha
        )

    @property
    def rank(self) -> int:
        return len(self.factors["lora_down/weight"])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.factors["lora_up/weight"]), self.factors["lora_down/weight"].shape[1]

    def add_to(self, output: Tensor, x: Tensor, dropout: Dropout) -> Tensor:
        hidden = F.linear(x, self.factors["lora_down/weight"].to(x.dtype))
        return _add_product(output, dropout(hidden), self.factors["lora_up/weight"], self.scale)


class LoHa(Adapter):
    """ΔW = alpha/rank · (w1_a @ w1_b) ∘ (w2_a @ w2_b), a Float[out, rank], b Float[rank, in]."""

    UP = frozenset({"hada_w1_a", "hada_w2_a"})

    @classmethod
    def new(cls, out: int, inputs: int, settings: AdapterSettings, generator: torch.Generator) -> "LoHa":
        """The start of training as in LyCORIS: normal factors (0.1 for w1_a, 1 for both b), w2_a zero."""
        rank = settings.rank
        factors = {
            "hada_w1_a": torch.randn(out, rank, generator=generator) * 0.1,
            "hada_w1_b": torch.randn(rank, inputs, generator=generator),
            "hada_w2_a": torch.zeros(out, rank),
            "hada_w2_b": torch.randn(rank, inputs, generator=generator),
        }
        return cls(factors, settings.alpha)

    @property
    def rank(self) -> int:
        return len(self.factors["hada_w1_b"])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.factors["hada_w1_a"]), self.factors["hada_w1_b"].shape[1]

    def add_to(self, output: Tensor, x: Tensor, dropout: Dropout) -> Tensor:
        w1_a, w1_b, w2_a, w2_b = self.named_factors().values()
        rows = x.to(output.dtype).reshape(-1, x.shape[-1])
        out, inputs = self.shape
        if 4 * self.rank**2 * (out + inputs) < out * inputs:
            # the Hadamard product of two matrices of rank r is one of rank r²: far smaller here than ΔW
            up = (w1_a.unsqueeze(2) * w2_a.unsqueeze(1)).flatten(1) * self.scale
            down = (w1_b.unsqueeze(1) * w2_b.unsqueeze(0)).flatten(0, 1)
            update = F.linear(F.linear(rows, down.to(rows.dtype)), up.to(rows.dtype))
        else:
            update: Any = _HadamardLinear.apply(rows, w1_a, w1_b, w2_a, w2_b, self.scale)
        return output + dropout(update).view(output.shape)


class _HadamardLinear(torch.autograd.Function):
    """x @ ΔWᵀ of LoHa; the backward pass gets x and the factors, but no matrix as large as the layer."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1_a: Tensor, w1_b: Tensor, w2_a: Tensor, w2_b: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, w1_a, w1_b, w2_a, w2_b)
        ctx.scale = scale
        delta = (w1_a @ w1_b).mul_(w2_a @ w2_b).mul_(scale)
        return x @ delta.to(x.dtype).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w1_a, w1_b, w2_a, w2_b = ctx.saved_tensors
        first, second = w1_a @ w1_b, w2_a @ w2_b
        grad_delta = (grad.t() @ x).to(first.dtype).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ (first * second).mul_(ctx.scale).to(grad.dtype)
        grad_first, grad_second = second.mul_(grad_delta), first.mul_(grad_delta)
        return (
            grad_x,
            grad_first @ w1_b.t(),
            w1_a.t() @ grad_first,
            grad_second @ w2_b.t(),
            w2_a.t() @ grad_second,
            None,
        )


class LoKr(Adapter):
    """ΔW = scale · w1 ⊗ w2, Kronecker product of Float[o1, i1] and Float[o2, i2]; out = o1·o2, in = i1·i2.

    Each may be given by two factors, `w_a` Float[o, rank] @ `w_b` Float[rank, i]. scale is alpha/rank, and 1
    where neither is, as all readers of such files have it.
    """

    UP = frozenset({"lokr_w2", "lokr_w2_a"})

    @classmethod
    def new(cls, out: int, inputs: int, settings: AdapterSettings, generator: torch.Generator) -> "LoKr":
        """The start of training: w1 uniform, w2 zero; w2 is factored where that makes it smaller."""
        o1, i1 = divisor_below(out, settings.factor), divisor_below(inputs, settings.factor)
        o2, i2, rank = out // o1, inputs // i1, settings.rank
        factors = {"lokr_w1": _uniform(o1, i1, generator)}
        if rank * (o2 + i2) < o2 * i2:
            factors["lokr_w2_a"] = torch.zeros(o2, rank)
            factors["lokr_w2_b"] = _uniform(rank, i2, generator)
        else:
            factors["lokr_w2"] = torch.zeros(o2, i2)
        return cls(factors, settings.alpha)

    @property
    def rank(self) -> int:
        for name in ("lokr_w2_b", "lokr_w1_b"):
            if name in self.factors:
                return len(self.factors[name])
        return min(self.factors["lokr_w2"].shape)

    @property
    def shape(self) -> tuple[int, int]:
        (o1, i1), (o2, i2) = self._size("lokr_w1"), self._size("lokr_w2")
        return o1 * o2, i1 * i2

    @property
    def scale(self) -> float:
        factored = "lokr_w1_b" in self.factors or "lokr_w2_b" in self.factors
        return self.alpha / self.rank if factored else 1.0

    def _size(self, name: str) -> tuple[int, int]:
        if name in self.factors:
            rows, columns = self.factors[name].shape
            return rows, columns
        return len(self.factors[f"{name}_a"]), self.factors[f"{name}_b"].shape[1]

    def add_to(self, output: Tensor, x: Tensor, dropout: Dropout) -> Tensor:
        factors = self.factors
        w1 = factors["lokr_w1"] if "lokr_w1" in factors else factors["lokr_w1_a"] @ factors["lokr_w1_b"]
        hidden = x.unflatten(-1, (w1.shape[1], -1))
        if "lokr_w2_b" in factors:
            hidden = F.linear(hidden, factors["lokr_w2_b"].to(x.dtype))
        hidden = dropout(w1.to(hidden.dtype) @ hidden)
        last = factors["lokr_w2_a"] if "lokr_w2_a" in factors else factors["lokr_w2"]
        return _add_product(output, hidden, last, self.scale)


ADAPTER_KINDS: Mapping[str, type[LoRA] | type[LoHa] | type[LoKr]] = {
    "lora": LoRA,
    "loha": LoHa,
    "lokr": LoKr,
}


def divisor_below(dimension: int, limit: int) -> int:
    """The largest divisor of a dimension that is neither above `limit` nor above its square root."""
    largest = min(limit, math.isqrt(dimension))
    return next(divisor for divisor in range(largest, 0, -1) if dimension % divisor == 0)


def _uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Float[rows, columns] as `nn.Linear` starts: uniform in ±1/√columns."""
    bound = 1 / math.sqrt(columns)
    return torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)
