"""LoRA, LoHa and LoKr on activations, against layers whose weights are replaced by W + ΔW."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semantic_focus.lora.adapters import AdapterSettings, LoHa, LoKr, LoRA, divisor_below
from semantic_focus.lora.network import LoraAdapters

OUT, IN = 12, 8
SETTINGS = {
    "lora": AdapterSettings(rank=3, alpha=2.0),
    "loha": AdapterSettings(kind="loha", rank=3, alpha=2.0),
    "loha, rank 1": AdapterSettings(kind="loha", rank=1, alpha=2.0),
    "lokr": AdapterSettings(kind="lokr", rank=1, alpha=2.0, factor=2),
    "lokr, full": AdapterSettings(kind="lokr", rank=64, alpha=2.0, factor=2),
}
EVERY_KIND = pytest.mark.parametrize("kind", SETTINGS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(dtype: torch.dtype = torch.float32) -> nn.Linear:
    linear = nn.Linear(IN, OUT)
    with torch.no_grad():
        linear.weight.copy_(noise(OUT, IN, seed=1))
        linear.bias.copy_(noise(OUT, seed=2))
    return linear.to(dtype).requires_grad_(False)


def shaken(linear: nn.Linear, settings: AdapterSettings) -> LoraAdapters:
    adapters = LoraAdapters({"a": linear}, settings, seed=0)
    with torch.no_grad():
        for index, parameter in enumerate(adapters.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=10 + index) * 0.5)
    return adapters


def delta(t: dict[str, Tensor]) -> Tensor:
    """ΔW of the tensors of one layer, element by element, as the papers define it."""
    t = {key.removeprefix("diffusion_model.a."): tensor for key, tensor in t.items()}
    alpha = t["alpha"].item()
    if "lora_up.weight" in t:
        up, down = t["lora_up.weight"], t["lora_down.weight"]
        return alpha / up.shape[1] * torch.einsum("or,ri->oi", up, down)
    if "hada_w1_a" in t:
        first = torch.einsum("or,ri->oi", t["hada_w1_a"], t["hada_w1_b"])
        return alpha / len(t["hada_w1_b"]) * first * torch.einsum("or,ri->oi", t["hada_w2_a"], t["hada_w2_b"])
    w1, scale = t["lokr_w1"], 1.0
    if "lokr_w2" in t:
        w2 = t["lokr_w2"]
    else:
        w2, scale = t["lokr_w2_a"] @ t["lokr_w2_b"], alpha / len(t["lokr_w2_b"])
    product = torch.zeros(len(w1) * len(w2), w1.shape[1] * w2.shape[1])
    for o1, i1, o2, i2 in itertools.product(*map(range, (*w1.shape, *w2.shape))):
        product[o1 * len(w2) + o2, i1 * w2.shape[1] + i2] = scale * w1[o1, i1] * w2[o2, i2]
    return product


@EVERY_KIND
class TestEveryKind:
    @pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5)])
    def test_it_adds_delta_w_times_x(self, kind: str, shape: tuple[int, ...]):
        linear, x = layer(), noise(*shape, IN)
        adapters = shaken(linear, SETTINGS[kind])
        with adapters.attached():
            answer = linear(x)
        expected = nn.functional.linear(x, linear.weight + delta(adapters.state_dict()), linear.bias)
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)

    def test_gradients_are_those_of_the_replaced_weight(self, kind: str):
        linear, x = layer(), noise(2, 5, IN).requires_grad_()
        adapters = shaken(linear, SETTINGS[kind])
        towards = noise(2, 5, OUT, seed=3)
        with adapters.attached():
            (linear(x) * towards).sum().backward()
        leaves = {key: p.detach().clone().requires_grad_() for key, p in adapters.named_parameters()}
        other = x.detach().clone().requires_grad_()
        alpha = {key: t for key, t in adapters.state_dict().items() if key.endswith("alpha")}
        weight = linear.weight + delta({**leaves, **alpha})
        (nn.functional.linear(other, weight, linear.bias) * towards).sum().backward()
        torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-4)
        for key, parameter in adapters.named_parameters():
            torch.testing.assert_close(parameter.grad, leaves[key].grad, rtol=1e-4, atol=1e-4)

    def test_it_starts_at_the_base_model_and_can_leave_it(self, kind: str):
        linear, x = layer(), noise(5, IN)
        base = linear(x)
        adapters = LoraAdapters({"a": linear}, SETTINGS[kind], seed=0)
        with adapters.attached():
            answer = linear(x)
            answer.square().sum().backward()
        assert torch.equal(answer, base)
        moved = [name for name, p in adapters.named_parameters() if p.grad is not None and p.grad.any()]
        assert len(moved) == 1

    def test_a_half_precision_model_keeps_its_type_and_parameters_are_fp32(self, kind: str):
        linear, x = layer(torch.bfloat16), noise(5, IN).bfloat16()
        adapters = shaken(linear, SETTINGS[kind])
        with adapters.attached():
            answer = linear(x)
            answer.float().square().sum().backward()
        assert answer.dtype == torch.bfloat16
        assert {p.dtype for p in adapters.parameters()} == {torch.float32}
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in adapters.parameters())
        exact = nn.functional.linear(
            x.float(), linear.weight.float() + delta(adapters.state_dict()), linear.bias.float()
        )
        assert (answer.float() - exact).abs().max() < 0.03 * exact.abs().max()

    def test_under_autocast(self, kind: str):
        linear, x = layer(), noise(5, IN)
        adapters = shaken(linear, SETTINGS[kind])
        with adapters.attached():
            exact = linear(x)
            with torch.autocast("cpu", torch.bfloat16):
                answer = linear(x)
            answer.float().sum().backward()
        assert answer.dtype == torch.bfloat16
        assert (answer.float() - exact).abs().max() < 0.03 * exact.abs().max()

    def test_recomputed_in_the_backward_pass_with_the_same_dropout(self, kind: str):
        linear = layer()
        settings = AdapterSettings(**{**vars(SETTINGS[kind]), "dropout": 0.5})
        gradients = []
        for recomputed in (False, True):
            adapters, x = shaken(linear, settings), noise(2, 5, IN).requires_grad_()
            with adapters.attached(), adapters.training(7, (3, 4)):
                answer = checkpoint(linear, x, use_reentrant=False) if recomputed else linear(x)
                assert answer is not None
                answer.square().sum().backward()
            gradients.append([x.grad, *(parameter.grad for parameter in adapters.parameters())])
        for one, other in zip(*gradients, strict=True):
            assert one is not None and torch.equal(one, other)

    def test_dropout_only_in_training_and_right_on_average(self, kind: str):
        linear, x = layer(), noise(1, IN).expand(20000, IN)
        plain = shaken(linear, SETTINGS[kind])
        dropping = shaken(linear, AdapterSettings(**{**vars(SETTINGS[kind]), "dropout": 0.25}))
        with torch.no_grad():
            with plain.attached():
                expected = linear(x)
            with dropping.attached():
                assert torch.equal(linear(x), expected)
                with dropping.training(0, range(4)):
                    dropped = linear(x)
                assert torch.equal(linear(x), expected)
        assert not torch.allclose(dropped, expected)
        error = (dropped.mean(0) - expected[0]).abs()
        assert (error < 5 * dropped.std(0) / len(x) ** 0.5 + 1e-5).all()

    def test_what_a_picture_loses_goes_by_its_place_in_the_step(self, kind: str):
        """Not by the pictures beside it, nor by what else draws; and no two layers lose the same."""
        layers, x = {"a": layer(), "b": layer()}, noise(3, 40, IN)
        adapters = LoraAdapters(layers, AdapterSettings(**{**vars(SETTINGS[kind]), "dropout": 0.5}), seed=0)
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.fill_(0.5)
            with adapters.attached():
                with adapters.training(7, range(5, 8)):
                    whole, other_layer = layers["a"](x), layers["b"](x)
                for place in range(3):
                    torch.rand(3)
                    with adapters.training(7, [5 + place]):
                        one = layers["a"](x[place : place + 1])
                    torch.testing.assert_close(one[0], whole[place])
                with adapters.training(8, range(5, 8)):
                    other_step = layers["a"](x)
        assert not torch.allclose(whole, other_layer) and not torch.allclose(whole, other_step)


class TestShapes:
    def test_lokr_factors_w2_only_where_that_is_smaller(self):
        generator = torch.Generator().manual_seed(0)
        small, full = (
            LoKr.new(96, 64, AdapterSettings(kind="lokr", rank=rank, factor=8), generator) for rank in (2, 64)
        )
        assert {k: tuple(v.shape) for k, v in small.named_factors().items()} == {
            "lokr_w1": (8, 8),
            "lokr_w2_a": (12, 2),
            "lokr_w2_b": (2, 8),
        }
        assert tuple(full.named_factors()["lokr_w2"].shape) == (12, 8)
        assert small.shape == full.shape == (96, 64)

    @pytest.mark.parametrize(
        ("dimension", "limit", "divisor"), [(96, 8, 8), (96, 100, 8), (90, 8, 6), (7, 4, 1), (3072, 16, 16)]
    )
    def test_divisors(self, dimension: int, limit: int, divisor: int):
        assert divisor_below(dimension, limit) == divisor

    def test_what_starts_at_zero_is_up(self):
        for kind, up in ((LoRA, {"lora_up.weight"}), (LoKr, {"lokr_w2_a"})):
            settings = AdapterSettings(rank=1, factor=2)
            factors = kind.new(OUT, IN, settings, torch.Generator().manual_seed(0)).named_factors()
            assert {name for name, factor in factors.items() if not factor.any()} == up <= kind.UP
        assert {"hada_w1_a", "hada_w2_a"} == LoHa.UP


class TestSettings:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"kind": "dora"}, "'dora': choose one of lora, loha, lokr"),
            ({"rank": 0}, "rank is 0: it must be 1 or more"),
            ({"factor": 0}, "factor is 0"),
            ({"alpha": 0.0}, "alpha is 0.0: it must be a finite number above 0"),
            ({"alpha": float("inf")}, "alpha is inf"),
            ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and below 1"),
        ],
    )
    def test_impossible_ones_are_refused(self, wrong: dict, message: str):
        with pytest.raises(ValueError, match=message):
            AdapterSettings(**wrong)
