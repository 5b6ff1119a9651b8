"""The command line: what it prints, its exit codes, and runs that are killed or that share a folder."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.commands import main as cli
from semantic_focus.commands import masks
from semantic_focus.datasets.mask_file import mask_path, read_header, read_masks, save_masks
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.segmenters import table as segmenter_table

from ..forks import Fork, Forks
from . import fake_backend

Program = Callable[..., Fork]


def finished(process: Fork, code: int = 0) -> tuple[dict, str]:
    """(summary, standard error) of a program that ends with `code`."""
    assert process.end() == code, process.errors
    return json.loads(process.output), process.errors


@pytest.fixture
def program(repo: Path, forks: Forks) -> Program:
    """Start cache_masks.py in a process of its own, with the fake backend."""

    def start(*arguments: object, limit: int | None = None, **under: Any) -> Fork:
        command = [str(repo / "cache_masks.py"), limit, under, *map(str, arguments)]
        return forks.start("commands/fake_backend.py", "cache_masks", *command)

    return start


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str, colour: tuple[int, int, int] = (200, 30, 30), folder: str = "dataset") -> Path:
        dataset = tmp_path / folder
        dataset.mkdir(parents=True, exist_ok=True)
        for position, name in enumerate(names):
            pixels = np.full((48, 64, 3), colour, dtype=np.uint8)
            pixels[20, 20] = (position, 7, 7)
            Image.fromarray(pixels).save(dataset / name)
        return dataset

    return make


def masks_of(dataset: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every mask file."""
    files = dataset.rglob("*_zi_masks.safetensors")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def hidden(dataset: Path) -> list[str]:
    return [path.name for path in dataset.rglob(".*")]


class TestKilled:
    def test_a_run_killed_again_and_again_goes_on_where_it_was(self, program: Program, make):
        dataset = make(*(f"{k:02}.png" for k in range(40)))
        chance = random.Random(3)
        kills, known = 0, {}
        for _ in range(4):
            process = program(dataset, limit=8)
            goal = len(known) + 1 + chance.randrange(5)
            while process.poll() is None and len(masks_of(dataset)) < goal:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.04)
            process.send(signal.SIGKILL)
            kills += process.end() == -signal.SIGKILL
            now = masks_of(dataset)
            assert known.items() <= now.items()  # what was finished is not touched again
            assert {path.suffix for path in dataset.iterdir()} <= {".png", ".safetensors", ".part", ".lock"}
            for path in now:
                read_masks(path)
            known = now
        assert kills == 4 and 4 <= len(known) < 40
        (dataset / ".39_zi_masks.safetensors.0123abcd.part").write_bytes(b"half")
        summary, _ = finished(program(dataset))
        assert summary["counts"]["fresh"] == len(known)
        assert summary["counts"]["segmented"] == 40 - len(known)
        after = masks_of(dataset)
        assert known.items() <= after.items() and len(after) == 40 and hidden(dataset) == []
        for path in after:
            read_masks(path)

    @pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
    def test_a_signal_ends_with_its_code_a_summary_and_complete_files(
        self, number: str, program: Program, make
    ):
        dataset = make(*(f"{k:03}.png" for k in range(200)))
        process = program(dataset, limit=150)
        while process.poll() is None and len(masks_of(dataset)) < 3:
            time.sleep(0.005)
        process.send(signal.Signals[number])
        summary, err = finished(process, 128 + signal.Signals[number])
        made = masks_of(dataset)
        assert summary["interrupted"] and len(made) == summary["counts"]["segmented"]
        assert 3 <= len(made) < 200 and summary["counts"]["left"] == 200 - len(made)
        assert "run the same command again" in err and hidden(dataset) == []
        assert "once more ends it at once" in err
        for path in made:
            read_masks(path)

    def test_a_second_signal_ends_it_at_once(self, program: Program, make):
        dataset = make("a.png", "b.png")
        process = program(dataset, limit=1)  # the second picture takes for ever
        while process.poll() is None and len(masks_of(dataset)) < 1:
            time.sleep(0.005)
        process.send(signal.SIGTERM)
        while process.poll() is None and "once more" not in process.errors:
            time.sleep(0.005)
        process.send(signal.SIGTERM)
        assert process.end() == -signal.SIGTERM
        assert finished(program(dataset))[0]["counts"]["segmented"] == 1 and hidden(dataset) == []

    def test_with_nohup_a_closed_terminal_ends_nothing(self, program: Program, make):
        dataset = make(*(f"{k}.png" for k in range(9)))
        process = program(dataset, nohup=True)
        while process.poll() is None and len(masks_of(dataset)) < 1:
            time.sleep(0.005)
        process.send(signal.SIGHUP)
        assert finished(process)[0]["counts"]["segmented"] == 9

    def test_whoever_stops_reading_ends_nothing(self, repo: Path, make):
        """As `cache_masks.py DATASET | head -0` does."""
        dataset = make("a.png", "b.png")
        (dataset / "a.png").write_bytes(b"no picture")
        gone, output = os.pipe()
        os.close(gone)
        program = (
            "import sys; sys.path[:0] = sys.argv[1:3]; import fake_backend; "
            "fake_backend.cache_masks(sys.argv[3], None, {}, sys.argv[4])"
        )
        arguments = [str(Path(__file__).parent), str(repo), str(repo / "cache_masks.py"), str(dataset)]
        try:
            ended = subprocess.run(
                [sys.executable, "-c", program, *arguments], stdout=output, stderr=output, timeout=600
            )
        finally:
            os.close(output)
        assert ended.returncode == 1 and len(masks_of(dataset)) == 1  # 1: a picture failed


