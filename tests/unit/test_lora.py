"""Adapters: what they add, when they act, which layers they choose, and their files' keys."""

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora import LAYER_CHOICES, LoraAdapters, linear_layers


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
    return LoraAdapters(linear_layers(net), rank, alpha, seed)


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
        rebuilt = LoraAdapters.from_state_dict(net, trained.state_dict())
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
            with LoraAdapters.from_state_dict(net, state).attached():
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
        ],
        ids=["missing", "shape"],
    )
    def test_a_lora_that_does_not_fit_is_refused_and_changes_nothing(self, change, message: str):
        adapters = adapters_of(Net())
        before = adapters.state_dict()
        tensors = shaken(adapters_of(Net())).state_dict()
        change(tensors)
        with pytest.raises(ValueError, match=message):
            adapters.load_state_dict(tensors)
        assert all(torch.equal(tensor, before[key]) for key, tensor in adapters.state_dict().items())

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"diffusion_model.third.lora_down.weight": torch.zeros(2, 5)}, "Net: no linear layer 'third'"),
            ({}, "Net: it has no keys diffusion_model"),
            ({"lora_unet_first.lora_down.weight": torch.zeros(2, 5)}, "no keys diffusion_model"),
            ({"first.lora_down.weight": torch.zeros(2, 5)}, "no keys diffusion_model"),
        ],
        ids=["another model", "empty", "another key format", "no prefix"],
    )
    def test_a_lora_of_another_model_is_refused(self, tensors: dict[str, Tensor], message: str):
        with pytest.raises(ValueError, match=message):
            LoraAdapters.from_state_dict(Net(), tensors)

    def test_a_rank_below_1_is_refused(self):
        with pytest.raises(ValueError, match="rank is 0: it must be 1 or more"):
            adapters_of(Net(), rank=0)


TRAINED = {
    "sd3": [
        "joint_blocks.0.x_block.attn.qkv",
        "joint_blocks.0.x_block.attn.proj",
        "joint_blocks.0.context_block.attn.qkv",
        "joint_blocks.0.x_block.mlp.fc1",
        "joint_blocks.0.x_block.mlp.fc2",
    ],
    "flux": [
        "double_blocks.0.img_attn.qkv",
        "double_blocks.0.img_attn.proj",
        "double_blocks.0.txt_attn.qkv",
        "double_blocks.0.img_mlp.0",
        "double_blocks.0.txt_mlp.2",
        "single_blocks.0.linear1",
        "single_blocks.0.linear2",
    ],
    "lumina": [
        "layers.0.attention.qkv",
        "layers.0.attention.out",
        "layers.0.feed_forward.w1",
        "noise_refiner.0.attention.qkv",
        "context_refiner.1.feed_forward.w3",
    ],
    "unet": [
        "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k",
        "middle_block.1.transformer_blocks.0.attn1.to_out.0",
        "output_blocks.3.1.transformer_blocks.0.ff.net.0.proj",
        "output_blocks.3.1.transformer_blocks.0.ff.net.2",
    ],
    "wan": ["blocks.0.self_attn.q", "blocks.0.cross_attn.o", "blocks.0.ffn.0", "blocks.0.ffn.2"],
    "qwen": [
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attn.add_q_proj",
        "transformer_blocks.0.attn.to_add_out",
        "transformer_blocks.0.img_mlp.net.0.proj",
        "transformer_blocks.0.txt_mlp.net.2",
    ],
    "a network inside a wrapper": ["model.layers.0.attention.qkv", "module.blocks.0.ffn.0"],
}
LEFT_ALONE = {
    "sd3": [
        "joint_blocks.0.x_block.adaLN_modulation.1",
        "joint_blocks.0.context_block.adaLN_modulation.1",
        "context_embedder",
        "t_embedder.mlp.0",
        "y_embedder.mlp.2",
        "final_layer.linear",
        "final_layer.adaLN_modulation.1",
    ],
    "flux": [
        "double_blocks.0.img_mod.lin",
        "double_blocks.0.txt_mod.lin",
        "single_blocks.0.modulation.lin",
        "img_in",
        "txt_in",
        "time_in.in_layer",
        "vector_in.out_layer",
        "guidance_in.in_layer",
        "final_layer.linear",
    ],
    "lumina": [
        "layers.0.adaLN_modulation.0",
        "cap_embedder.1",
        "t_embedder.mlp.0",
        "x_embedder",
        "final_layer.linear",
    ],
    "unet": ["time_embed.0", "time_embed.2", "label_emb.0.0", "input_blocks.1.0.emb_layers.1"],
    "wan": ["text_embedding.0", "time_embedding.2", "time_projection.1", "img_emb.proj.1", "head.head"],
    "qwen": [
        "transformer_blocks.0.img_mod.1",
        "transformer_blocks.0.txt_mod.1",
        "time_text_embed.timestep_embedder.linear_1",
        "img_in",
        "txt_in",
        "norm_out.linear",
        "proj_out",
    ],
    "aura": ["double_layers.0.modC.1", "single_layers.0.modCX.1", "modF.1"],
    "a network inside a wrapper": ["model.t_embedder.mlp.0"],
}


def tree(names: list[str]) -> nn.Module:
    """A module tree with one linear layer at each dotted name."""
    root = nn.Module()
    for name in names:
        *parents, last = name.split(".")
        module = root
        for part in parents:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.add_module(last, nn.Linear(2, 2))
    return root


class TestLayerChoice:
    @pytest.mark.parametrize("family", TRAINED)
    def test_attention_and_feed_forward_are_trained_and_nothing_else(self, family: str):
        network = tree(TRAINED[family] + LEFT_ALONE[family])
        assert set(linear_layers(network)) == set(TRAINED[family])

    def test_a_model_of_modulation_layers_only_has_nothing_to_train(self):
        with pytest.raises(ValueError, match="no linear layer that 'attention \\+ feed-forward' would train"):
            linear_layers(tree(LEFT_ALONE["aura"]))

    @pytest.mark.parametrize("family", TRAINED)
    def test_all_linear_layers_means_all(self, family: str):
        names = TRAINED[family] + LEFT_ALONE[family]
        assert set(linear_layers(tree(names), "all linear layers")) == set(names)

    def test_layers_that_are_not_linear_are_left_alone(self):
        network = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(2, 2), nn.LayerNorm(2))
        assert list(linear_layers(network, "all linear layers")) == ["1"]

    def test_an_unknown_choice_is_answered_with_the_choices(self):
        with pytest.raises(ValueError, match=f"'everything'.*{' '.join(list(LAYER_CHOICES)[1:])}"):
            linear_layers(Net(), "everything")
