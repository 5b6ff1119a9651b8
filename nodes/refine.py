"""The node that refines masks after segmentation."""

from comfy_api.latest import io

from ..semantic_focus.regions.lighting import MAX_STRENGTH, relight
from ..semantic_focus.regions.refine import MATTING, MODES, RefineSettings, refine_masks
from .inputs import number, whole
from .preview import check_same_pictures, mask_preview
from .sockets import CATEGORY, SemanticMasksSocket

MAX_PIXELS = 1 << 24


class RefineMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusRefine",
            display_name="Refine Masks",
            category=CATEGORY,
            description="Fill holes, drop specks, grow or shrink, and redraw the edges of every region; then "
            "the regions share every pixel out again (face, hair, clothing, body, then background).",
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures that were segmented."),
                SemanticMasksSocket.Input("masks"),
                io.Combo.Input(
                    "mode",
                    options=["off", *MODES, MATTING],
                    default="fast",
                    tooltip="How edges are redrawn. off changes no region, whatever is set below. matting "
                    "solves for single hairs: half a second per region, and needs the package pymatting.",
                ),
                whole("max_hole", 0, (0, MAX_PIXELS), "Fill holes of up to this many pixels. 0: none."),
                whole("min_area", 0, (0, MAX_PIXELS), "Drop specks of fewer pixels than this. 0: none."),
                number(
                    "grow",
                    0.0,
                    (-512.0, 512.0),
                    0.5,
                    "Move every outline outwards by this many pixels; a negative number shrinks.",
                ),
                io.Float.Input(
                    "lighting_strength",
                    default=1.0,
                    min=0.0,
                    max=MAX_STRENGTH,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="How little contrast counts as light or shadow: 0 no lighting layer, 1 leaves it "
                    "as it is, above 1 more. Measured again from the pictures.",
                ),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="refined_masks")],
        )

    @classmethod
    def execute(cls, images, masks, mode, max_hole, min_area, grow, lighting_strength) -> io.NodeOutput:
        pictures = images[..., :3]
        check_same_pictures(pictures, masks)
        refined = refine_masks(masks, pictures, RefineSettings(mode, max_hole, min_area, grow))
        if lighting_strength != 1:
            refined = relight(refined, pictures, lighting_strength)
        return io.NodeOutput(refined, ui={"semantic_focus": mask_preview(pictures, refined)})


NODES = [RefineMasks]