class TestDisksThatTakeNoFile:
    def test_a_dataset_that_takes_no_file_ends_with_2_before_anything_is_loaded(self, program: Program, make):
        process = program(make("a.png", "b.png"), file_size=1000)
        assert process.end() == 2 and process.output == ""
        (message,) = process.errors.splitlines()[-1:]
        assert (
            message.startswith("no picture was segmented: ")
            and "a_zi_masks.safetensors: cannot be" in message
        )
        assert "LOADED" not in process.errors and "Traceback" not in process.errors


class TestTwoAtOnce:
    def test_every_picture_is_segmented_once_over_both(self, program: Program, make):
        dataset = make(*(f"{k:02}.png" for k in range(60)))
        both = [program(dataset), program(dataset)]
        summaries = [finished(process)[0] for process in both]
        counts = [summary["counts"] for summary in summaries]
        assert sum(count["segmented"] for count in counts) == 60
        assert all(count["segmented"] + count["fresh"] == 60 for count in counts)
        assert len(masks_of(dataset)) == 60 and hidden(dataset) == []


class TestSummary:
    def test_odd_names_bad_and_hand_made_pictures_in_one_recursive_run(self, program: Program, make):
        dataset = make("女孩 1.png", "-x.png", "a#b'c\"d.png", "e%20<f>&.webp", "line\nbreak.png", "hand.png")
        make("deep.jpg", folder="dataset/sub folder/深い")
        make("blue.png", colour=(0, 0, 255))
        (dataset / "broken.png").write_bytes(b"no picture")
        save_masks(mask_path(dataset / "hand.png"), {"face": torch.ones(48, 64)})
        by_hand = mask_path(dataset / "hand.png").read_bytes()
        summary, err = finished(program(dataset, "--recursive", "--force"), 1)
        assert summary["pictures"] == 9
        assert summary["counts"] == dict(fresh=0, segmented=6, due=0, kept=1, failed=2, left=0)
        reasons = {Path(one["picture"]).name: one["reason"] for one in summary["failed"]}
        assert "cannot do blue" in reasons["blue.png"] and "cannot be read" in reasons["broken.png"]
        assert [Path(one["picture"]).name for one in summary["kept"]] == ["hand.png"]
        assert mask_path(dataset / "hand.png").read_bytes() == by_hand
        assert summary["backend"] == "fake" and summary["weights"] == "v1"
        assert summary["seconds"] > 0 and summary["pictures_per_second"] > 0
        assert "6 segmented, 1 kept, 2 failed" in err and "broken.png" in err and "9/9" in err
        for name in ("女孩 1", "-x", "a#b'c\"d", "e%20<f>&", "line\nbreak", "sub folder/深い/deep"):
            assert read_header(dataset / f"{name}_zi_masks.safetensors")["refine"] == "fast"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict, str]]:
    """(summary, standard error) of `semantic-focus masks` in this process, with the fake backend."""
    monkeypatch.setitem(sys.modules, "fake_backend", fake_backend)
    for module in (segmenter_table, masks):
        monkeypatch.setattr(module, "BACKENDS", fake_backend.TABLE)
    segmenter_table._loaded.cache_clear()

    def run(*arguments: object) -> tuple[dict, str]:
        assert cli.main(["masks", *map(str, arguments)]) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out), captured.err

    return run


