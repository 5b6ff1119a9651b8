"""Weights from the hub: complete and checked where segmenters look, or not there, and it is said why."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from types import SimpleNamespace

import pytest

from semantic_focus.commands.main import main
from semantic_focus.segmenters.hub import listing, transfer
from semantic_focus.segmenters.hub.errors import KINDS, FetchError, amount
from semantic_focus.segmenters.hub.fetch import Reporter, discard, fetch, kept_of, partial_folder, place_of
from semantic_focus.segmenters.hub.jobs import Fetches
from semantic_focus.segmenters.hub.transfer import Patience
from semantic_focus.segmenters.model_files import MODELS, find_files, find_model_folders
from semantic_focus.segmenters.ways import WAYS

from ...loopback_hub import Hub, serve
from ..faults import FAULTS as FAULTY_DISKS
from ..faults import refuse
from . import stand_ins

PATIENCE = Patience(seconds=0.5, tries=2, rest=0)
TOKEN = "hf_stand_in"
WEIGHTS = stand_ins.whole_safetensors(300_000)
SINGLE = "sam3.1_multiplex_fp16.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that has a gated model of several files and an ungated one of one, and nobody's token here."""
    config = json.dumps({"model_type": "sam3"}).encode()
    repositories = {
        "facebook/sam3": {
            "config.json": config,
            "model.safetensors": WEIGHTS,
            "sam3.pt": b"not wanted",
            "onnx/config.json": b"{}",
            "../outside.json": b"{}",
        },
        "Comfy-Org/sam3.1": {f"checkpoints/{SINGLE}": WEIGHTS, "README.md": b"read me"},
    }
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    with serve(Hub(repositories)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def looked_at(folder: Path) -> list[Path]:
    """What segmenters find in the folder."""
    there = {kind: [folder] for kind in ("sam3", "checkpoints")}
    return [
        *find_model_folders(there, ["sam3"], ["sam3"]),
        *find_files(there, ["checkpoints"], [".safetensors"], lambda name: name.startswith("sam3")),
    ]


def get(name: str, folder: Path, **options: Reporter) -> Path:
    return fetch(name, place_of(name, folder), patience=PATIENCE, **options)


def test_a_model_of_several_files_comes_with_what_is_wanted_of_it_and_nothing_else(hub: Hub, folder: Path):
    place = get("sam3", folder)
    assert looked_at(folder) == [place] == [folder / "sam3"]
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in folder.iterdir()] == ["sam3"]


def test_a_model_of_one_file_lies_directly_in_the_folder(hub: Hub, folder: Path):
    assert get("sam3.1-comfy", folder) == folder / SINGLE
    assert [path.name for path in folder.iterdir()] == [SINGLE] and looked_at(folder) == [folder / SINGLE]


@pytest.mark.parametrize("fault", ["stall", "cut", "stall cut", "whole"])
def test_what_breaks_off_goes_on_where_it_stopped(hub: Hub, folder: Path, fault: str):
    """The second request of one file asks for the rest, and the bytes add up to the file."""
    hub.faults["model.safetensors"] = fault.replace("whole", "cut whole").split()
    assert (get("sam3", folder) / "model.safetensors").read_bytes() == WEIGHTS
    spans = [span for path, span, _ in hub.asked if path.startswith("/elsewhere")]
    first = len(WEIGHTS) // 2 if fault.startswith("stall") else len(WEIGHTS) * 99 // 100
    assert spans[:2] == ["", f"bytes={first}-"] and len(spans) == 2 + (fault == "stall cut")


