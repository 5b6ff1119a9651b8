"""LoRA files as programs publish them, for small networks: names, spellings and kinds of changes.

The names are written down here, not taken from the code under test, and neither are the formulas.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer as programs call it.

    Attributes:
        name: in ComfyUI.
        diffusers: its parts in diffusers, from the first row on; empty: as in ComfyUI.
        omi: its parts in OneTrainer's OMI keys; empty: as in ComfyUI.
        shares: of the rows for the parts.
        swapped: diffusers has the halves of the rows the other way round.
    """

    name: str
    diffusers: tuple[str, ...] = ()
    omi: tuple[str, ...] = ()
    shares: tuple[int, ...] = (1, 1, 1)
    swapped: bool = False


def parts(stem: str, names: str, ending: str = "") -> tuple[str, ...]:
    return tuple(f"{stem}{name}{ending}" for name in names.split())


def of_unet(name: str) -> Layer:
    return Layer(f"input_blocks.1.1.{name}", (f"down_blocks.0.attentions.0.{name}",))


IN_BLOCK = ("attn1.to_q", "attn2.to_k", "attn1.to_out.0", "ff.net.0.proj")
UNET = (of_unet("proj_in"), *(of_unet(f"transformer_blocks.0.{name}") for name in IN_BLOCK))
LAYERS: Mapping[str, tuple[Layer, ...]] = {
    "z_image": (
        Layer("layers.0.attention.qkv", parts("layers.0.attention.to_", "q k v")),
        Layer("layers.0.attention.out", ("layers.0.attention.to_out.0",)),
        Layer("layers.0.feed_forward.w1"),
    ),
    "qwen_image": tuple(
        Layer(f"transformer_blocks.0.{name}")
        for name in ("attn.to_q", "attn.add_q_proj", "attn.to_out.0", "img_mlp.net.0.proj")
    ),
    "flux": (
        Layer(
            "double_blocks.0.img_attn.qkv",
            parts("transformer_blocks.0.attn.to_", "q k v"),
            parts("double_blocks.0.img_attn.qkv.", "0 1 2"),
        ),
        Layer(
            "double_blocks.0.txt_attn.qkv",
            parts("transformer_blocks.0.attn.add_", "q k v", "_proj"),
            parts("double_blocks.0.txt_attn.qkv.", "0 1 2"),
        ),
        Layer("double_blocks.0.img_attn.proj", ("transformer_blocks.0.attn.to_out.0",)),
        Layer("double_blocks.0.img_mlp.0", ("transformer_blocks.0.ff.net.0.proj",)),
        Layer(
            "single_blocks.0.linear1",
            (*parts("single_transformer_blocks.0.attn.to_", "q k v"), "single_transformer_blocks.0.proj_mlp"),
            parts("single_blocks.0.linear1.", "0 1 2 3"),
            (1, 1, 1, 4),
        ),
        Layer("single_blocks.0.linear2", ("single_transformer_blocks.0.proj_out",)),
        Layer("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ),
    "sd3": (
        Layer(
            "joint_blocks.0.x_block.attn.qkv",
            parts("transformer_blocks.0.attn.to_", "q k v"),
            parts("joint_blocks.0.x_block.attn.qkv.", "0 1 2"),
        ),
        Layer(
            "joint_blocks.0.context_block.attn.qkv",
            parts("transformer_blocks.0.attn.add_", "q k v", "_proj"),
            parts("joint_blocks.0.context_block.attn.qkv.", "0 1 2"),
        ),
        Layer("joint_blocks.0.x_block.attn.proj", ("transformer_blocks.0.attn.to_out.0",)),
        Layer("joint_blocks.0.x_block.mlp.fc1", ("transformer_blocks.0.ff.net.0.proj",)),
    ),
    "wan_video": tuple(
        Layer(f"blocks.0.{name}") for name in ("self_attn.q", "self_attn.o", "cross_attn.k", "ffn.0")
    ),
    "sd15": UNET,
    "sdxl_v": UNET,
}  # fmt: skip


@dataclass(frozen=True)
class Spelling:
    """How a program writes names and pairs.

    Attributes:
        prefix: before the name of a layer.
        names: whose: ComfyUI's, diffusers' or OneTrainer's OMI.
        flat: dots are underscores.
        down, up: after the name of a layer.
        alpha: is written, and not the rank.
        rename: what else is changed in a name.
        beside: keys that are no layer's.
    """

    prefix: str
    names: str = "comfyui"
    flat: bool = False
    down: str = ".lora_down.weight"
    up: str = ".lora_up.weight"
    alpha: bool = True
    rename: Callable[[str], str] = str
    beside: tuple[str, ...] = ()

    def of(self, name: str) -> str:
        """The name of a layer in a file."""
        return self.prefix + self.rename(name.replace(".", "_") if self.flat else name)


AB = {"down": ".lora_A.weight", "up": ".lora_B.weight", "alpha": False}
TEXT = ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",)
BUNDLED = ("bundle_emb.person.clip_l", "bundle_emb.person.t5_out")
OMI_TEXT = ("clip_l.text_model.encoder.layers.0.mlp.fc1.lora_up.weight", "t5.encoder.block.0.lora_up.weight")


def processor(name: str) -> str:
    return name.replace(".to_", ".processor.to_").removesuffix(".0")


TRANSFORMER = {
    "ComfyUI": Spelling("diffusion_model."),
    "kohya": Spelling("lora_unet_", flat=True, beside=TEXT),
    "diffusers": Spelling("transformer.", "diffusers", **AB),
    "PEFT": Spelling("base_model.model.", "diffusers", **AB),
    "OneTrainer": Spelling("lora_transformer_", "diffusers", flat=True, beside=(*TEXT, *BUNDLED)),
    "SimpleTuner LyCORIS": Spelling("lycoris_", "diffusers", flat=True),
}
AI_TOOLKIT = {"ai-toolkit": Spelling("diffusion_model.", "diffusers", **AB)}
MUSUBI = {"musubi-tuner": Spelling("lora_unet_", "diffusers", flat=True)}
OMI = {"OneTrainer OMI": Spelling("transformer.", "omi", beside=(*OMI_TEXT, *BUNDLED))}
OF_UNETS = {
    "ComfyUI": Spelling("diffusion_model."),
    "kohya": Spelling("lora_unet_", "diffusers", flat=True, beside=TEXT),
    "diffusers": Spelling("unet.", "diffusers", down=".lora.down.weight", up=".lora.up.weight", alpha=False),
    "diffusers, processors": Spelling(
        "unet.", "diffusers", down="_lora.down.weight", up="_lora.up.weight", alpha=False, rename=processor
    ),
    "PEFT": Spelling("unet.", "diffusers", **AB),
    "PEFT, training script": Spelling("base_model.model.", "diffusers", **AB),
    "OneTrainer OMI": Spelling("unet.", "omi", beside=(*OMI_TEXT, *BUNDLED)),
}
DEFAULT = {"down": ".lora_A.default.weight", "up": ".lora_B.default.weight", "alpha": False}
SPELLINGS: Mapping[str, Mapping[str, Spelling]] = {
    "z_image": TRANSFORMER | AI_TOOLKIT | MUSUBI,
    "qwen_image": TRANSFORMER
    | AI_TOOLKIT
    | MUSUBI
    | {"DiffSynth": Spelling("", **DEFAULT), "OneTrainer, dotted": Spelling("transformer.", beside=BUNDLED)},
    "flux": TRANSFORMER | OMI | {"without prefix": Spelling("", "diffusers", **AB)},
    "sd3": TRANSFORMER | OMI,
    "wan_video": {
        "ComfyUI": Spelling("diffusion_model."),
        "kohya": Spelling("lora_unet_", flat=True),
        "musubi-tuner": Spelling("lora_unet_", flat=True),
        "ai-toolkit": Spelling("diffusion_model.", **AB),
        "Wan Fun": Spelling("lora_unet__", flat=True),
        "DiffSynth": Spelling("", **DEFAULT),
    },
    "sd15": OF_UNETS,
    "sdxl_v": OF_UNETS | {"kohya, original names": Spelling("lora_unet_", flat=True, beside=TEXT)},
}


@dataclass
class File:
    """A LoRA file and what it means.

    Attributes:
        tensors: its content.
        meant: layer -> what is added to its weight, Float[out, in]; None: what ComfyUI's loader makes of it.
        alike: the same in names that ComfyUI's loader knows, where it does not know the file's.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    meant: dict[str, Tensor] | None = field(default_factory=dict)
    alike: dict[str, Tensor] | None = None


class Noise:
    """Reproducible random tensors."""

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * 0.5


def spelled_file(family: str, spelling: Spelling, shapes: Mapping[str, Shape]) -> File:
    """Every layer of the table as a LoRA of its own rank in a program's spelling."""
    noise, file = Noise(), File()
    assert file.meant is not None
    for index, layer in enumerate(LAYERS[family]):
        names = {"diffusers": layer.diffusers, "omi": layer.omi}.get(spelling.names, ()) or (layer.name,)
        out, inputs = shapes[layer.name][:2]
        shares = layer.shares if len(names) > 1 else (1,)
        deltas = []
        for name, share in zip(names, shares, strict=True):
            rank = index + 2
            up, down = noise(out * share // sum(shares), rank), noise(rank, inputs)
            kernel = (1,) * (len(shapes[layer.name]) - 2)
            file.tensors[spelling.of(name) + spelling.up] = up.reshape(*up.shape, *kernel)
            file.tensors[spelling.of(name) + spelling.down] = down.reshape(*down.shape, *kernel)
            if spelling.alpha:
                file.tensors[f"{spelling.of(name)}.alpha"] = torch.tensor(rank * 1.5)
            deltas.append((up.double() @ down.double()) * (1.5 if spelling.alpha else 1.0))
        delta = torch.cat(deltas).float()
        swapped = layer.swapped and spelling.names == "diffusers"
        file.meant[layer.name] = delta.roll(out // 2, 0) if swapped else delta
    file.tensors |= {key: noise(2, 4) for key in spelling.beside}
    return file
