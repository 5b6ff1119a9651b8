"""LoRA files of other programs: names, parts of fused layers, ranks, alphas; and the way back."""

import logging

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.keys import PAIR, KeyMap, LayerRows, export_lora
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters

from .from_file import adapters_from

WIDTH = 4


class Block(nn.Module):
    """A fused qkv, an output layer, and one whose halves another program has the other way round."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, 2 * WIDTH)
        self.conv = nn.Conv2d(WIDTH, WIDTH, 1)


FOREIGN = {
    **{f"transformer.to_{p}": LayerRows("qkv", i * WIDTH, WIDTH) for i, p in enumerate("qkv")},
    "transformer.to_out.0": LayerRows("out"),
    "transformer.norm_out": LayerRows("last", halves_swapped=True),
}
OWN = KeyMap.of_layers(["qkv", "out", "last"])
KEY_MAP = KeyMap({**OWN.names, **FOREIGN}, {**OWN.styles, "diffusers": FOREIGN})


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def deltas(tensors: dict[str, Tensor], key_map: KeyMap | None = KEY_MAP) -> dict[str, Tensor]:
    """What a LoRA adds to each layer's weight: its answers to the unit vectors, less the base model's."""
    block = Block().requires_grad_(False)
    adapters = adapters_from(block, tensors, key_map)
    unit, found = torch.eye(WIDTH), {}
    for name in ("qkv", "out", "last"):
        layer = block.get_submodule(name)
        base = layer(unit)
        with adapters.attached():
            if not torch.equal(layer(unit), base):
                found[name] = (layer(unit) - base).T
    return found


def rank_of(tensors: dict[str, Tensor], layer: str) -> int:
    state = adapters_from(Block(), tensors, KEY_MAP).state_dict()
    return len(state[f"diffusion_model.{layer}.lora_down.weight"])


UP, DOWN = noise(WIDTH, 2, seed=1), noise(2, WIDTH, seed=2)


class TestReading:
    @pytest.mark.parametrize(
        ("up", "down"),
        [
            ("diffusion_model.out.lora_up.weight", "diffusion_model.out.lora_down.weight"),
            ("lora_unet_out.lora_up.weight", "lora_unet_out.lora_down.weight"),
            ("lora_unet__out.lora_up.weight", "lora_unet__out.lora_down.weight"),
            ("transformer.to_out.0.lora_B.weight", "transformer.to_out.0.lora_A.weight"),
            ("base_model.model.to_out.0.lora_B.weight", "base_model.model.to_out.0.lora_A.weight"),
            ("diffusion_model.out.lora_B.default.weight", "diffusion_model.out.lora_A.default.weight"),
            ("model.diffusion_model.out.lora_B", "model.diffusion_model.out.lora_A"),
            ("transformer.to_out_lora.up.weight", "transformer.to_out_lora.down.weight"),
            ("to_out.lora.up.weight", "to_out.lora.down.weight"),
            (
                "transformer.to_out.lora_linear_layer.up.weight",
                "transformer.to_out.lora_linear_layer.down.weight",
            ),
        ],
    )
    def test_names_and_suffixes(self, up: str, down: str):
        torch.testing.assert_close(deltas({up: UP, down: DOWN}), {"out": UP @ DOWN}, rtol=1e-4, atol=1e-6)

    def test_generic_and_kohya_names_need_no_key_map(self):
        for name in ("diffusion_model.out", "lora_unet_out"):
            found = deltas({f"{name}.lora_up.weight": UP, f"{name}.lora_down.weight": DOWN}, None)
            assert list(found) == ["out"]

    @pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (2.0, 1.0), (1.0, 0.5), (6.0, 3.0)])
    def test_alpha(self, alpha: float | None, scale: float):
        tensors = {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": DOWN}
        if alpha is not None:
            tensors["lora_unet_out.alpha"] = torch.tensor(alpha)
        expected = scale * UP @ DOWN
        torch.testing.assert_close(deltas(tensors)["out"], expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_files_are_trained_in_fp32(self, dtype: torch.dtype):
        tensors = {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": DOWN}
        half = {key: tensor.to(dtype) for key, tensor in tensors.items()}
        state = adapters_from(Block(), half).state_dict()
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}
        expected = UP.to(dtype).float() @ DOWN.to(dtype).float()
        torch.testing.assert_close(deltas(half)["out"], expected, rtol=1e-4, atol=1e-5)

    def test_ranks_and_kinds_may_differ_from_layer_to_layer(self):
        loha = noise(2 * WIDTH, 3, seed=3), noise(3, WIDTH, seed=4)
        tensors = {
            "lora_unet_out.lora_up.weight": UP,
            "lora_unet_out.lora_down.weight": DOWN,
            "lora_unet_qkv.lora_up.weight": noise(3 * WIDTH, 1, seed=5),
            "lora_unet_qkv.lora_down.weight": noise(1, WIDTH, seed=6),
            **{f"lora_unet_last.hada_w{n}_{p}": loha[i] for n in (1, 2) for i, p in enumerate("ab")},
        }
        found = deltas(tensors)
        torch.testing.assert_close(found["out"], UP @ DOWN, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["last"], (loha[0] @ loha[1]).square(), rtol=1e-3, atol=1e-5)
        assert (rank_of(tensors, "out"), rank_of(tensors, "qkv")) == (2, 1)

    def test_a_factored_w1_of_lokr(self):
        w1 = noise(2, 1, seed=3), noise(1, 2, seed=4)
        w2 = noise(2, 1, seed=5), noise(1, 2, seed=6)
        tensors = {
            f"lora_unet_out.lokr_w{n}_{p}": w[i] for n, w in ((1, w1), (2, w2)) for i, p in enumerate("ab")
        }
        tensors["lora_unet_out.alpha"] = torch.tensor(0.5)
        expected = 0.5 * torch.kron(w1[0] @ w1[1], w2[0] @ w2[1])
        torch.testing.assert_close(deltas(tensors)["out"], expected, rtol=1e-4, atol=1e-6)


class TestPartsOfAFusedLayer:
    def test_each_with_its_own_down_rank_and_alpha(self):
        parts = {
            "q": (noise(WIDTH, 1, seed=1), noise(1, WIDTH, seed=2), 3.0),
            "v": (noise(WIDTH, 2, seed=3), noise(2, WIDTH, seed=4), 1.0),
        }
        tensors = {}
        for part, (up, down, alpha) in parts.items():
            tensors[f"transformer.to_{part}.lora_B.weight"] = up
            tensors[f"transformer.to_{part}.lora_A.weight"] = down
            tensors[f"transformer.to_{part}.alpha"] = torch.tensor(alpha)
        expected = torch.zeros(3 * WIDTH, WIDTH)
        expected[:WIDTH] = 3.0 * parts["q"][0] @ parts["q"][1]
        expected[2 * WIDTH :] = 0.5 * parts["v"][0] @ parts["v"][1]
        torch.testing.assert_close(deltas(tensors)["qkv"], expected, rtol=1e-4, atol=1e-6)
        assert rank_of(tensors, "qkv") == 3

    def test_a_down_in_common_stays_one(self):
        tensors = {}
        for index, part in enumerate("qkv"):
            tensors[f"transformer.to_{part}.lora_B.weight"] = noise(WIDTH, 2, seed=index)
            tensors[f"transformer.to_{part}.lora_A.weight"] = DOWN.clone()
        up = torch.cat([noise(WIDTH, 2, seed=index) for index in range(3)])
        torch.testing.assert_close(deltas(tensors)["qkv"], up @ DOWN, rtol=1e-4, atol=1e-6)
        assert rank_of(tensors, "qkv") == 2

    def test_loha(self):
        shapes = {"w1_a": (WIDTH, 1), "w1_b": (1, WIDTH), "w2_a": (WIDTH, 1), "w2_b": (1, WIDTH)}
        tensors = {
            f"transformer.to_{part}.hada_{name}": noise(*shape, seed=10 * i + j)
            for i, part in enumerate("qk")
            for j, (name, shape) in enumerate(shapes.items())
        }
        expected = torch.zeros(3 * WIDTH, WIDTH)
        for i, part in enumerate("qk"):
            w = {name: tensors[f"transformer.to_{part}.hada_{name}"] for name in shapes}
            expected[i * WIDTH : (i + 1) * WIDTH] = (w["w1_a"] @ w["w1_b"]) * (w["w2_a"] @ w["w2_b"])
        torch.testing.assert_close(deltas(tensors)["qkv"], expected, rtol=1e-4, atol=1e-6)

    def test_halves_that_another_program_swaps(self):
        up = noise(2 * WIDTH, 2, seed=1)
        tensors = {"transformer.norm_out.lora_B.weight": up, "transformer.norm_out.lora_A.weight": DOWN}
        expected = torch.cat([up[WIDTH:], up[:WIDTH]]) @ DOWN
        torch.testing.assert_close(deltas(tensors)["last"], expected, rtol=1e-4, atol=1e-6)


class TestRefusing:
    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"lora_unet_out.lora_up.weight": UP}, r"lora_unet_out: lora_up.weight \[4, 2\] is no complete"),
            (
                {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": torch.ones(3, WIDTH)},
                r"lora_up.weight is \[4, 2\] but lora_down.weight \[3, 4\]: their rank",
            ),
            (
                {"lora_unet_qkv.lora_up.weight": UP, "lora_unet_qkv.lora_down.weight": DOWN},
                r"lora_unet_qkv: its update is \[4, 4\], the model needs \[12, 4\]",
            ),
            (
                {f"{name}.{suffix}": tensor for name in ("lora_unet_out", "transformer.to_out.0")
                 for suffix, tensor in (("lora_up.weight", UP), ("lora_down.weight", DOWN))},
                r"lora_unet_out, transformer.to_out.0: one layer is adapted twice",
            ),
            (
                {f"{name}.{suffix}": tensor for name in ("transformer.to_q", "lora_unet_qkv")
                 for suffix, tensor in (("lora_up.weight", UP), ("lora_down.weight", DOWN))},
                r"transformer.to_q, lora_unet_qkv: one layer is adapted twice",
            ),
            (
                {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": DOWN,
                 "transformer.to_out.0.dora_scale": UP[:, :1]},
                r"lora_unet_out, transformer.to_out.0: one layer is adapted twice",
            ),
            (
                {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_B.weight": UP},
                r"lora_unet_out.lora_up.weight, lora_unet_out.lora_B.weight: the same thing twice",
            ),
            (
                {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": DOWN,
                 "lora_unet_out.diff": UP @ DOWN},
                r"lora_unet_out has lora_unet_out.diff beside another change",
            ),
        ],
    )  # fmt: skip
    def test_every_key_that_cannot_be_used_is_named(self, tensors: dict[str, Tensor], message: str):
        with pytest.raises(ValueError, match=message):
            adapters_from(Block(), tensors, KEY_MAP)

    def test_text_encoder_keys_are_left_out_with_a_note(self, caplog: pytest.LogCaptureFixture):
        tensors = {"lora_unet_out.lora_up.weight": UP, "lora_unet_out.lora_down.weight": DOWN}
        tensors |= {f"lora_te1_x.{part}": UP for part in ("lora_up.weight", "lora_down.weight")}
        tensors |= {"bundle_emb.person.clip_l": UP}
        with caplog.at_level(logging.INFO):
            assert list(deltas(tensors)) == ["out"]
        assert "3 LoRA keys of text encoders are left out" in caplog.text
        assert "lora_te1_x.lora_up.weight, lora_te1_x.lora_down.weight, bundle_emb.person" in caplog.text


def trained(kind: str = "lora", alpha: float = 4.0) -> dict[str, Tensor]:
    layers = linear_layers(Block(), "all linear layers")
    adapters = LoraAdapters(layers, AdapterSettings(kind=kind, rank=2, alpha=alpha, factor=2), seed=0)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for index, parameter in enumerate(adapters.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=index))
    return adapters.state_dict()


LATER = {
    "transformer.norm_last": LayerRows("last", halves_swapped=True),
    "transformer.to_qkv_proj": LayerRows("qkv"),
    "transformer.linear_out": LayerRows("out"),
}
"""What a later program calls the same layers; it splits none of them."""
TOO_FEW = {f"transformer.to_{p}": LayerRows("qkv", i * 2, 2) for i, p in enumerate("qkv")}


class TestWriting:
    @pytest.mark.parametrize("style", ["comfyui", "kohya", "diffusers"])
    @pytest.mark.parametrize("alpha", [4.0, 3.0])
    def test_there_and_back(self, style: str, alpha: float):
        tensors = trained(alpha=alpha)
        before, after = deltas(tensors), deltas(export_lora(tensors, style, KEY_MAP))
        assert before.keys() == after.keys() == {"qkv", "out", "last"}
        for name in before:
            torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-5)

    def test_keys_of_diffusers(self):
        tensors = trained()
        written = export_lora(tensors, "diffusers", KEY_MAP)
        names = ("to_q", "to_k", "to_v", "to_out.0", "norm_out")
        assert set(written) == {f"transformer.{name}.lora_{p}.weight" for name in names for p in "AB"}
        up = tensors["diffusion_model.qkv.lora_up.weight"]
        assert torch.equal(written["transformer.to_k.lora_B.weight"], 2 * up[WIDTH : 2 * WIDTH])
        assert torch.equal(
            written["transformer.to_k.lora_A.weight"], tensors["diffusion_model.qkv.lora_down.weight"]
        )

    @pytest.mark.parametrize(
        ("names", "written"),
        [
            pytest.param(FOREIGN, FOREIGN, id="one name for each row, as ComfyUI 0.3.75 has them"),
            pytest.param(
                {**FOREIGN, **LATER}, FOREIGN, id="names of a later program behind, as 0.28 has them"
            ),
            pytest.param({**LATER, **FOREIGN}, LATER, id="names of a later program in front"),
            pytest.param({**TOO_FEW, **LATER}, LATER, id="rows of the first names are of a smaller layer"),
        ],
    )
    def test_of_several_names_for_a_row_the_first_that_cover_it_are_written(
        self, names: dict[str, LayerRows], written: dict[str, LayerRows]
    ):
        key_map = KeyMap({**OWN.names, **names}, {"diffusers": names})
        tensors = trained()
        exported = export_lora(tensors, "diffusers", key_map)
        assert set(exported) == {f"{name}.lora_{p}.weight" for name in written for p in "AB"}
        before, after = deltas(tensors), deltas(exported, key_map)
        assert before.keys() == after.keys() == {"qkv", "out", "last"}
        for name in before:
            torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-5)

    def test_pairs_of_a_convolution_have_its_kernel(self):
        own = KeyMap.of_layers(["conv"])
        key_map = KeyMap(own.names, own.styles, {"conv": 2})
        name = "diffusion_model.conv"
        pair = {f"{name}.lora_up.weight": UP, f"{name}.lora_down.weight": DOWN, f"{name}.alpha": UP[0, 0]}
        written = export_lora(pair, "kohya", key_map)
        assert {key: list(tensor.shape) for key, tensor in written.items()} == {
            "lora_unet_conv.lora_up.weight": [WIDTH, 2, 1, 1],
            "lora_unet_conv.lora_down.weight": [2, WIDTH, 1, 1],
            "lora_unet_conv.alpha": [],
        }

    @pytest.mark.parametrize(
        ("style", "name"),
        [
            ("comfyui", "diffusion_model.out"),
            ("kohya", "lora_unet_out"),
            ("diffusers", "transformer.to_out.0"),
        ],
    )
    def test_what_is_beside_adapters_passes_through(self, style: str, name: str):
        beside = {"diffusion_model.out.diff_b": UP[:, 0], "another.dora_scale": UP}
        written = export_lora({}, style, KEY_MAP, beside=beside)
        assert written.keys() == {f"{name}.diff_b", "another.dora_scale"}

    def test_a_pair_beside_adapters_is_one_in_diffusers_too(self):
        """A larger convolution: alpha goes into `up`. With a third part it is nothing that diffusers has."""
        pair = {f"diffusion_model.out.{suffix}": t for suffix, t in zip(PAIR, (DOWN, UP), strict=True)}
        alpha = {"diffusion_model.out.alpha": torch.tensor(1.0)}
        written = export_lora({}, "diffusers", KEY_MAP, beside={**pair, **alpha})
        assert written.keys() == {f"transformer.to_out.0.lora_{part}.weight" for part in "AB"}
        assert torch.equal(written["transformer.to_out.0.lora_B.weight"], UP / 2)
        mid = {"diffusion_model.out.lora_mid.weight": UP}
        written = export_lora({}, "diffusers", KEY_MAP, beside={**pair, **alpha, **mid})
        assert written.keys() == {
            f"transformer.to_out.0.{suffix}" for suffix in (*PAIR, "alpha", "lora_mid.weight")
        }

    def test_the_precision_of_the_file(self):
        written = export_lora(trained(), "kohya", KEY_MAP, torch.float16)
        kinds = {key.rsplit(".", 1)[1]: tensor.dtype for key, tensor in written.items()}
        assert kinds == {"weight": torch.float16, "alpha": torch.float32}

    @pytest.mark.parametrize("kind", ["loha", "lokr"])
    def test_diffusers_has_lora_only(self, kind: str):
        assert set(export_lora(trained(kind), "kohya", KEY_MAP))
        with pytest.raises(ValueError, match="diffusers has no keys for LoHa and LoKr"):
            export_lora(trained(kind), "diffusers", KEY_MAP)

    @pytest.mark.parametrize(
        ("style", "key_map", "message"),
        [
            ("onnx", KEY_MAP, "'onnx': choose one of comfyui, kohya, diffusers"),
            ("diffusers", OWN, "no diffusers keys for this base model"),
            ("kohya", None, "no kohya keys for this base model"),
            ("diffusers", KeyMap({}, {"diffusers": {"x": LayerRows("out")}}), "no name for the layer last"),
            (
                "diffusers",
                KeyMap({}, {"diffusers": {**FOREIGN, "transformer.to_v": LayerRows("qkv", 8, 5)}}),
                r"transformer.to_v do not add up to the 12 rows of diffusion_model.qkv",
            ),
        ],
    )
    def test_what_cannot_be_written_is_refused(self, style: str, key_map: KeyMap | None, message: str):
        with pytest.raises(ValueError, match=message):
            export_lora(dict(sorted(trained().items())), style, key_map)
