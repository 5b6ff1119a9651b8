"""In which precision this machine multiplies fastest."""

import torch


def products() -> torch.autocast:
    """A context in which matrices are multiplied in bfloat16 where the processor has AMX, else in float32.

    Without AMX bfloat16 takes 1.7 times (the base model) to 2.5 times (the codec) as long.
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu.get_capabilities().get("amx_bf16", False))
