"""The still pictures of ComfyUI's workflow templates, and what is on them."""

import importlib.util
from pathlib import Path

PACKAGES = tuple(f"comfyui_workflow_templates_media_{kind}" for kind in ("image", "other", "video"))

CAPTIONS = {
    # people, because LoRAs are to change them
    "flux_fill_inpaint_example-1": "woman portrait wheat field",
    "2_pass_pose_worship-1": "woman portrait lilac dress",
    "flux1_krea_dev-1": "woman portrait pale turtleneck",
    "flux_dev_checkpoint_example-1": "woman portrait smiling painted redhead",
    "flux1_dev_uso_reference_image_gen-1": "girl smiling flower field",
    "image_flux.1_fill_dev_OneReward-1": "child portrait blond forest",
    "image_flux2-1": "woman portrait hat scarf beach",
    "image_qwen_image_instantx_controlnet-1": "woman portrait rags dark",
    "image_qwen_image_union_control_lora-1": "woman portrait white hair night",
    "sdxl_simple_example-1": "woman reading window",
    "embedding_example-1": "woman desk painting",
    "hidream_e1_1-1": "girl portrait smiling garden",
    "hidream_i1_dev-1": "woman portrait veil pearls",
    "hidream_i1_full-1": "boy portrait black turtleneck",
    "hiresfix_esrgan_workflow-1": "girl portrait white dress painting",
    "hiresfix_latent_workflow-1": "girl portrait blue dress painting",
    "image_z_image_turbo-1": "woman portrait curly hair harbour",
    "sd3.5_simple_example-1": "woman portrait wet hair night",
    "ltxv_text_to_video-1": "woman portrait smiling brown hair",
    "video_wan2_2_14B_flf2v-1": "man portrait painter hat beard",
    "video_wan2_2_14B_s2v-1": "man guitar window",
    "video_wan2_2_14B_t2v-1": "woman portrait smiling blonde sky",
    "wan2.1_fun_control-1": "woman portrait closed eyes yellow hair",
    "video_humo-1": "boy portrait goggles red",
    "wan2.1_fun_inp-1": "man standing black coat",
    "video_wan_vace_flf2v-1": "woman dancing white flowers",
    "video_wan_vace_outpainting-1": "woman portrait flowers closed eyes",
    # other things, because a world of faces only would make every prompt a face
    "depth_controlnet-1": "tower white city",
    "depth_t2i_adapter-1": "living room window",
    "flux_canny_model_example-1": "yellow rose",
    "inpaint_model_outpainting-1": "pink rose",
    "flux_kontext_dev_basic-1": "swan crown",
    "flux_schnell_full_text_to_image-1": "green car flowers",
    "image_chroma_text_to_image-1": "leopard jungle",
    "area_composition-1": "lake sky clouds",
    "area_composition_square_area_for_subject-1": "mountains lake meadow",
    "default-1": "bottle purple galaxy",
    "hidream_i1_fast-1": "red tree black",
    "latent_upscale_different_prompt_model-1": "snow mountains river",
    "video_wan2_2_5B_fun_inpaint-1": "tulips sky",
    "image_to_video-1": "birch trees sunset snow",
    "mochi_text_to_video_example-1": "forest sun rays",
    "image_omnigen2_t2i-1": "cat throne crown",
    "image_qwen_image-1": "street neon night",
    "sdxlturbo_example-1": "dog street sun",
    "lora_multiple-1": "cat cup table",
}
"""File name without suffix -> words for a small model to learn."""


def template_pictures() -> dict[str, Path]:
    """The still pictures by file name without suffix.

    Raises:
        FileNotFoundError: when none of the packages is installed in this Python environment.
    """
    pictures = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations if spec else None) or ():
            pictures.update((path.stem, path) for path in Path(location).glob("templates/*-1.webp"))
    if not pictures:
        raise FileNotFoundError(
            f"none of {', '.join(PACKAGES)} is installed: install ComfyUI's requirements.txt into this "
            "environment"
        )
    return pictures