FAULTS = {
    "silent": ({"model.safetensors": ["silent"]}, {}, "stalled", "nothing has come for 0.5 s. 0 bytes of"),
    "always cut": ({"model.safetensors": ["cut"] + ["empty"] * 5}, {}, "cut", "ended early"),
    "wrong": ({"model.safetensors": ["wrong"]}, {}, "wrong", "is not what the hub says that it is"),
    "gated": ({"config.json": ["401"]}, {}, "gated", "licence at https://huggingface.co/facebook/sam3"),
    "gated weights": ({"model.safetensors": ["403"]}, {}, "gated", "login()"),
    "gated repository": ({}, {"facebook/sam3": 401}, "gated", "Accept its licence"),
    "no such model": ({}, {"facebook/sam3": 404}, "gone", "the hub has no facebook/sam3"),
    "no such file": ({"model.safetensors": ["404"]}, {}, "gone", "the hub has no model.safetensors"),
    "hub is ill": ({"model.safetensors": ["503"]}, {}, "refused", "answers with 503: try again later"),
    "hub is ill at once": ({}, {"facebook/sam3": 500}, "refused", "answers with 500"),
}
"""(faults of files, of the answer about the repository, kind, words)"""


@pytest.mark.parametrize("case", FAULTS)
def test_what_does_not_come_is_said_and_nothing_half_made_is_found(hub: Hub, folder: Path, case: str):
    hub.faults, hub.about, kind, words = FAULTS[case]
    with pytest.raises(FetchError, match="could not fetch sam3: ") as caught:
        get("sam3", folder)
    assert (caught.value.kind, words in str(caught.value)) == (kind, True), str(caught.value)
    assert looked_at(folder) == [] and not (folder / "sam3").exists()
    hub.go_on.set()
    hub.faults, hub.about = {}, {}
    assert looked_at(folder) == [] and get("sam3", folder) in looked_at(folder)


