"""Write a small SD3 model with random weights for the tests: `python stand_in_model.py COMFYUI FILE`.

A program of its own, because it imports ComfyUI. Unlike a fresh one, the model has no zero-initialised layer
left, so that every layer has a part in its output.
"""

import sys
from pathlib import Path


def main() -> None:
    """Build the model and write it with the picture codec of unit statistics."""
    comfyui, file = sys.argv[1:3]
    sys.path[:0] = [comfyui, str(Path(__file__).resolve().parents[1])]
    from comfy.cli_args import args

    args.cpu = True
    import torch
    from comfy.latent_formats import SD3

    from host.standins import base_model
    from host.standins.codec import CHANNELS, BlockCodec

    torch.manual_seed(0)
    model = base_model.Architecture(depth=2).build()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    codec = BlockCodec((0.0,) * CHANNELS, (1.0,) * CHANNELS, SD3())
    base_model.save(Path(file), model, codec, {})


if __name__ == "__main__":
    main()
