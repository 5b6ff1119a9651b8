"""What the editor of masks shows is what the library makes of it, and a long history takes little memory."""

import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from semantic_focus.categories import PARTITION_PRIORITY
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks

if TYPE_CHECKING:
    from .editor import Editor

LABELS = ("hair", "background", "lighting", "face", "tattoo", "body", "clothing")
PARTS = (*PARTITION_PRIORITY, "background")
SIDE = 96

COMPOSE = """async ([side, labels, base64]) => {
    const {Layers} = await import("/extensions/ComfyUI-SemanticFocus/mend/layers.mjs");
    const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
    const layers = new Layers(side, side, labels, bytes);
    layers.labels.forEach((_, label) => {
        for (let at = 0; at < side * side; at++) layers.settle(at, label);
    });
    return layers.values.map(plane => [...plane]);
}"""

PAINT_ON_AND_ON = """async ([side, steps]) => {
    const from = "/extensions/ComfyUI-SemanticFocus/mend/";
    const {Layers} = await import(from + "layers.mjs");
    const {History} = await import(from + "history.mjs");
    const {Stroke} = await import(from + "strokes.mjs");
    const labels = ["face", "hair", "background"].map(name => ({name, part: true, soft: false}));
    const bytes = new Uint8Array(side * side * 10);
    bytes.fill(255, 2 * side * side, 3 * side * side); // all of it is background
    bytes.fill(255, 8 * side * side, 9 * side * side);
    const layers = new Layers(side, side, labels, bytes);
    const history = new History(layers);
    for (let step = 0; step < steps; step++) {
        history.begin();
        const stroke = new Stroke(layers, history, {label: step % 2, erases: false, hardness: 0.3});
        for (let x = 0; x <= 10; x++) {
            stroke.to({x: x * side / 10, y: ((step * 7) % 20) * side / 20, radius: side / 8});
        }
        history.commit();
    }
    const bytesOf = steps => steps.reduce((sum, {bytes}) => sum + bytes, 0);
    const kept = [history.done.length, bytesOf(history.done)];
    let undone = 0;
    while (history.undo()) undone++;
    const left = layers.values.map(plane => plane.reduce((sum, value) => sum + value, 0) / side / side);
    return {kept, undone, left, unsaid: layers.hand.every(plane => plane.every(said => said === 0))};
}"""


def test_hand_and_machine_are_put_together_as_the_library_does_it(editor: "Editor"):
    dice = np.random.default_rng(7)
    count = len(LABELS)
    # parts share every pixel out; many pixels belong to one wholly
    cuts = np.sort(dice.integers(0, 256, (len(PARTS) - 1, SIDE, SIDE)), axis=0)
    shares = np.diff(cuts, axis=0, prepend=0, append=255)
    order = np.argsort(dice.random(shares.shape), axis=0)
    shares = np.take_along_axis(shares, order, 0)
    machine = dice.integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)
    value = dice.integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)
    said = dice.random((count, SIDE, SIDE)) < 0.3
    wanted = np.zeros((SIDE, SIDE), int)
    for place, part in enumerate(PARTS):
        at = LABELS.index(part)
        machine[at] = shares[place]
        # what the hand says of the parts fits into a pixel, as the editor sees to
        value[at] = np.minimum(value[at], 255 - wanted)
        wanted += np.where(said[at], value[at], 0)
    masks = SemanticMasks(torch.from_numpy(machine).float()[None] / 255, LABELS)
    layers = {
        label: HandLayer(torch.from_numpy(value[at]).float() / 255, torch.from_numpy(said[at]))
        for at, label in enumerate(LABELS)
    }
    theirs = (with_hand(masks, layers).masks[0] * 255).round().numpy().astype(np.uint8)

    persons = np.zeros((1, SIDE, SIDE), np.uint8)
    sent = np.concatenate([np.where(said, value, machine), said * np.uint8(255), machine, persons])
    labels = [{"name": label, "part": label in PARTS, "soft": label == "lighting"} for label in LABELS]
    packed = base64.b64encode(sent.astype(np.uint8).tobytes()).decode()
    ours = np.array(editor.page.evaluate(COMPOSE, [SIDE, labels, packed])).reshape(theirs.shape)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(("side", "steps", "least"), [(256, 120, 120), (1024, 120, 64)])
def test_many_large_steps_are_kept_in_little_memory(editor: "Editor", side: int, steps: int, least: int):
    found = editor.page.evaluate(PAINT_ON_AND_ON, [side, steps])
    kept, memory = found["kept"]
    assert kept >= least and memory < 128 * 2**20
    assert found["undone"] == kept
    if kept == steps:
        assert found["unsaid"] and found["left"] == [0, 0, 255]
