"""A text encoder without weights: every word is a fixed random vector, standing in for CLIP and T5."""

import hashlib
import re

import torch
from torch import Tensor

TOKENS = 16
CONTEXT_DIM = 4096
POOLED_DIM = 2048

Tokens = list[list[str]]


def words_of(text: str) -> list[str]:
    """The lower-cased words of a prompt in their order; anything but letters and digits separates."""
    return re.findall(r"[^\W_]+", text.lower())


def word_vector(word: str) -> Tensor:
    """Float[4096 + 2048] ~ N(0, 1), the same for the same word in every process and on every machine."""
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest(), "big")
    return torch.randn(CONTEXT_DIM + POOLED_DIM, generator=torch.Generator().manual_seed(seed))


class HashingTextEncoder:
    """Speaks enough of ComfyUI's CLIP for CLIPTextEncode and the dataset nodes.

    Words carry no meaning beyond being equal or different, and weights like "(word:1.2)" are not
    understood: a model trained with this encoder learns what its own captions mean, nothing else. Words
    beyond the 16th are dropped. No words give zeros, so an empty prompt equals a zeroed-out conditioning.
    """

    def tokenize(self, text: str, **_options) -> Tokens:
        """One list of at most 16 words."""
        return [words_of(text)[:TOKENS]]

    def encode_from_tokens(self, tokens: Tokens, return_pooled: bool = False):
        """Float[1, 16, 4096] context, zeros after the last word; with return_pooled also Float[1, 2048].

        The pooled vector is the sum of the words' vectors over the square root of their number (variance 1).
        """
        (words,) = tokens
        vectors = torch.zeros(TOKENS, CONTEXT_DIM + POOLED_DIM)
        for row, word in zip(vectors, words, strict=False):
            row.copy_(word_vector(word))
        context = vectors[None, :, :CONTEXT_DIM].contiguous()
        pooled = vectors[None, :, CONTEXT_DIM:].sum(1) / max(len(words), 1) ** 0.5
        return (context, pooled) if return_pooled else context

    def encode_from_tokens_scheduled(self, tokens: Tokens, **_options) -> list[list]:
        """The CONDITIONING of one prompt: [[context, {"pooled_output": pooled}]]."""
        context, pooled = self.encode_from_tokens(tokens, return_pooled=True)
        return [[context, {"pooled_output": pooled}]]