class TestOptions:
    def test_a_warm_run_and_a_dry_run_load_no_model_and_write_nothing(self, run, make):
        dataset = make("a.png", "b.png")
        assert "LOADED" in run(dataset)[1]
        segmenter_table._loaded.cache_clear()
        make("c.png")
        before = {path: path.stat().st_mtime_ns for path in dataset.iterdir()}
        summary, err = run(dataset, "--dry-run")
        assert summary["counts"]["fresh"] == 2 and "LOADED" not in err
        due = [{"picture": str(dataset / "c.png"), "reason": "it has no mask file"}]
        assert summary["due"] == due and "due, 1: it has no mask file" in err
        assert {path: path.stat().st_mtime_ns for path in dataset.iterdir()} == before
        (dataset / "c.png").unlink()
        summary, err = run(dataset)
        assert summary["counts"]["fresh"] == 2 and "LOADED" not in err

    def test_what_was_made_by_hand_is_told_kept_and_forgotten(self, run, make):
        dataset = make("a.png", "b.png")
        run(dataset)
        file = mask_path(dataset / "a.png")
        fresh, everywhere = file.read_bytes(), torch.ones(read_masks(file).size)
        layer = HandLayer(everywhere * 0.2, everywhere > 0)
        save_masks(file, with_hand(read_masks(file), {"hair": layer}))
        told = [{"picture": str(dataset / "a.png"), "regions": ["hair"]}]
        for options, counts in (([], (2, 0)), (["--force"], (0, 2))):
            summary, err = run(dataset, *options)
            assert (summary["counts"]["fresh"], summary["counts"]["segmented"]) == counts
            assert summary["by_hand"] == told and "by hand in 1 picture, and kept: hair" in err
        assert float((read_masks(file).region("hair") - 51 / 255).abs().max()) == 0
        summary, err = run(dataset, "--by-hand", "forget", "--dry-run")
        assert [one["reason"] for one in summary["due"]] == ["made by hand: hair; to be taken back"]
        summary, err = run(dataset, "--by-hand", "forget")
        assert summary["by_hand"] == [] and summary["counts"]["fresh"] == 2
        assert "a.png: taken back what was made by hand: hair" in err and file.read_bytes() == fresh

    def test_options_reach_the_mask_files_and_the_report(self, run, make, tmp_path: Path):
        dataset = make("a.png")
        report = tmp_path / "report.html"
        options = ["--refine", "off", "--float", "--keywords", "face: eyes; tattoo: ink", "--report", report]
        summary, _ = run(dataset, *options)
        header = read_header(mask_path(dataset / "a.png"))
        assert header["refine"] == "off" and header["encoding"] == "float"
        assert json.loads(header["labels"]) == ["face", "tattoo"]
        assert summary["report"] == str(report) and "a.png" in report.read_text(encoding="utf-8")
        keywords = tmp_path / "keywords.txt"
        keywords.write_text("face: eyes\ntattoo: ink\n", encoding="utf-8")
        options[4] = str(keywords)
        assert run(dataset, *options)[0]["counts"]["fresh"] == 1