def test_what_was_cut_at_99_percent_is_kept_for_the_next_try(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["cut", *["empty"] * 9]
    with pytest.raises(FetchError) as caught:
        get("sam3", folder)
    kept = len(WEIGHTS) * 99 // 100
    assert f"{amount(kept)} of {amount(len(WEIGHTS))} are kept" in str(caught.value)
    assert kept <= kept_of(folder / "sam3") < len(WEIGHTS) + 100
    hub.asked.clear()
    hub.faults.clear()
    get("sam3", folder)
    assert [span for path, span, _ in hub.asked if path.startswith("/elsewhere")] == [f"bytes={kept}-"]


def test_wrong_bytes_are_thrown_away(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["wrong"]
    with pytest.raises(
        FetchError, match=r"model\.safetensors is not what .* \(sha256:\w+ instead of sha256:"
    ):
        get("sam3", folder)
    assert kept_of(folder / "sam3") < 1000


def test_a_part_of_other_bytes_is_found_out(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["cut", *["empty"] * 9]
    with pytest.raises(FetchError):
        get("sam3", folder)
    (part,) = partial_folder(folder / "sam3").glob("model*.part")
    part.write_bytes(bytes(len(part.read_bytes())))
    hub.faults.clear()
    with pytest.raises(FetchError, match="is not what the hub says"):
        get("sam3", folder)
    assert (get("sam3", folder) / "model.safetensors").read_bytes() == WEIGHTS


def test_parts_of_what_the_hub_has_no_more_go(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["cut", *["empty"] * 9]
    with pytest.raises(FetchError):
        get("sam3", folder)
    hub.faults.clear()
    hub.repositories["facebook/sam3"]["model.safetensors"] = other = stand_ins.whole_safetensors(1000)
    assert (get("sam3", folder) / "model.safetensors").read_bytes() == other


@pytest.mark.parametrize("full", ["before", "on the way"])
def test_a_full_disk_is_said_with_what_is_needed(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, full: str
):
    space = iter([10**12 if full == "on the way" else 10_000, *[10_000] * 9])
    usage = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=next(space)))
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "shutil", usage)
        with pytest.raises(FetchError, match=r"are needed and .*models has 10 kB left") as caught:
            get("sam3", folder)
    assert caught.value.kind == "full" and looked_at(folder) == []
    assert looked_at(folder) == [] and get("sam3", folder)


def test_no_connection_and_no_client(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(FetchError, match=r"127\.0\.0\.1 cannot be reached .*copy it here"):
            get("sam3", folder)
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(FetchError, match="HF_HUB_OFFLINE is set|cannot be reached"):
            get("sam3", folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(FetchError, match="pip install huggingface_hub") as caught:
            get("sam3", folder)
    assert caught.value.kind == "no_client" and looked_at(folder) == []


def test_with_a_token_it_is_the_accounts_access_that_lacks(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults["model.safetensors"] = ["403"]
    with pytest.raises(FetchError, match="the account of this computer's token has no access"):
        get("sam3", folder)
    assert get("sam3", folder)


def test_the_token_goes_to_the_hub_and_to_nobody_it_sends_on_to(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    get("sam3", folder)
    asked = {path.split("/")[1]: authorization for path, _, authorization in hub.asked}
    assert asked == {"facebook": f"Bearer {TOKEN}", "elsewhere": ""}


def test_a_cancelled_one_ends_at_once_and_is_gone_on_with(hub: Hub, folder: Path):
    came: list[int] = []
    with pytest.raises(FetchError) as caught:
        get("sam3.1-comfy", folder, report=Reporter(more=came.append, is_cancelled=lambda: sum(came) > 1000))
    assert caught.value.kind == "cancelled" and looked_at(folder) == []
    assert kept_of(folder / SINGLE) > 1000
    assert get("sam3.1-comfy", folder).read_bytes() == WEIGHTS


def test_what_is_there_and_right_is_not_fetched_and_makes_a_lone_file_a_model(hub: Hub, folder: Path):
    lone = folder / "sam3" / "model.safetensors"
    lone.parent.mkdir(parents=True)
    lone.write_bytes(WEIGHTS)
    before = lone.stat().st_mtime_ns
    assert looked_at(folder) == []
    assert get("sam3", folder) in looked_at(folder)
    assert lone.stat().st_mtime_ns == before and not [path for path, *_ in hub.asked if "elsewhere" in path]


def test_what_is_there_and_another_file_stays_and_what_is_damaged_goes_aside(hub: Hub, folder: Path):
    mine = folder / SINGLE
    mine.parent.mkdir(parents=True)
    mine.write_bytes(other := stand_ins.whole_safetensors(77))
    with pytest.raises(FetchError, match=f"{SINGLE} is there and is another file. Move it away"):
        get("sam3.1-comfy", folder)
    assert mine.read_bytes() == other and hub.asked == []
    mine.write_bytes(WEIGHTS[:-100])
    assert get("sam3.1-comfy", folder).read_bytes() == WEIGHTS
    assert (folder / f"{SINGLE}.damaged").read_bytes() == WEIGHTS[:-100]


def test_two_programs_do_not_fetch_one_model_at_once(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["stall"]
    first = threading.Thread(target=lambda: fetch("sam3", folder / "sam3", patience=Patience(30, 2, 0)))
    first.start()
    while not any("elsewhere" in path for path, *_ in hub.asked):
        pass
    with pytest.raises(FetchError, match="another program fetches it into .* now"):
        get("sam3", folder)
    hub.go_on.set()
    first.join(30)
    assert (folder / "sam3" / "model.safetensors").read_bytes() == WEIGHTS


def test_what_has_come_can_be_thrown_away(hub: Hub, folder: Path):
    hub.faults["model.safetensors"] = ["cut", *["empty"] * 9]
    with pytest.raises(FetchError):
        get("sam3", folder)
    discard(folder / "sam3")
    assert kept_of(folder / "sam3") == 0 and list(folder.iterdir()) == []


@pytest.mark.parametrize("fault", FAULTY_DISKS)
def test_a_folder_that_takes_nothing(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str):
    refuse(monkeypatch, folder, FAULTY_DISKS[fault])
    with pytest.raises(FetchError, match="could not fetch sam3: .*cannot be written: "):
        get("sam3", folder)
    assert hub.asked == []


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_table_has_its_place_and_its_page(name: str, tmp_path: Path):
    assert place_of(name, tmp_path).is_relative_to(tmp_path)
    error = FetchError("refused", name, status=500)
    assert error.values["page"].startswith("https://")


def test_no_repository_leads_out_of_its_folder():
    patterns = MODELS["sam3"].files
    names = ["config.json", "x/config.json", "../config.json", "/etc/x.json", "a\\b.json", "vocab.txt"]
    assert [name for name in names if listing._is_wanted(name, patterns)] == ["config.json", "vocab.txt"]


class TestJobs:
    """Fetches in the background."""

    def wait(self, fetches: Fetches, name: str, *states: str) -> dict:
        done = threading.Event()
        for _ in range(600):
            if (told := fetches.told()[name])["state"] in states:
                return told
            done.wait(0.05)
        raise AssertionError(fetches.told())

    def fetches(self) -> Fetches:
        return Fetches(lambda name, place, report: fetch(name, place, report, PATIENCE))

    def test_one_after_the_other_with_their_progress(self, hub: Hub, folder: Path):
        fetches = self.fetches()
        fetches.start("sam3", place_of("sam3", folder))
        fetches.start("sam3.1-comfy", place_of("sam3.1-comfy", folder))
        assert fetches.start("sam3", folder) is fetches.start("sam3", folder)
        for name in ("sam3", "sam3.1-comfy"):
            told = self.wait(fetches, name, "done", "failed")
            assert told["state"] == "done" and told["done"] == told["total"] >= len(WEIGHTS)

    def test_a_failed_one_says_why_and_can_be_started_again(self, hub: Hub, folder: Path):
        fetches = self.fetches()
        hub.faults["model.safetensors"] = ["wrong"]
        fetches.start("sam3", folder / "sam3")
        told = self.wait(fetches, "sam3", "done", "failed")
        assert told["kind"] == "wrong" and told["values"]["file"] == "model.safetensors"
        fetches.start("sam3", folder / "sam3")
        assert self.wait(fetches, "sam3", "done")["error"] == ""

    def test_a_cancelled_one_ends_for_the_user_at_once(self, hub: Hub, folder: Path):
        fetches = Fetches(lambda name, place, report: fetch(name, place, report, Patience(60, 2, 0)))
        hub.faults["model.safetensors"] = ["stall"]
        fetches.start("sam3", folder / "sam3")
        while not any("elsewhere" in path for path, *_ in hub.asked):
            pass
        with pytest.raises(ValueError, match="cancel that first"):
            fetches.discard("sam3", folder / "sam3")
        fetches.cancel("sam3")
        assert fetches.told()["sam3"]["state"] == "cancelled"
        hub.go_on.set()

    def test_what_nobody_thought_of_is_told_too(self, folder: Path):
        def fail(name: str, place: Path, report: Reporter) -> None:
            raise KeyError("x")

        fetches = Fetches(fail)
        fetches.start("sam3", folder)
        assert "KeyError" in self.wait(fetches, "sam3", "failed")["error"]


def test_the_command_fetches_and_says_how_far_it_is(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["fetch", "sam3", "--to", str(folder / "my sam3")]) == 0
    said = capsys.readouterr().err
    assert "SAM License" in said and f"it is in {folder / 'my sam3'}" in said and "300 kB of 300 kB" in said
    assert looked_at(folder) == [folder / "my sam3"]
    shutil.rmtree(folder)
    hub.faults["config.json"] = ["401"]
    assert main(["fetch", "sam3", "--to", str(folder / "sam3")]) == 1
    assert "sam3 is gated" in capsys.readouterr().err


def test_every_kind_of_failure_has_its_sentence():
    for kind, template in KINDS.items():
        places = {place for _, place, _, _ in Formatter().parse(template) if place}
        given = places - {"name", "hub", "page"}
        assert "{" not in str(FetchError(kind, "sam3", **dict.fromkeys(given, "x")))


def test_the_panels_have_words_for_every_kind_of_failure_and_every_segmenter(repo: Path):
    """An address by hand is no failure of a fetch that the panels offer."""
    for language in ("en", "zh"):
        texts = json.loads((repo / "locales" / language / "main.json").read_text(encoding="utf-8"))
        words = texts["semanticFocus"]["supply"]
        assert set(words["kinds"]) == set(KINDS) - {"no_hub"}
        assert set(words["segmenters"]) == {segmenter for segmenter, _ in WAYS}
        for kind, text in words["kinds"].items():
            places = {place for _, place, _, _ in Formatter().parse(text) if place}
            given = {place for _, place, _, _ in Formatter().parse(KINDS[kind]) if place}
            assert places <= given | {"name", "hub", "page"}, (language, kind)
