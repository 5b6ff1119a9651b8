"""Prepare Training Data: what the long chain of nodes gives, kept on the disk and made once."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .graphs import Graph, lora_of, node, same, train

if TYPE_CHECKING:
    from host.serve import ComfyServer

PREPARE = "2"
OUTPUTS = ("latents", "conditioning", "latent_masks")


def test_it_trains_the_lora_of_the_long_graph_and_makes_only_what_is_not_there(
    server: "ComfyServer", training: Graph, plain: Path, one_woman: Path, tmp_path: Path
):
    pictures = shutil.copytree(one_woman, tmp_path / "pictures")
    graph = {key: training[key] for key in ("1", "8", "9")}
    segment, fit = training["3"]["inputs"], training["4"]["inputs"]
    graph[PREPARE] = node(
        "SemanticFocusPrepare",
        vae=["1", 2],
        clip=["1", 1],
        folder=str(pictures),
        trigger_word="",
        default_caption="",
        **{name: fit[name] for name in ("resolution", "multiple_of", "more_resolutions")},
        **{name: segment[name] for name in ("backend", "refine", "keywords", "keep_overlaps")},
    )
    graph["9"]["inputs"].update({name: [PREPARE, output] for output, name in enumerate(OUTPUTS)})
    folder, shown = train(server, graph, "prepared")
    assert same(lora_of(folder), lora_of(plain))
    # both have one caption; the other is the empty one
    assert shown[PREPARE]["text"] == ["2 ready; made now: latents 2, masks 2, captions 2"]

    graph[PREPARE]["inputs"]["trigger_word"] = "woman"  # the captions have it already
    folder, shown = train(server, graph, "prepared_again")
    assert same(lora_of(folder), lora_of(plain))
    assert shown[PREPARE]["text"] == ["2 ready; made now: captions 1"]

    (pictures / "two.txt").write_text("a smile")
    folder, shown = train(server, graph, "prepared_anew")
    assert not same(lora_of(folder), lora_of(plain))
    assert shown[PREPARE]["text"] == ["2 ready; made now: captions 1"]
