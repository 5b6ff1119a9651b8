"""Layer choice: what the presets and the user's own patterns train, in the names of ComfyUI's networks."""

import pytest
from torch import nn

from semantic_focus.lora.layers import linear_layers

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
        with pytest.raises(ValueError, match="'everything'.*attention only, all linear layers"):
            linear_layers(nn.Linear(2, 2), "everything")

    @pytest.mark.parametrize(
        ("choice", "family", "chosen"),
        [
            ("attention only", "sd3", ["x_block.attn.qkv", "x_block.attn.proj", "context_block.attn.qkv"]),
            ("attention only", "flux", ["img_attn.qkv", "img_attn.proj", "txt_attn.qkv", "linear1"]),
            ("attention only", "wan", ["self_attn.q", "cross_attn.o"]),
            ("attention only", "qwen", ["attn.to_q", "attn.add_q_proj", "attn.to_add_out"]),
            ("attention only", "unet", ["attn1.to_q", "attn2.to_k", "attn1.to_out.0"]),
            ("SD3: image stream", "sd3", ["x_block.attn.qkv", "x_block.attn.proj", "x_block.mlp.fc1", "fc2"]),
            ("Flux: single blocks", "flux", ["single_blocks.0.linear1", "single_blocks.0.linear2"]),
            (
                "Z-Image / Lumina 2: without refiners",
                "lumina",
                ["layers.0.attention.qkv", "layers.0.attention.out", "layers.0.feed_forward.w1"],
            ),
            ("Qwen-Image: image stream", "qwen", ["attn.to_q", "img_mlp.net.0.proj"]),
            ("Wan: self-attention + feed-forward", "wan", ["self_attn.q", "ffn.0", "ffn.2"]),
            ("SD1.5 / SDXL: cross-attention", "unet", ["attn2.to_k"]),
        ],
    )
    def test_presets(self, choice: str, family: str, chosen: list[str]):
        layers = linear_layers(tree(TRAINED[family] + LEFT_ALONE[family]), choice)
        expected = {name for name in TRAINED[family] if any(name.endswith(end) for end in chosen)}
        assert set(layers) == expected and len(expected) == len(chosen)

    def test_a_preset_of_another_family_names_what_there_is(self):
        with pytest.raises(ValueError, match=r"'Flux: double blocks' would train; it has: .*x_block\.attn"):
            linear_layers(tree(TRAINED["sd3"]), "Flux: double blocks")


class TestPatterns:
    NAMES = ("blocks.0.attn.q", "blocks.1.attn.q", "blocks.1.ffn.0", "time_embed.0")

    def chosen(self, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
        return list(linear_layers(tree(list(self.NAMES)), include=include, exclude=exclude))

    def test_include_takes_the_place_of_the_choice(self):
        assert self.chosen(include=(r"blocks\.1\.", "TIME")) == list(self.NAMES[1:])

    def test_exclude_is_taken_from_the_choice_or_from_include(self):
        assert self.chosen(exclude=("ffn",)) == list(self.NAMES[:2])
        assert self.chosen(include=("attn",), exclude=(r"blocks\.0",)) == ["blocks.1.attn.q"]

    @pytest.mark.parametrize("kind", ["include", "exclude"])
    def test_a_pattern_that_matches_nothing_is_answered_with_near_names(self, kind: str):
        with pytest.raises(ValueError, match=r"'attention\\.q' matches no linear.*near: blocks\.0\.attn\.q"):
            self.chosen(**{kind: (r"attention\.q",)})

    def test_a_pattern_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match=r"'\(attn' is no regular expression.*is not closed"):
            self.chosen(include=("(attn",))

    def test_nothing_left_is_refused(self):
        with pytest.raises(ValueError, match="no linear layer that these patterns would train"):
            self.chosen(include=("attn",), exclude=("blocks",))
