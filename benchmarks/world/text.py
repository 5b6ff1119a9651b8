"""A text encoder without weights that knows which colour belongs to what: one token for each phrase."""

import hashlib
import re
from functools import lru_cache

import torch
from torch import Tensor

PHRASES = 4
KEPT = 4096
"""Vectors that are remembered: all words of the world, but not all the names that ever came up."""
VECTOR = 256
"""Length of a token, and of the pooled vector."""


@lru_cache(KEPT)
def word_vector(word: str) -> Tensor:
    """Float[256] ~ N(0, 1), the same for the same word in every process and on every machine."""
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest(), "big")
    return torch.randn(VECTOR, generator=torch.Generator().manual_seed(seed))


@lru_cache(KEPT)
def phrase_vector(words: tuple[str, ...]) -> Tensor:
    """Float[256] of variance 1: the sum of the words over the root of their number, times the signs of the
    last one, the noun.

    The signs bind a word to its noun (Gayler 1998, multiply-add-permute): "blue hair, red clothes" and "red
    hair, blue clothes" differ even where phrases are summed.
    """
    summed = torch.stack([word_vector(word) for word in words]).sum(0)
    return summed / len(words) ** 0.5 * word_vector(f"noun {words[-1]}").sign()


def encode(prompt: str) -> tuple[Tensor, Tensor]:
    """Tokens Float[4, 256] of the phrases between commas, zeros after the last, and pooled Float[256].

    The fifth phrase and later are dropped.
    """
    tokens = torch.zeros(PHRASES, VECTOR)
    phrases = phrases_of(prompt)
    for row, phrase in zip(tokens, phrases, strict=False):
        row.copy_(phrase_vector(phrase))
    return tokens, tokens.sum(0) / max(len(phrases), 1) ** 0.5


def phrases_of(prompt: str) -> list[tuple[str, ...]]:
    """The words of each phrase, at most four phrases; "person sks" with its noun last as in the others."""
    phrases = [tuple(re.findall(r"[^\W_]+", phrase.lower())) for phrase in prompt.split(",")]
    return [_noun_last(phrase) for phrase in phrases if phrase][:PHRASES]


def _noun_last(phrase: tuple[str, ...]) -> tuple[str, ...]:
    return (*phrase[1:], phrase[0]) if phrase[0] == "person" else phrase


class PhraseEncoder:
    """Speaks enough of ComfyUI's CLIP for CLIPTextEncode and the dataset nodes.

    Words mean what the world's captions taught the base model, and any other word is a name it has not met.
    An empty prompt gives zeros, as a zeroed-out conditioning does.
    """

    def tokenize(self, text: str, **_options) -> list[str]:
        """The prompt as it is: phrases are found when it is encoded."""
        return [text]

    def encode_from_tokens(self, tokens: list[str], return_pooled: bool = False):
        """Float[1, 4, 256] context; with return_pooled also Float[1, 256]."""
        (text,) = tokens
        context, pooled = encode(text)
        return (context[None], pooled[None]) if return_pooled else context[None]

    def encode_from_tokens_scheduled(self, tokens: list[str], **_options) -> list[list]:
        """The CONDITIONING of one prompt: [[context, {"pooled_output": pooled}]]."""
        context, pooled = self.encode_from_tokens(tokens, return_pooled=True)
        return [[context, {"pooled_output": pooled}]]
