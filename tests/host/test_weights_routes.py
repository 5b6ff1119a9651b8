"""Weights that are missing, asked for over HTTP: what is offered, to whom, and that they come whole."""

import http.client
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from semantic_focus.segmenters.model_files import MODELS
from semantic_focus.settings.access import FILE

from ..loopback_hub import Hub
from ..unit.segmenters import stand_ins
from .graphs import PATIENCE, node

if TYPE_CHECKING:
    from host.serve import ComfyServer

WEIGHTS = stand_ins.whole_safetensors(500_000)
SINGLE = "sam3.1_multiplex_fp16.safetensors"


@pytest.fixture(autouse=True)
def clean(server: "ComfyServer", hub: Hub) -> Iterator[None]:
    """The hub has two models; what a test has fetched is gone after it, and others find none of it."""
    config = json.dumps({"model_type": "sam3"}).encode()
    hub.repositories["facebook/sam3"] = {"config.json": config, "model.safetensors": WEIGHTS}
    hub.repositories["Comfy-Org/sam3.1"] = {f"checkpoints/{SINGLE}": WEIGHTS}
    hub.asked.clear()
    yield
    hub.go_on.set()
    hub.go_on.clear()
    hub.faults.clear()
    ask(server, "weights/cancel", name="sam3")
    for name in ("sam3", "checkpoints"):
        for entry in (server.base_directory / "models" / name).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for entry in (server.base_directory / "models").glob("*/.*.partial"):
        shutil.rmtree(entry)


def request(server: "ComfyServer", route: str, body: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    named = {"Content-Type": "application/json", **{key.replace("_", "-"): it for key, it in headers.items()}}
    connection.request("POST", f"/api/semantic_focus/{route}", body, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content)


def ask(server: "ComfyServer", route: str, **body: str) -> dict[str, Any]:
    status, answer = request(server, route, json.dumps(body).encode())
    assert status == 200, answer
    return answer


def fetched(server: "ComfyServer", eventually: Callable, name: str) -> dict[str, Any]:
    """How a fetch has ended."""
    ended = ("done", "failed", "cancelled")
    return eventually(
        lambda: (told := ask(server, "weights/fetches")["fetches"][name])["state"] in ended and told
    )


def offers(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {offer["name"]: offer for way in answer["ways"] for offer in way["offers"]}


def test_words_that_the_embedded_segmenter_cannot_read_are_told_with_the_ways_that_work(
    server: "ComfyServer", hub: Hub
):
    answer = ask(server, "segmenter", backend="auto", keywords="face: face\nglasses: glasses")
    assert (answer["segmenter"], answer["reads_words"], answer["cannot"]) == ("mediapipe", False, ["glasses"])
    assert "glasses: mediapipe reads no words" in answer["sentence"] and "Draw it" in answer["sentence"]
    assert {way["segmenter"] for way in answer["ways"]} == {"sam2_large", "sam3", "sam3_comfy"}
    gates = [any(offer["gated"] for offer in way["offers"]) for way in answer["ways"] if not way["lacks"]]
    assert gates == sorted(gates)
    assert ask(server, "segmenter", keywords="face: nose")["ways"] == []
    assert hub.asked == []


def test_missing_weights_are_offered_with_licence_size_and_place(server: "ComfyServer"):
    answer = ask(server, "segmenter", backend="sam3")
    assert "'sam3' has no weights" in answer["missing"] and answer["segmenter"] == ""
    offer = offers(answer)["sam3"]
    assert offer["place"] == str(server.base_directory / "models" / "sam3" / "sam3")
    assert (offer["licence"], offer["megabytes"], offer["gated"]) == ("SAM License", 3440, True)
    assert not offer["there"] and not offers(answer)["sam2.1-large"]["gated"]
    assert "no segmentation backend 'sam9'" in ask(server, "segmenter", backend="sam9")["error"]


def test_what_lies_there_in_another_form_is_named(server: "ComfyServer"):
    folder = server.base_directory / "models" / "sam3"
    folder.mkdir(exist_ok=True)
    (folder / "sam3.pt").write_bytes(stand_ins.PICKLE)
    (seen,) = ask(server, "segmenter", backend="sam3")["seen"]
    assert f"{folder / 'sam3.pt'} is no folder" in seen and "take the safetensors of it" in seen


def test_a_fetch_brings_them_and_the_offer_is_gone(server: "ComfyServer", hub: Hub, eventually: Callable):
    assert ask(server, "weights/fetch", name="sam3")["fetches"]["sam3"]["state"] in ("waiting", "running")
    told = fetched(server, eventually, "sam3")
    assert told["state"] == "done" and told["done"] == told["total"] > len(WEIGHTS)
    place = server.base_directory / "models" / "sam3" / "sam3"
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert offers(ask(server, "weights"))["sam3"]["there"]
    assert ask(server, "segmenter", backend="sam3")["segmenter"] == "sam3"
    assert all(not authorization for _, _, authorization in hub.asked)


def test_a_fetch_that_breaks_off_is_told_and_goes_on(server: "ComfyServer", hub: Hub, eventually: Callable):
    hub.faults["model.safetensors"] = ["cut", *["empty"] * 9]
    ask(server, "weights/fetch", name="sam3")
    told = fetched(server, eventually, "sam3")
    assert (told["state"], told["kind"]) == ("failed", "cut") and "are kept: try again" in told["error"]
    kept = offers(ask(server, "weights"))["sam3"]["kept"]
    assert 0.98 * len(WEIGHTS) < kept < len(WEIGHTS)
    hub.faults.clear()
    ask(server, "weights/fetch", name="sam3")
    assert fetched(server, eventually, "sam3")["state"] == "done"


def test_a_fetch_can_be_cancelled_and_thrown_away(server: "ComfyServer", hub: Hub, eventually: Callable):
    hub.faults["model.safetensors"] = ["stall"]
    ask(server, "weights/fetch", name="sam3")
    eventually(lambda: any("elsewhere" in path for path, *_ in hub.asked))
    assert "cancel that first" in ask(server, "weights/discard", name="sam3")["error"]
    assert ask(server, "weights/cancel", name="sam3")["fetches"]["sam3"]["kind"] == "cancelled"
    hub.go_on.set()
    eventually(lambda: "sam3" not in ask(server, "weights/discard", name="sam3").get("fetches", {"sam3": 0}))
    eventually(lambda: offers(ask(server, "weights"))["sam3"]["kept"] == 0)


def test_gated_ones_say_what_to_do(server: "ComfyServer", hub: Hub, eventually: Callable):
    hub.faults["config.json"] = ["401"]
    ask(server, "weights/fetch", name="sam3")
    told = fetched(server, eventually, "sam3")
    assert told["kind"] == "gated" and told["values"]["page"] == "https://huggingface.co/facebook/sam3"


@pytest.mark.parametrize("name", ["sam9", "https://evil.example/x.safetensors", "../../x", ""])
def test_only_names_of_the_table_are_fetched(server: "ComfyServer", hub: Hub, name: str):
    for route in ("fetch", "cancel", "discard"):
        assert "no weights" in ask(server, f"weights/{route}", name=name, url="http://127.0.0.1:1/x")["error"]
    assert hub.asked == []


@pytest.mark.parametrize("route", ["segmenter", "weights", "weights/fetches", "weights/fetch"])
def test_other_sites_and_forms_get_nothing(server: "ComfyServer", hub: Hub, route: str):
    body = json.dumps({"name": "sam3"}).encode()
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "null"}):
        assert request(server, route, body, **headers)[0] == 403
    assert request(server, route, body, Content_Type="text/plain")[0] == 400
    assert request(server, route, b"[]")[0] == 400
    assert hub.asked == []


