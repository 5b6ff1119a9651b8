"""Scenes for a training, sampled from the base model before it begins."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.sample
import torch
from torch import Tensor

from ..datasets.captions import with_trigger
from ..training.scenes import Scenes, SceneShares
from .conditioning import Conditioning
from .memory.beforehand import latent_of
from .preview import PreviewSettings


def sample_scenes(
    patcher: Any,
    encode: Callable[[str], Conditioning],
    prompts: Sequence[str],
    trigger: str,
    sizes: Sequence[Sequence[int]],
    count: int,
    shares: SceneShares,
    settings: PreviewSettings,
    check: Callable[[int], None] = lambda done: None,
) -> Scenes:
    """Let ComfyUI's sampler make `count` scenes, the prompts in turn, each from noise of its own seed.

    Args:
        patcher: ComfyUI's MODEL, loaded by its sampler as for any node.
        encode: text -> CONDITIONING.
        prompts: what is on the scenes, without the trigger word.
        trigger: what the training pictures' captions call the subject.
        sizes: (C, *grid) of the training pictures' latents.
        check: told before each sample how many are made; what it raises ends the work.

    Raises:
        ValueError: no prompt, one that has the trigger word, composites without a trigger word, or a sample
            that is not finite.
    """
    if not prompts:
        raise ValueError("prompts is empty: give one scene on each line")
    if shares.composites and not trigger.strip():
        raise ValueError(
            "composites need the trigger word that is in the captions of the pictures: give it, or set "
            "composites to 0"
        )
    for prompt in prompts:
        if trigger.strip() and with_trigger(prompt, trigger) == prompt:
            raise ValueError(
                f"the prompt {prompt!r} has the trigger word {trigger!r}: scenes show what is not the "
                "subject, take it out"
            )
    plain = {prompt: encode(prompt) for prompt in prompts}
    named = {prompt: encode(with_trigger(prompt, trigger)) for prompt in prompts if shares.composites}
    negative = encode("")
    # one further in each round, so that no prompt is always with the same size or under the same picture
    of = [prompts[(number + number // len(prompts)) % len(prompts)] for number in range(count)]
    latents = []
    for number in range(count):
        check(number)
        size = sizes[number * len(sizes) // count if count < len(sizes) else number % len(sizes)]
        seed = (settings.seed + number) % 2**64
        latents.append(_sample(patcher, plain[of[number]], negative, size, settings, seed))
    return Scenes(
        tuple(latents),
        shares,
        tuple(named[prompt] for prompt in of) if shares.composites else (),
        tuple(plain[prompt] for prompt in of) if shares.strangers else (),
    )


def _sample(
    patcher: Any,
    positive: Conditioning,
    negative: Conditioning,
    size: Sequence[int],
    settings: PreviewSettings,
    seed: int,
) -> Tensor:
    empty = torch.zeros(1, *latent_of(patcher, tuple(size)))
    found = comfy.sample.sample(
        patcher, comfy.sample.prepare_noise(empty, seed), settings.steps, settings.cfg, settings.sampler,
        settings.scheduler, positive, negative, empty, denoise=1.0, disable_pbar=True, seed=seed,
    )  # fmt: skip
    if not bool(found.isfinite().all()):
        raise ValueError(
            f"a scene sampled with {settings.sampler}, {settings.scheduler}, {settings.steps} steps, cfg "
            f"{settings.cfg:g} is not finite: choose other settings, or load the model in bf16 or fp32"
        )
    return found
