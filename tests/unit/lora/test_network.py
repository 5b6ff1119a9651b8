"""The adapters of a model: what they add, when they act, and what they hold."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters

from .from_file import adapters_from


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(5, 4, dtype=dtype)
        self.second = nn.Linear(4, 3, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapters_of(net: nn.Module, rank: int = 2, alpha: float = 3.0, seed: int = 0) -> LoraAdapters:
    return LoraAdapters(linear_layers(net), AdapterSettings(rank=rank, alpha=alpha), seed)


def shaken(adapters: LoraAdapters, seed: int = 1) -> LoraAdapters:
    """The same adapters with random contents, as after training."""
    with torch.no_grad():
        for index, parameter in enumerate(adapters.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=100 * seed + index))
    return adapters


def hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in net.modules())


class TestWhatTheyAdd:
    def test_alpha_over_rank_times_up_times_down(self):
        """Against the model with its weights replaced by W + alpha/rank · up @ down."""
        net, x = Net(), noise(7, 5)
        adapters = shaken(adapters_of(net, rank=2, alpha=3.0))
        tensors = adapters.state_dict()
        merged = Net()
        with torch.no_grad():
            for name, layer in (("first", merged.first), ("second", merged.second)):
                up = tensors[f"diffusion_model.{name}.lora_up.weight"]
                down = tensors[f"diffusion_model.{name}.lora_down.weight"]
                layer.weight += 1.5 * up @ down
        with adapters.attached():
            torch.testing.assert_close(net(x), merged(x), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("convolution", "grid"), [(nn.Conv1d, (6,)), (nn.Conv2d, (6, 2)), (nn.Conv3d, (2, 3, 2))]
    )
    @pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
    def test_a_1x1_convolution_is_a_linear_map_at_each_place(
        self, convolution: Any, grid: tuple[int, ...], kind: Any
    ):
        """Against a linear layer with the same weights, on the channels of each place."""
        linear, pointwise = nn.Linear(4, 6), convolution(4, 6, 1)
        flat, net = nn.Sequential(linear), nn.Sequential(pointwise)
        with torch.no_grad():
            pointwise.weight.copy_(linear.weight.reshape(pointwise.weight.shape))
            pointwise.bias.copy_(linear.bias)
        of_linear = shaken(LoraAdapters(linear_layers(flat), AdapterSettings(kind, 2, 3.0), seed=0))
        of_convolution = adapters_from(net, of_linear.state_dict())
        x = noise(2, 4, *grid)
        with of_linear.attached(), of_convolution.attached():
            expected = flat(x.movedim(1, -1)).movedim(-1, 1)
            torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-6)
            net(x).square().sum().backward()
        assert all(parameter.grad is not None for parameter in of_convolution.parameters())

    def test_at_the_start_they_add_nothing(self):
        net, x = Net(), noise(7, 5)
        base = net(x)
        with adapters_of(net).attached():
            assert torch.equal(net(x), base)

    def test_they_learn_although_up_starts_at_zero(self):
        net = Net().requires_grad_(False)
        adapters = adapters_of(net)
        with adapters.attached():
            net(noise(7, 5)).square().sum().backward()
        up, down = adapters.parameters()[1], adapters.parameters()[0]
        assert up.grad is not None and up.grad.any()
        assert down.grad is not None and not down.grad.any()
        assert all(parameter.grad is None for parameter in net.parameters())

    def test_a_half_precision_layer_keeps_its_type_and_the_adapter_its_precision(self):
        net = Net(torch.bfloat16)
        adapters = shaken(adapters_of(net))
        assert {parameter.dtype for parameter in adapters.parameters()} == {torch.float32}
        with adapters.attached():
            assert net(noise(7, 5).bfloat16()).dtype == torch.bfloat16


class TestWhenTheyAct:
    def test_only_inside_attached(self):
        net, x = Net(), noise(7, 5)
        base, adapters = net(x), shaken(adapters_of(net))
        assert torch.equal(net(x), base)
        with adapters.attached():
            assert not torch.allclose(net(x), base)
        assert torch.equal(net(x), base) and hooks(net) == 0

    def test_an_error_inside_leaves_no_hook_behind(self):
        net, x = Net(), noise(7, 5)
        base, adapters = net(x), shaken(adapters_of(net))
        with pytest.raises(RuntimeError, match="stop"), adapters.attached():
            raise RuntimeError("stop")
        assert hooks(net) == 0 and torch.equal(net(x), base)

    def test_disabled_asks_the_base_model_and_ends_also_by_an_error(self):
        net, x = Net(), noise(7, 5)
        base, adapters = net(x), shaken(adapters_of(net))
        with adapters.attached():
            adapted = net(x)
            with adapters.disabled():
                assert torch.equal(net(x), base)
            assert torch.equal(net(x), adapted)
            with pytest.raises(RuntimeError, match="stop"), adapters.disabled():
                raise RuntimeError("stop")
            assert torch.equal(net(x), adapted)

    def test_attached_and_disabled_may_be_nested(self):
        net, x = Net(), noise(7, 5)
        base, adapters = net(x), shaken(adapters_of(net))
        with adapters.attached():
            once = net(x)
            with adapters.attached():
                assert torch.equal(net(x), once)
            assert torch.equal(net(x), once)
            with adapters.disabled():
                with adapters.disabled():
                    pass
                assert torch.equal(net(x), base)
        assert hooks(net) == 0

    def test_beside_other_hooks_and_other_adapters(self):
        net, x = Net(), noise(7, 5)
        first, second = shaken(adapters_of(net)), shaken(adapters_of(net), seed=2)
        base = net.first(x)
        alone = []
        for adapters in (first, second):
            with adapters.attached():
                alone.append(net.first(x) - base)

        def add_one(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            return output + 1

        net.first.register_forward_hook(add_one)
        with first.attached(), second.attached():
            torch.testing.assert_close(net.first(x), base + 1 + alone[0] + alone[1])
        assert hooks(net) == 1

    def test_the_models_own_weights_are_never_touched(self):
        net = Net()
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        with shaken(adapters_of(net)).attached():
            net(noise(7, 5)).sum().backward()
        assert list(net.state_dict()) == list(before)
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


class TestSeed:
    def test_same_seed_same_start(self):
        pairs = zip(
            adapters_of(Net(), seed=5).parameters(), adapters_of(Net(), seed=5).parameters(), strict=True
        )
        assert all(torch.equal(one, other) for one, other in pairs)

    def test_another_seed_another_start(self):
        one, other = adapters_of(Net(), seed=5), adapters_of(Net(), seed=6)
        assert not torch.equal(one.parameters()[0], other.parameters()[0])

    def test_the_global_generator_is_left_alone(self):
        net = Net()
        state = torch.get_rng_state()
        adapters_of(net, seed=5)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_largest_seed_of_the_node_is_accepted(self):
        assert adapters_of(Net(), seed=0xFFFFFFFFFFFFFFFF).parameters()


class TestFiles:
    def test_keys_shapes_and_alpha_are_the_generic_ones(self):
        tensors = adapters_of(Net(), rank=2, alpha=3.0).state_dict()
        assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
            "diffusion_model.first.lora_up.weight": (4, 2),
            "diffusion_model.first.lora_down.weight": (2, 5),
            "diffusion_model.first.alpha": (),
            "diffusion_model.second.lora_up.weight": (3, 2),
            "diffusion_model.second.lora_down.weight": (2, 4),
            "diffusion_model.second.alpha": (),
        }
        assert tensors["diffusion_model.first.alpha"] == 3.0

    def test_what_is_beside_them_is_in_the_lora_and_not_in_the_state(self):
        read = shaken(adapters_of(Net()))._adapters
        beside = {"diffusion_model.first.diff_b": noise(4)}
        adapters = LoraAdapters.of_adapters(Net(), read, beside=beside)
        assert adapters.lora().keys() - adapters.state_dict().keys() == beside.keys()

    def test_a_state_dict_is_a_copy(self):
        adapters = adapters_of(Net())
        tensors = adapters.state_dict()
        shaken(adapters)
        assert not tensors["diffusion_model.first.lora_up.weight"].any()

    def test_what_was_saved_acts_the_same_after_loading(self):
        net, x = Net(), noise(7, 5)
        trained = shaken(adapters_of(net, rank=2, alpha=3.0))
        again = adapters_of(net, rank=2, alpha=1.0, seed=9)
        again.load_state_dict(trained.state_dict())
        rebuilt = adapters_from(net, trained.state_dict())
        with trained.attached():
            expected = net(x)
        for adapters in (again, rebuilt):
            with adapters.attached():
                assert torch.equal(net(x), expected)

    def test_without_alpha_the_scale_is_1(self):
        net, x = Net(), noise(7, 5)
        tensors = shaken(adapters_of(net, rank=2, alpha=2.0)).state_dict()
        bare = {key: tensor for key, tensor in tensors.items() if not key.endswith("alpha")}
        results = []
        for state in (tensors, bare):
            with adapters_from(net, state).attached():
                results.append(net(x))
        assert torch.equal(*results)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("diffusion_model.second.lora_up.weight"), r"second\.lora_up\.weight is missing"),
            (
                lambda t: t.update({"diffusion_model.second.lora_up.weight": torch.zeros(3, 9)}),
                r"second\.lora_up\.weight is \[3, 9\], the model needs \[3, 2\].*another rank",
            ),
            (
                lambda t: t.update({"diffusion_model.third.lora_up.weight": torch.zeros(3, 2)}),
                r"third\.lora_up\.weight \(1 such\) is not trained here: choose the layers",
            ),
        ],
        ids=["missing", "shape", "surplus"],
    )
    def test_a_lora_that_does_not_fit_is_refused_and_changes_nothing(self, change, message: str):
        adapters = adapters_of(Net())
        before = adapters.state_dict()
        tensors = shaken(adapters_of(Net())).state_dict()
        change(tensors)
        with pytest.raises(ValueError, match=message):
            adapters.load_state_dict(tensors)
        assert all(torch.equal(tensor, before[key]) for key, tensor in adapters.state_dict().items())

    def test_a_rank_below_1_is_refused(self):
        with pytest.raises(ValueError, match="rank is 0: it must be 1 or more"):
            adapters_of(Net(), rank=0)


class TestParameters:
    def test_names_are_the_keys_of_the_file(self):
        adapters = adapters_of(Net())
        named = dict(adapters.named_parameters())
        assert list(named) == [
            f"diffusion_model.{layer}.lora_{part}.weight"
            for layer in ("first", "second")
            for part in ("down", "up")
        ]
        assert all(a is b for a, b in zip(named.values(), adapters.parameters(), strict=True))
        state = adapters.state_dict()
        assert all(torch.equal(state[name], parameter) for name, parameter in named.items())

    def test_up_may_learn_faster(self):
        adapters = adapters_of(Net())
        down, up = adapters.parameter_groups(1e-4, 16.0)
        assert (down["lr"], up["lr"]) == (1e-4, 16e-4)
        assert [p.shape for p in down["params"]] == [(2, 5), (2, 4)]
        assert [p.shape for p in up["params"]] == [(4, 2), (3, 2)]
        (together,) = adapters.parameter_groups(1e-4)
        assert together == {"params": adapters.parameters(), "lr": 1e-4}