def test_who_reaches_a_strict_server_cannot_have_it_fetch(server: "ComfyServer", hub: Hub):
    rules = server.user_directory / FILE
    rules.write_text("[read]\nstrict = true")
    try:
        assert "its operator fetches the weights" in ask(server, "weights")["refused"]
        for route in ("fetch", "cancel", "discard"):
            assert "under [weights]" in ask(server, f"weights/{route}", name="sam3")["error"]
        rules.write_text("[read]\nstrict = true\n[weights]\nfetch = true")
        assert ask(server, "weights")["refused"] == ""
    finally:
        rules.unlink()
    assert hub.asked == []


def test_nothing_is_fetched_by_running_a_graph_and_the_words_are_told_there_too(
    server: "ComfyServer", hub: Hub, photographs: Path, logged: Callable[[], str]
):
    shutil.copy(photographs / "astronaut.png", server.base_directory / "input" / "words.png")
    graph = {
        "picture": node("LoadImage", image="words.png"),
        "segment": node(
            "SemanticFocusSegment",
            images=["picture", 0],
            backend="auto",
            refine="off",
            keywords="face: face\nglasses: glasses",
        ),
    }
    (said,) = server.run(graph)["outputs"]["segment"]["text"]
    assert said.startswith("glasses: mediapipe reads no words and cannot find that") and said in logged()
    graph["segment"]["inputs"]["keywords"] = "face: nose"
    assert "text" not in server.run(graph)["outputs"]["segment"]
    assert hub.asked == []


def test_every_model_is_offered_once(server: "ComfyServer"):
    assert set(offers(ask(server, "weights"))) == set(MODELS)
