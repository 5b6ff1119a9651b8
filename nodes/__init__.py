"""The ComfyUI nodes: schema, conversion and progress. Algorithms live in `semantic_focus`."""

from comfy_api.latest import ComfyExtension, io

from . import (
    cache,
    dataset,
    dataset_cache,
    dataset_routes,
    export,
    folder_routes,
    latent,
    lora,
    loss,
    mask,
    mend_routes,
    persons,
    prepare,
    preview,
    refine,
    report,
    save_job,
    scenes,
    segment,
    timesteps,
    train,
    train_state,
    training_cache,
    training_options,
    training_status,
    watch,
    watch_routes,
    weights_routes,
)
from .messages import keep_logs_printable, with_printable_errors
from .prompts import watch_prompts
from .values import with_checked_inputs
from .waiting import with_little_kept

NODES = with_printable_errors(
    with_little_kept(
        with_checked_inputs(
            [
                *dataset.NODES,
                *training_cache.NODES,
                *prepare.NODES,
                *segment.NODES,
                *persons.NODES,
                *refine.NODES,
                *mask.NODES,
                *export.NODES,
                *cache.NODES,
                *dataset_cache.NODES,
                *preview.NODES,
                *latent.NODES,
                *loss.NODES,
                *timesteps.NODES,
                *training_options.NODES,
                *scenes.NODES,
                *lora.NODES,
                *train.NODES,
                *save_job.NODES,
                *train_state.NODES,
                *watch.NODES,
                *report.NODES,
            ]
        )
    )
)


class SemanticFocusExtension(ComfyExtension):
    """All nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """See `NODES`. ComfyUI 0.3.75 calls no `on_load`: what the nodes need is set up here."""
        keep_logs_printable()
        segment.register_weight_folders()
        listed = dataset_routes.ListedFolders()
        dataset_routes.register(listed)
        mend_routes.register(listed)
        folder_routes.register()
        weights_routes.register()
        training_status.add_routes()
        watch_routes.register()
        watch_prompts(NODES)
        return NODES
