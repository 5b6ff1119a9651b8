"""ComfyUI's own command line, as far as it decides what becomes of a model."""

import enum
from typing import Any

DECIDING = (
    *("force_fp32", "force_fp16", "fp32_unet", "fp64_unet", "bf16_unet", "fp16_unet"),
    *("fp8_e4m3fn_unet", "fp8_e5m2_unet", "fp8_e8m0fnu_unet", "supports_fp8_compute", "fast"),
    *("use_split_cross_attention", "use_quad_cross_attention", "use_pytorch_cross_attention"),
    *("use_sage_attention", "use_flash_attention", "disable_xformers"),
    *("force_upcast_attention", "dont_upcast_attention", "force_channels_last", "deterministic", "directml"),
    *("gpu_only", "highvram", "normalvram", "lowvram", "novram", "reserve_vram", "disable_smart_memory"),
    *("async_offload", "disable_async_offload", "force_non_blocking", "disable_pinned_memory"),
    *("disable_mmap", "mmap_torch_files"),
)
"""Its arguments by the names of `comfy.cli_args.args`: how weights are read, kept and computed with."""


def deciding_arguments() -> tuple[str, ...]:
    """Those that this process's ComfyUI was started with, as its command line takes them."""
    from comfy.cli_args import args, parser

    words: list[str] = []
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in DECIDING and action.option_strings and value:
            words += [action.option_strings[0], *_written(value)]
    return tuple(words)


def other_arguments() -> list[str]:
    """Those of `comfy.cli_args` that were given besides; the device is chosen otherwise."""
    from comfy.cli_args import args, parser

    return [
        action.option_strings[0]
        for action in parser._actions
        if action.option_strings
        and action.dest not in (*DECIDING, "help", "cpu")
        and getattr(args, action.dest, action.default) != action.default
    ]


def _written(value: Any) -> list[str]:
    if value is True:
        return []
    each = value if isinstance(value, set | list | tuple) else [value]
    return sorted(str(one.value if isinstance(one, enum.Enum) else one) for one in each)
