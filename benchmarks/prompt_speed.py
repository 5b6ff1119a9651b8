"""How much time it saves to encode a picture once for many keywords, on an untrained SAM 3 of middle size.

python benchmarks/prompt_speed.py [--words 20]

On two CPU cores the published SAM 3 takes 80 s for a picture and 7.8 s for each keyword. The networks here
are smaller, with a similar share of the work in the picture. How similar is printed, because it bounds the
ratio: n keywords cost n * (picture + keyword) when each is a call of the whole model, and
picture + n * keyword when the picture is encoded once.
"""

import argparse
import string
import time
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Sam3Config, Sam3Model

from semantic_focus.segmenters.sam3 import Sam3

SIDE = 336
FULL_SIZE_PICTURE, FULL_SIZE_WORD = 80.0, 7.8
"""Seconds that the published model was seen to take on two cores."""


class Letters:
    """A tokenizer that needs no file: one token per letter, 32 in all."""

    def __call__(self, words: list[str], max_length: int, **options: Any) -> Any:
        ids = torch.ones(len(words), max_length, dtype=torch.long)
        mask = torch.zeros(len(words), max_length, dtype=torch.long)
        for row, word in enumerate(words):
            letters = [2 + string.printable.index(letter) for letter in word[:max_length]]
            ids[row, : len(letters)] = torch.tensor(letters)
            mask[row, : len(letters)] = 1
        tokens = SimpleNamespace(input_ids=ids, attention_mask=mask)
        tokens.to = lambda device: tokens
        return tokens


def middle_size() -> Sam3Model:
    """An untrained SAM 3 whose picture costs ten to fifteen times as much as a keyword."""
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 384,
                "intermediate_size": 1536,
                "num_hidden_layers": 16,
                "num_attention_heads": 8,
                "image_size": SIDE,
                "patch_size": 14,
                "pretrain_image_size": SIDE,
                "window_size": 12,
                "global_attn_indexes": [3, 7, 11, 15],
            },
            "fpn_hidden_size": 64,
            "backbone_feature_sizes": [[96, 96], [48, 48], [24, 24]],
        },
        text_config={
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "vocab_size": 128,
            "projection_dim": 64,
            "max_position_embeddings": 32,
        },
        geometry_encoder_config={
            "hidden_size": 64,
            "num_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 128,
        },
        detr_encoder_config={
            "hidden_size": 64,
            "num_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 256,
        },
        detr_decoder_config={
            "hidden_size": 64,
            "num_layers": 2,
            "num_queries": 50,
            "num_attention_heads": 4,
            "intermediate_size": 256,
        },
        mask_decoder_config={"hidden_size": 64, "num_upsampling_stages": 2, "num_attention_heads": 4},
    )
    return Sam3Model(config).eval()


def pixels_of(picture: Any, **options: Any) -> Any:
    """Float[1, 3, SIDE, SIDE] in -1..1 of UInt8[3, SIDE, SIDE]."""
    return SimpleNamespace(pixel_values=picture[None].float() / 127.5 - 1)


def measure(count: int) -> None:
    torch.manual_seed(0)
    network: Any = middle_size()
    calls: list[int] = []
    network.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    tokenizer = Letters()
    processor = SimpleNamespace(image_processor=pixels_of, tokenizer=tokenizer)
    words = [f"keyword {letter}" for letter in string.ascii_lowercase[:count]]
    picture = torch.rand(SIDE, SIDE, 3)
    pixels = pixels_of((picture * 255).round().byte().movedim(-1, 0)).pixel_values
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters, {SIDE}x{SIDE} pixels")
    with torch.inference_mode():
        network.get_vision_features(pixel_values=pixels)  # the first call also loads kernels

        calls.clear()
        begun = time.perf_counter()
        model = Sam3(network, processor, "untrained")
        encoded = model.encode(picture)
        for_picture = time.perf_counter() - begun
        shared = encoded.find(dict.fromkeys(words, 0.0))
        once = time.perf_counter() - begun
        calls_once = len(calls)

        calls.clear()
        begun = time.perf_counter()
        worst = 0.0
        for word in words:
            tokens = tokenizer([word], 32)
            output = network(
                pixel_values=pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            )
            score = output.pred_logits[0].sigmoid() * output.presence_logits[0].sigmoid()
            worst = max(worst, float((score - shared[word].scores).abs().max()))
        each = time.perf_counter() - begun
        calls_each = len(calls)
    for_word = (once - for_picture) / count
    bound = count * (FULL_SIZE_PICTURE + FULL_SIZE_WORD) / (FULL_SIZE_PICTURE + count * FULL_SIZE_WORD)
    print(f"picture encoded once: {once:6.2f} s for {count} keywords, {calls_once} encoder call(s)")
    print(f"whole model per keyword: {each:6.2f} s for {count} keywords, {calls_each} encoder calls")
    print(f"ratio {each / once:.1f}x; largest difference of a score {worst:.1e}")
    share = for_picture / for_word
    print(f"here a picture costs {for_picture:.2f} s and a keyword {for_word:.3f} s: {share:.1f} to 1")
    print(
        f"full size: {FULL_SIZE_PICTURE:g} s and {FULL_SIZE_WORD:g} s, "
        f"{FULL_SIZE_PICTURE / FULL_SIZE_WORD:.1f} to 1, so {count} keywords come {bound:.1f}x faster there"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time many keywords on one picture, encoded once or each time."
    )
    parser.add_argument("--words", type=int, default=20, choices=range(1, 27), metavar="1..26")
    measure(parser.parse_args().words)


if __name__ == "__main__":
    main()
