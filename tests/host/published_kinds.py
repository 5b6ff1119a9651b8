"""Kinds of changes in LoRA files, on layers of small networks: what programs write beside plain pairs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from published_loras import BUNDLED, LAYERS, TEXT, File, Noise, Shape
from torch import Tensor

Parts = dict[str, Tensor]
Made = tuple[Parts, Tensor | None]
"""Suffix -> tensor, and what is added to the weight; None where only ComfyUI's loader says it."""


def pair(noise: Noise, shape: Shape, rank: int = 3) -> tuple[Tensor, Tensor]:
    """Factors of a weight Float[out, in, *kernel]: Float[out, rank, 1...] and Float[rank, in, *kernel]."""
    ones = (1,) * len(shape[2:])
    return noise(shape[0], rank, *ones), noise(rank, *shape[1:])


def named(up: Tensor, down: Tensor) -> Parts:
    return {"lora_up.weight": up, "lora_down.weight": down}


def product(up: Tensor, down: Tensor) -> Tensor:
    return (up.flatten(1).double() @ down.flatten(1).double()).reshape(len(up), *down.shape[1:])


def lora(scale: float | None, dtype: torch.dtype = torch.float32) -> Callable[[Noise, Shape], Made]:
    """A pair of rank 3 with alpha = 3 scale, or none."""

    def make(noise: Noise, shape: Shape) -> Made:
        up, down = (factor.to(dtype) for factor in pair(noise, shape))
        alpha = {} if scale is None else {"alpha": torch.tensor(3 * scale)}
        return named(up, down) | alpha, product(up, down) * (1.0 if scale is None else scale)

    return make


def loha(noise: Noise, shape: Shape) -> Made:
    flat = (shape[0], math.prod(shape[1:]))
    (a, b), (c, d) = pair(noise, flat), pair(noise, flat)
    parts = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(2.0)}
    return parts, (product(a, b) * product(c, d) * 2 / 3).reshape(shape)


def loha_tucker(noise: Noise, shape: Shape) -> Made:
    out, inputs, *kernel = shape
    parts = {
        f"hada_w{n}_{side}": noise(3, size) for n in (1, 2) for side, size in (("a", out), ("b", inputs))
    }
    return parts | {f"hada_t{n}": noise(3, 3, *kernel) for n in (1, 2)}, None


