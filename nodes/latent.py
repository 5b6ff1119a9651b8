"""The node that brings masks to the latent grid."""

from comfy_api.latest import io

from .sockets import CATEGORY, LatentMasksSocket, SemanticMasksSocket


class MasksToLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusMasksToLatent",
            display_name="Masks To Latent",
            category=CATEGORY,
            description="Average each mask over the exact area of every latent cell; "
            "thin structures keep their share.",
            inputs=[
                SemanticMasksSocket.Input("masks"),
                io.Latent.Input("latent", tooltip="The encoded picture: gives the grid."),
            ],
            outputs=[LatentMasksSocket.Output(display_name="latent_masks")],
        )

    @classmethod
    def execute(cls, masks, latent) -> io.NodeOutput:
        samples = latent["samples"]
        if len(masks.masks) != len(samples):
            raise ValueError(
                f"{len(samples)} latents but masks of {len(masks.masks)} pictures: "
                "connect the masks of the encoded pictures"
            )
        rows, columns = samples.shape[-2:]
        return io.NodeOutput(masks.to_latent((rows, columns)))


NODES = [MasksToLatent]
