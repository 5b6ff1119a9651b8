"""The node that lets the base model show what is not the subject."""

import time

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..semantic_focus.comfy.preview import PreviewSettings
from ..semantic_focus.comfy.scenes import sample_scenes
from ..semantic_focus.training.scenes import SceneShares
from .inputs import sampling_inputs, share, whole
from .sockets import CATEGORY, ScenesSocket

PROMPTS = """\
a person with short black hair, in a grey suit, in an office
a person with long blond hair, in a red dress, on a beach
a person with brown curly hair, in a green sweater, in a forest
a person with grey hair, in a white shirt, in a kitchen
a person with a ponytail, in a yellow raincoat, on a street at night
a person with a cap, in a blue hoodie, in front of a brick wall
a person with a bun, in a black coat, in the snow
a person with wavy red hair, in a denim jacket, in a cafe"""
"""What a new node shows: the class of the subject, with as much else as possible."""


class SceneSamples(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        shares = SceneShares()
        return io.Schema(
            node_id="SemanticFocusScenes",
            display_name="Scene Samples",
            category=CATEGORY,
            description="Pictures that the base model makes of others, for LoRA Train Step: what is not the "
            "subject stays as it is. Sampled once, before the training.",
            is_input_list=True,
            inputs=[
                io.Model.Input("model", tooltip="The base model, without a LoRA."),
                io.Clip.Input("clip"),
                io.Latent.Input("latents", tooltip="The training pictures': scenes are made in their sizes."),
                io.String.Input(
                    "prompts",
                    default=PROMPTS,
                    multiline=True,
                    tooltip="One scene on each line: others of the subject's kind, without the trigger word.",
                ),
                io.String.Input(
                    "trigger_word", default="", tooltip="What the captions call the subject. For composites."
                ),
                whole("count", 24, (1, 1000), "Scenes; the prompts are taken in turn."),
                share(
                    "strangers",
                    shares.strangers,
                    "Share of the training in which a scene is shown without the trigger word, and stays "
                    "as it is: others keep their faces.",
                ),
                share(
                    "composites",
                    shares.composites,
                    "Share of the training in which the trained regions of a picture are put over a scene.",
                ),
                *sampling_inputs(),
            ],
            outputs=[
                ScenesSocket.Output(display_name="scenes", tooltip="For LoRA Train Step."),
                io.Latent.Output(
                    display_name="latents", is_output_list=True, tooltip="To look at: into VAE Decode."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model, clip, latents, prompts, trigger_word, count, strangers, composites, steps, cfg, seed,
        sampler, scheduler,
    ) -> io.NodeOutput:  # fmt: skip
        started, bar = time.monotonic(), comfy.utils.ProgressBar(count[0])

        def check(done: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(done)

        scenes = sample_scenes(
            model[0],
            lambda words: clip[0].encode_from_tokens_scheduled(clip[0].tokenize(words)),
            [line.strip() for text in prompts for line in text.splitlines() if line.strip()],
            trigger_word[0],
            [tuple(one.shape) for latent in latents for one in latent["samples"]],
            count[0],
            SceneShares(composites[0], strangers[0]),
            PreviewSettings(steps[0], cfg[0], seed[0], sampler[0], scheduler[0]),
            check,
        )
        said = f"{count[0]} scenes in {time.monotonic() - started:.0f} s"
        return io.NodeOutput(scenes, [{"samples": latent} for latent in scenes.latents], ui={"text": (said,)})


NODES = [SceneSamples]