def lokr(first: bool, second: bool) -> Callable[[Noise, Shape], Made]:
    """Kronecker factors 2x4 and the rest, each whole or of rank 2."""

    def make(noise: Noise, shape: Shape) -> Made:
        sizes, parts, whole = ((2, 4), (shape[0] // 2, shape[1] // 4)), {}, []
        for number, (size, factored) in enumerate(zip(sizes, (first, second), strict=True), 1):
            if factored:
                a, b = noise(size[0], 2), noise(2, size[1])
                parts |= {f"lokr_w{number}_a": a, f"lokr_w{number}_b": b}
                whole.append(product(a, b))
            else:
                parts[f"lokr_w{number}"] = noise(*size)
                whole.append(parts[f"lokr_w{number}"].double())
        scale = 0.5 if first or second else 1.0
        return parts | {"alpha": torch.tensor(1.0)}, (torch.kron(*whole) * scale).reshape(shape)

    return make


def lokr_tucker(noise: Noise, shape: Shape) -> Made:
    out, inputs, *kernel = shape
    parts = {"lokr_w1": noise(2, 4), "lokr_t2": noise(3, 3, *kernel)}
    return parts | {"lokr_w2_a": noise(3, out // 2), "lokr_w2_b": noise(3, inputs // 4)}, None


def beside_a_pair(**others: Callable[[Noise, Shape], Tensor]) -> Callable[[Noise, Shape], Made]:
    """A pair with more; a double underscore is a dot."""

    def make(noise: Noise, shape: Shape) -> Made:
        parts = named(*pair(noise, shape)) | {"alpha": torch.tensor(2.0)}
        return parts | {name.replace("__", "."): other(noise, shape) for name, other in others.items()}, None

    return make


def alone(**parts: Callable[[Noise, Shape], Tensor]) -> Callable[[Noise, Shape], Made]:
    return lambda noise, shape: (
        {name.replace("__", "."): part(noise, shape) for name, part in parts.items()},
        None,
    )


def per_row(noise: Noise, shape: Shape) -> Tensor:
    return noise(shape[0])


def magnitude(noise: Noise, shape: Shape) -> Tensor:
    return noise(shape[0], *(1,) * len(shape[1:])).abs() + 0.5


def magnitude_of_inputs(noise: Noise, shape: Shape) -> Tensor:
    return noise(1, shape[1], *(1,) * len(shape[2:])).abs() + 0.5


def whole(noise: Noise, shape: Shape) -> Tensor:
    return noise(*shape)


def blocks(noise: Noise, shape: Shape) -> Tensor:
    return noise(shape[0] // 4, 4, 4)


def stages(noise: Noise, shape: Shape) -> Tensor:
    return noise(2, shape[0] // 4, 4, 4)


def number(_noise: Noise, _shape: Shape) -> Tensor:
    return torch.tensor(0.5)


def core_of_pair(noise: Noise, shape: Shape) -> Tensor:
    return noise(3, 3, *shape[2:])


def tucker(noise: Noise, shape: Shape) -> Made:
    parts = named(noise(shape[0], 3, 1, 1), noise(3, shape[1], 1, 1))
    return parts | {"lora_mid.weight": core_of_pair(noise, shape), "alpha": torch.tensor(2.0)}, None


def dora_of_loha(noise: Noise, shape: Shape) -> Made:
    return loha(noise, shape)[0] | {"dora_scale": magnitude(noise, shape)}, None


def glora(noise: Noise, shape: Shape) -> Made:
    (b1, b2), (a1, a2) = pair(noise, shape[:2]), pair(noise, (shape[1], shape[1]))
    return {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}, None


TRAINS, STAYS, LEFT_OUT = "trains", "stays applied", "left out"
DEPENDS = f"{STAYS} or {LEFT_OUT}"
"""On whether torch can do what ComfyUI's loader asks it for."""


@dataclass(frozen=True)
class Kind:
    """One kind of change: what becomes of it, and how it is made."""

    outcome: str
    make: Callable[[Noise, Shape], Made]


OF_LINEAR: Mapping[str, Kind] = {
    "LoRA": Kind(TRAINS, lora(0.5)),
    "LoRA without alpha": Kind(TRAINS, lora(None)),
    "rs-LoRA": Kind(TRAINS, lora(math.sqrt(3))),
    "LoRA in bf16": Kind(TRAINS, lora(0.5, torch.bfloat16)),
    "LoRA in fp16": Kind(TRAINS, lora(0.5, torch.float16)),
    "LoRA in fp8": Kind(TRAINS, lora(0.5, torch.float8_e4m3fn)),
    "LoHa": Kind(TRAINS, loha),
    "LoKr, w1 and w2": Kind(TRAINS, lokr(False, False)),
    "LoKr, w1 and w2_a, w2_b": Kind(TRAINS, lokr(False, True)),
    "LoKr, w1_a, w1_b and w2": Kind(TRAINS, lokr(True, False)),
    "LoKr, both in two": Kind(TRAINS, lokr(True, True)),
    "DoRA": Kind(STAYS, beside_a_pair(dora_scale=magnitude)),
    "DoRA over inputs": Kind(STAYS, beside_a_pair(dora_scale=magnitude_of_inputs)),
    "DoRA of LoHa": Kind(STAYS, dora_of_loha),
    "OFT": Kind(STAYS, alone(oft_blocks=blocks)),
    "OFT with a limit": Kind(STAYS, alone(oft_blocks=blocks, alpha=number)),
    "BOFT": Kind(STAYS, alone(oft_blocks=stages, rescale=magnitude, alpha=number)),
    "GLoRA": Kind(STAYS, glora),
    "diff": Kind(STAYS, alone(diff=whole)),
    "set_weight": Kind(STAYS, alone(set_weight=whole)),
    "BOFT without alpha": Kind(LEFT_OUT, alone(oft_blocks=stages)),
    "OFT of PEFT": Kind(LEFT_OUT, alone(oft_R__weight=blocks)),
    "bias of PEFT beside a pair": Kind(LEFT_OUT, beside_a_pair(lora_B__bias=per_row)),
    "magnitude of PEFT beside a pair": Kind(LEFT_OUT, beside_a_pair(lora_magnitude_vector__weight=per_row)),
}
OF_BIASED: Mapping[str, Kind] = {
    "diff_b beside a pair": Kind(STAYS, beside_a_pair(diff_b=per_row)),
    "diff and diff_b": Kind(STAYS, alone(diff=whole, diff_b=per_row)),
}
OF_UNBIASED: Mapping[str, Kind] = {
    "diff_b where there is no bias": Kind(LEFT_OUT, beside_a_pair(diff_b=per_row)),
}
OF_NORM: Mapping[str, Kind] = {
    "norm, diff": Kind(STAYS, alone(diff=whole)),
    "norm, w_norm": Kind(STAYS, alone(w_norm=whole)),
    "norm, set_weight": Kind(STAYS, alone(set_weight=whole)),
}
OF_BIASED_NORM: Mapping[str, Kind] = {
    "norm, diff and diff_b": Kind(STAYS, alone(diff=whole, diff_b=per_row)),
    "norm, w_norm and b_norm": Kind(STAYS, alone(w_norm=whole, b_norm=per_row)),
}
FEW = {
    title: OF_LINEAR[title] for title in ("LoRA in bf16", "LoHa", "LoKr, w1 and w2_a, w2_b", "DoRA", "OFT")
}
OF_VIDEO: Mapping[str, Kind] = {
    "LoRA of the patches": Kind(STAYS, lora(0.5)),
    "difference of the patches": Kind(STAYS, alone(diff=whole, diff_b=per_row)),
}
OF_CONVOLUTION: Mapping[str, Kind] = {
    "3x3 LoCon": Kind(STAYS, lora(0.5)),
    "3x3 LoCon, Tucker": Kind(STAYS, tucker),
    "3x3 LoHa": Kind(STAYS, loha),
    "3x3 LoHa, Tucker": Kind(STAYS, loha_tucker),
    "3x3 LoKr, Tucker": Kind(DEPENDS, lokr_tucker),
    "3x3 DoRA": Kind(STAYS, beside_a_pair(dora_scale=magnitude)),
}
OF_POINTWISE: Mapping[str, Kind] = {
    "1x1 LoCon": Kind(TRAINS, lora(0.5)),
    "1x1 LoHa": Kind(TRAINS, loha),
    "1x1 LoKr": Kind(TRAINS, lokr(False, True)),
}


FIRST_BLOCK = "input_blocks.1.0.in_layers.2", "lora_unet_down_blocks_0_resnets_0_conv1"
FIRST_ATTENTION = "input_blocks.1.1.proj_in", "lora_unet_down_blocks_0_attentions_0_proj_in"
ROWS: Mapping[str, tuple[tuple[Mapping[str, Kind], str, str], ...]] = {
    "z_image": (
        (OF_LINEAR, "layers.0.attention.out", "lycoris_layers_0_attention_to_out_0"),
        (OF_UNBIASED, "layers.0.attention.out", "diffusion_model.layers.0.attention.to_out.0"),
        (OF_NORM, "layers.0.attention_norm1", "diffusion_model.layers.0.attention_norm1"),
    ),
    "sd15": (
        (OF_LINEAR, "middle_block.1.transformer_blocks.0.attn1.to_out.0",
         "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"),
        (OF_BIASED, "middle_block.1.transformer_blocks.0.attn1.to_out.0",
         "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"),
        (OF_NORM | OF_BIASED_NORM, "out.0", "lora_unet_conv_norm_out"),
        (OF_CONVOLUTION, *FIRST_BLOCK),
        (OF_POINTWISE, *FIRST_ATTENTION),
    ),
    "sdxl_v": (
        (FEW, "middle_block.1.proj_in", "lora_unet_middle_block_1_proj_in"),
        (OF_CONVOLUTION, FIRST_BLOCK[0], "lora_unet_input_blocks_1_0_in_layers_2"),
    ),
    "flux": (
        (FEW | OF_BIASED, "double_blocks.0.img_attn.proj", "transformer.transformer_blocks.0.attn.to_out.0"),
    ),
    "qwen_image": (
        (FEW | OF_BIASED, "transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_q"),
    ),
    "sd3": (
        (FEW | OF_BIASED, "joint_blocks.0.x_block.attn.proj",
         "lora_transformer_transformer_blocks_0_attn_to_out_0"),
    ),
    "wan_video": (
        (FEW | OF_BIASED, "blocks.0.self_attn.q", "lora_unet_blocks_0_self_attn_q"),
        (OF_NORM, "blocks.0.self_attn.norm_q", "diffusion_model.blocks.0.self_attn.norm_q"),
        (OF_VIDEO, "patch_embedding", "diffusion_model.patch_embedding"),
    ),
}  # fmt: skip
"""Kinds, the layer that has them, and its name in the file."""


def files_of_kinds(family: str, shapes: Mapping[str, Shape]) -> dict[str, tuple[str, File]]:
    """Kind -> what becomes of it, and a file: one layer changed so, and another one by a plain pair.

    Args:
        shapes: layer -> of its weight.
    """
    files = {}
    other = LAYERS[family][-1].name
    for table, layer, name in ROWS[family]:
        for title, kind in table.items():
            noise = Noise(7)
            changes, delta = kind.make(noise, shapes[layer])
            plain, of_plain = lora(0.5)(noise, shapes[other])
            tensors = {f"{name}.{suffix}": tensor for suffix, tensor in changes.items()}
            tensors |= {f"diffusion_model.{other}.{suffix}": tensor for suffix, tensor in plain.items()}
            assert of_plain is not None
            meant = None if delta is None else {layer: delta.float(), other: of_plain.float()}
            files[title] = (kind.outcome, File(tensors, meant))
    return files


def of_parts(make: Callable[[Noise, Shape], Made], stem: str, width: int, names: str) -> Parts:
    """Changes of the parts of a fused layer under names of their own."""
    noise = Noise(9)
    return {
        f"{stem}{name}.{suffix}": tensor
        for name in names.split()
        for suffix, tensor in make(noise, (width, width))[0].items()
    }


def files_of_parts(width_of_flux: int, width_of_z_image: int) -> dict[tuple[str, str], File]:
    """(family, kind) -> a file that changes parts of fused layers as no adapter of the whole can."""
    dora, lokr_of_two = beside_a_pair(dora_scale=magnitude), lokr(False, True)
    flux, z_image = "transformer_blocks_0_attn_to_", "layers_0_attention_to_"
    files = {
        ("flux", "LoKr of parts"): File(
            of_parts(lokr_of_two, f"lycoris_{flux}", width_of_flux, "q k v"), None
        ),
        ("flux", "DoRA of parts"): File(
            of_parts(dora, f"lora_transformer_{flux}", width_of_flux, "q v"), None
        ),
    }
    for title, make in (("LoKr of parts", lokr_of_two), ("DoRA of parts", dora)):
        tensors, alike = (
            of_parts(make, prefix + z_image, width_of_z_image, "q k v")
            for prefix in ("lora_unet_", "lycoris_")
        )
        files["z_image", f"{title}, musubi-tuner"] = File(tensors, None, alike)
    plain = of_parts(lora(0.5), f"lycoris_{flux}", width_of_flux, "q")
    files["flux", "LoRA and LoKr of parts"] = File(
        plain | of_parts(lokr_of_two, f"lycoris_{flux}", width_of_flux, "k"), None
    )
    return files


def refused_files(shapes: Mapping[str, Mapping[str, Shape]]) -> dict[tuple[str, str], tuple[File, str]]:
    """(family, what it is) -> a file, and what the refusal has."""
    noise = Noise(3)
    out, inputs = shapes["flux"]["double_blocks.0.img_attn.proj"]
    ups, downs = noise(out, 2), noise(2, inputs)

    def of(**parts: Tensor) -> dict[str, Tensor]:
        return {f"{proj}.{name.replace('__', '.')}": tensor for name, tensor in parts.items()}

    twice = "the same thing twice"
    proj, kohya = "diffusion_model.double_blocks.0.img_attn.proj", "lora_unet_double_blocks_0_img_attn_proj"
    whole_pair = of(lora_up__weight=ups, lora_down__weight=downs)
    again = {key.replace(proj, kohya): tensor for key, tensor in whole_pair.items()}
    foreign = {"lora_unet_input_blocks_4_1_proj_in.lora_up.weight": ups}
    diffusers_of_wan = {f"transformer.blocks.0.attn1.to_q.lora_{part}.weight": ups for part in "AB"}
    control = {
        "img_in.lora_A.weight": noise(2, 128),
        "img_in.lora_B.weight": noise(64, 2),
        "single_blocks.0.norm.key_norm.scale": noise(32),
    }
    files = {
        "text encoder alone": ({TEXT[0]: ups}, "is it one of a text encoder"),
        "embedding alone": ({BUNDLED[0]: ups}, "Is it a whole model, a VAE or an embedding"),
        "of SDXL": (foreign, "mean nothing to Flux: lora_unet_input_blocks_4_1_proj_in"),
        "cut": (of(lora_up__weight=ups), f"{proj}: lora_up.weight [64, 2] is no complete LoRA"),
        "cut DoRA": (of(lora_up__weight=ups, dora_scale=ups), f"{proj} has no '{proj}.lora_down.weight'"),
        "of a larger model": (
            of(lora_up__weight=noise(99, 2), lora_down__weight=downs), f"{proj}: its update is [99, 64]"
        ),
        "a layer twice": (whole_pair | again, f"{proj}, {kohya}: one layer is adapted twice"),
        "two changes of a layer": (
            whole_pair | of(diff=ups), f"{proj} has {proj}.diff beside another change"
        ),
        "two spellings of a factor": (
            whole_pair | of(lora_B__weight=ups), f"{proj}.lora_B.weight, {proj}.lora_up.weight: {twice}"
        ),
        "control": (control, "changes the size of a layer (diffusion_model.img_in.reshape_weight)"),
        "OFT of PEFT alone": (of(oft_R__weight=ups), f"ComfyUI's loader does not read {proj}.oft_R.weight"),
    }  # fmt: skip
    table = {("flux", title): (File(tensors, None), message) for title, (tensors, message) in files.items()}
    return table | {
        ("wan_video", "of diffusers"): (
            File(diffusers_of_wan, None),
            "mean nothing to WAN21: transformer.blocks.0",
        ),
    }