class TestShards:
    def test_three_make_what_one_makes_and_each_opens_its_own_mask_files_only(
        self, run, make, monkeypatch: pytest.MonkeyPatch
    ):
        names = [f"{k:02}.png" for k in range(30)]
        whole, parts = make(*names, folder="whole"), make(*names, folder="parts")
        run(whole)
        monkeypatch.setenv("SLURM_PROCID", "2")
        monkeypatch.setenv("SLURM_NTASKS", "3")
        options = [["--shard", "1/3"], ["--shard", "2/3", "--processes", "1"], ["--shard", "auto"]]
        made = []
        for option in options:
            summary, _ = run(parts, *option)
            made.append(summary["counts"]["segmented"])
            assert summary["pictures"] == made[-1] > 0
        assert summary["shard"] == "3/3" and sum(made) == 30
        assert {name: (parts / name).read_bytes() for name in os.listdir(parts)} == {
            name: (whole / name).read_bytes() for name in os.listdir(whole)
        }
        opened: set[str] | None = None
        sys.addaudithook(
            lambda event, about: opened.add(str(about[0])) if event == "open" and opened else None
        )
        for option, count in zip(options, made, strict=True):
            opened = {"from now on"}
            assert run(parts, *option)[0]["counts"]["fresh"] == count
            assert sum(name.endswith(".safetensors") for name in opened) == count
        opened = None  # the hook stays

    def test_a_shard_without_pictures_is_done(self, run, make):
        dataset = make("a.png")
        counts = [run(dataset, "--shard", f"{k}/4")[0]["counts"]["segmented"] for k in range(1, 5)]
        assert sorted(counts) == [0, 0, 0, 1]


class TestEmbeddedSegmenter:
    def test_the_fast_tier_makes_masks_from_a_plain_checkout_and_a_warm_run_imports_no_runtime(
        self, repo: Path, tmp_path: Path, photographs: Path, weights: Path, forks: Forks
    ):
        picture = Image.open(photographs / "astronaut.png").convert("RGB").crop((60, 0, 380, 320))
        picture.resize((160, 160)).save(tmp_path / "one.png")
        command = [str(repo / "cache_masks.py"), str(tmp_path)]
        first = subprocess.run([sys.executable, "-I", *command], capture_output=True, text=True, timeout=600)
        assert first.returncode == 0, first.stderr
        summary = json.loads(first.stdout)
        assert summary["backend"] == "mediapipe" and summary["counts"]["segmented"] == 1
        face = read_masks(mask_path(tmp_path / "one.png")).region("face")
        assert 0.02 < face.mean() < 0.3
        again, imported = finished(forks.start("commands/imports.py", "cache_masks", *command))
        assert again["counts"]["fresh"] == 1
        assert "semantic_focus.commands.main" in imported.split()
        assert not {"ai_edge_litert", "cv2", "ray", "fsspec"} & set(imported.split())


class TestCannotStart:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["{tmp}/none"], "no such folder"),
            (["{tmp}/empty"], "no picture in it"),
            (["{tmp}/dataset", "--keywords", "residual: x"], "residual.*choose another"),
            (["{tmp}/dataset", "--keywords", "none.txt"], "none.txt.*Give a text file"),
            (["{tmp}/dataset", "--models", "{tmp}/none"], "no such folder. Give ComfyUI's models folder"),
            (["{tmp}/dataset", "--workers", "0"], "workers must be 1 or more"),
            (["{tmp}/dataset", "--shard", "3/2"], "there are the shards 1/2 to 2/2"),
            (["{tmp}/dataset", "--shard", "auto"], "no variable tells which shard this is"),
            (["{tmp}/dataset", "--report", "{tmp}/a.pdf"], ".html, .png"),
            (["{tmp}/dataset", "--report", "{tmp}/dataset/a.png"], "taken for a training picture"),
            (["{tmp}/dataset", "--report", "{tmp}/mine.png"], "no report of this program. Give another name"),
            (
                ["{tmp}/dataset", "--report", "{tmp}/mine.html"],
                "no report of this program. Give another name",
            ),
            (["{tmp}/dataset", "--report", "{tmp}/mistyped/a.html"], "no folder .*mistyped. Make it first"),
            (["{tmp}/dataset", "--tier", "better"], "invalid choice"),
            (["{tmp}/dataset", "--tier", "fast", "--backend", "mediapipe"], "not allowed with"),
        ],
    )
    def test_it_says_why_with_exit_code_2(
        self, make, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ):
        make("a.png")
        (tmp_path / "empty").mkdir()
        mine = [tmp_path / "mine.png", tmp_path / "mine.html"]
        Image.new("L", (8, 8)).save(mine[0])
        mine[1].write_text("<!doctype html><title>mine</title>")
        before = [path.read_bytes() for path in mine]
        try:
            code = cli.main(["masks", *(argument.format(tmp=tmp_path) for argument in arguments)])
        except SystemExit as refused:  # argparse's own way
            code = refused.code
        captured = capsys.readouterr()
        assert code == 2 and captured.out == "" and re.search(message, captured.err, re.DOTALL)
        assert os.listdir(tmp_path / "dataset") == ["a.png"]
        assert [path.read_bytes() for path in mine] == before and not (tmp_path / "mistyped").exists()

    def test_a_tier_without_weights_says_so_and_nothing_else_runs(
        self, make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
    ):
        monkeypatch.setattr(
            "semantic_focus.segmenters.embedded.weights.default_folder", lambda: tmp_path / "nothing"
        )
        assert cli.main(["masks", str(make("a.png")), "--backend", "mediapipe"]) == 2
        err = capsys.readouterr().err
        assert "is in none of" in err and "semantic_focus fetch mediapipe" in err

    def test_weights_are_looked_for_in_the_models_folder(
        self, make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
    ):
        monkeypatch.setattr(
            "semantic_focus.segmenters.embedded.weights.default_folder", lambda: tmp_path / "nothing"
        )
        (tmp_path / "models").mkdir()
        assert cli.main(["masks", str(make("a.png")), "--models", str(tmp_path / "models")]) == 2
        assert str(tmp_path / "models" / "mediapipe") in capsys.readouterr().err


