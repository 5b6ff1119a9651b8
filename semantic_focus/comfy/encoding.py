"""ComfyUI's VAE and CLIP as what prepares a dataset."""

from typing import Any

from torch import Tensor

from ..datasets.preparation import Encoders
from .conditioning import Conditioning
from .fingerprint import encoder_fingerprint


def encoders_of(vae: Any, clip: Any) -> Encoders:
    """As core's VAE Encode and CLIP Text Encode do it."""

    def picture(pixels: Tensor) -> Tensor:
        return vae.encode(pixels[..., :3])

    def text(words: str) -> Conditioning:
        return clip.encode_from_tokens_scheduled(clip.tokenize(words))

    return Encoders(picture, text, encoder_fingerprint(vae), encoder_fingerprint(clip))
