"""The node that brings a folder of cached latents, text embeddings and masks into the graph."""

import hashlib

from comfy_api.latest import io

from ..semantic_focus.datasets.cached_latents import DatasetSource, load_dataset
from ..semantic_focus.datasets.folder import DatasetError
from ..semantic_focus.datasets.formats import PICTURE_SUFFIXES
from .paths import folder_to_read
from .sockets import CATEGORY, LatentMasksSocket


class LoadTrainingCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadTrainingCache",
            display_name="Load Training Cache",
            category=CATEGORY,
            description="Latents and text embeddings that a trainer has cached, as "
            "<name>_<W>x<H>_zi.safetensors and <name>_zi_te.safetensors, with our masks beside them. "
            "All three go to LoRA Train Step as they are.",
            inputs=[
                io.String.Input("folder", tooltip="Folder with the cached files."),
                io.Int.Input(
                    "resolution_limit",
                    default=0,
                    min=0,
                    max=32768,
                    step=8,
                    tooltip="Pictures with a longer side (in pixels) are left out. 0: none is.",
                ),
                io.String.Input(
                    "image_folder",
                    default="",
                    optional=True,
                    tooltip="Folder with the pictures and mask files. Empty: the same folder.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latents", is_output_list=True),
                io.Conditioning.Output(display_name="conditioning", is_output_list=True),
                LatentMasksSocket.Output(display_name="latent_masks", is_output_list=True),
                io.String.Output(display_name="names", is_output_list=True),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, resolution_limit, image_folder=""):
        try:
            folders = {folder_to_read(name) for name in (folder, image_folder) if name.strip()}
        except DatasetError:
            return folder
        listing = sorted(
            (str(file), file.stat().st_mtime_ns, file.stat().st_size)
            for path in folders
            if path.is_dir()
            for file in path.iterdir()
            if file.suffix.lower() in (*PICTURE_SUFFIXES, ".safetensors")
        )
        return hashlib.sha256(repr((listing, resolution_limit)).encode()).hexdigest()

    @classmethod
    def execute(cls, folder, resolution_limit, image_folder="") -> io.NodeOutput:
        images = folder_to_read(image_folder) if image_folder.strip() else None
        source = DatasetSource(folder_to_read(folder), 1, resolution_limit, images)
        dataset = load_dataset([source])
        return io.NodeOutput(dataset.latents, dataset.conditionings, dataset.masks, dataset.names)


NODES = [LoadTrainingCache]