class TestExport:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Path:
        """Two pictures of 6x4 with a face on the left half and hair on the right."""
        folder = tmp_path / "set"
        folder.mkdir()
        for name in ("a", "b"):
            Image.new("RGB", (6, 4), "grey").save(folder / f"{name}.png")
            face = torch.zeros(4, 6)
            face[:, :3] = 1
            save_masks(mask_path(folder / f"{name}.png"), {"face": face, "hair": 1 - face})
        return folder

    def test_weights_become_grey_in_pictures_of_the_form_asked_for(self, dataset: Path, tmp_path: Path):
        out = tmp_path / "masks"
        arguments = ["export", str(dataset), "--form", "folder", "--to", str(out)]
        assert cli.main([*arguments, "--weights", "face: 1; hair: 0.5"]) == 0
        assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
        grey = np.asarray(Image.open(out / "a.png"))
        assert (grey[:, :3] == 255).all() and (np.abs(grey[:, 3:].astype(int) - 128) <= 1).all()

    def test_without_a_folder_they_lie_beside_the_pictures(self, dataset: Path):
        assert cli.main(["export", str(dataset)]) == 0
        assert (dataset / "a-masklabel.png").is_file() and (dataset / "b-masklabel.png").is_file()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--weights", "nose: 1"], "nose"),
            (["--weights", "face"], "'name: value'"),
            (["--form", "folder"], "give its path"),
        ],
    )
    def test_what_cannot_be_exported_is_said(self, dataset: Path, capsys, arguments, message: str):
        assert cli.main(["export", str(dataset), *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_pictures_that_are_not_segmented_are_named(self, dataset: Path, capsys):
        mask_path(dataset / "b.png").unlink()
        assert cli.main(["export", str(dataset)]) == 2
        assert "b_zi_masks.safetensors" in capsys.readouterr().err


def test_what_is_left_out_and_what_is_in_no_picture_is_said_on_the_screen_and_to_machines(
    program: Program, make
):
    dataset = make("a.png")
    (dataset / "b.heic").write_bytes(b"x")
    make("c.png", folder="dataset/10_anna")
    for status in ("segmented", "fresh"):
        summary, errors = finished(program(dataset, "--keywords", "face: face; tattoo: dragon"))
        assert summary["counts"][status] == 1
        assert [line.split(" (")[0] for line in summary["remarks"][-2:]] == [
            "left out: b.heic",
            "left out: 10_anna/",
        ]
        assert any("tattoo" in line and "trains nothing" in line for line in summary["remarks"])
        assert all(line in errors for line in summary["remarks"])
