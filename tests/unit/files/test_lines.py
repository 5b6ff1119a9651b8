"""Lines for other programs: added whole, and nothing that takes them holds the work up."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from semantic_focus.files.lines import Lines, new_lines, opened, standard_output_taken


@pytest.fixture
def told() -> list[str]:
    return []


def test_lines_are_added_in_their_order(tmp_path: Path, told: list[str]):
    path = tmp_path / "events.jsonl"
    path.write_text("earlier\n")
    lines = Lines(opened(path), "events", told.append)
    for number in range(1000):
        lines.put(f"{number}")
    lines.close()
    assert path.read_text().split("\n") == ["earlier", *map(str, range(1000)), ""]
    assert (lines.lost, told) == (0, [])


def test_what_a_killed_process_left_is_ended_and_no_part_of_a_line(tmp_path: Path, told: list[str]):
    path = tmp_path / "events.jsonl"
    path.write_text('{"half')
    lines = Lines(opened(path), "events", told.append)
    lines.put("whole")
    lines.close()
    assert path.read_text() == '{"half\nwhole\n'


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit on the size of files")
def test_a_full_disk_is_told_once_leaves_no_part_of_a_line_and_loses_no_more_than_it_must(
    tmp_path: Path, told: list[str]
):
    import resource
    import signal

    path = tmp_path / "events.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    lines = Lines(opened(path), "--events events.jsonl", told.append)

    def put(text: str) -> None:
        lines.put(text)
        while lines._waiting.qsize():
            time.sleep(0.001)
        time.sleep(0.05)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        for text in ("a" * 60, "b" * 60, "c" * 60, "d" * 20):
            put(text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    put("e" * 60)
    lines.close()
    assert path.read_text() == "a" * 60 + "\n" + "d" * 20 + "\n" + "e" * 60 + "\n"
    assert lines.lost == 2 and len(told) == 1
    assert told[0].startswith("--events events.jsonl: lines are lost, File too large")


def test_a_pipe_that_nobody_reads_holds_nothing_up(told: list[str]):
    reading, writing = os.pipe()
    lines = Lines(writing, "--events -", told.append, most=10)
    began = time.monotonic()
    for _ in range(50):
        lines.put("x" * 10_000)
    lines.close(seconds=0.2)
    assert time.monotonic() - began < 2
    assert len(told) == 1 and "--events -: lines are lost, nobody reads it" in told[0]
    assert lines.lost >= 30
    os.close(reading)


def test_a_pipe_whose_reader_is_gone_is_told_once(told: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    lines = Lines(writing, "--events -", told.append)
    for _ in range(5):
        lines.put("nobody")
        time.sleep(0.01)
    lines.close()
    assert len(told) == 1 and "Broken pipe" in told[0] and lines.lost == 5


def test_a_slow_reader_gets_everything(told: list[str]):
    reading, writing = os.pipe()
    lines = Lines(writing, "--events -", told.append)
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as file:
            for line in file:
                got.append(line)
                time.sleep(0.0005)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        lines.put(f"{number:0500}")
    lines.close()
    reader.join()
    assert [int(line) for line in got] == list(range(300)) and told == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_opening_a_named_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        opened(tmp_path / "pipe")


def test_a_system_without_open_pipes_opens_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Windows has no O_NONBLOCK, and set_blocking for pipes alone."""

    def refused(handle: int, blocking: bool) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.delattr(os, "O_NONBLOCK")
    monkeypatch.setattr(os, "set_blocking", refused)
    handle = opened(tmp_path / "events.jsonl")
    os.write(handle, b"line\n")
    os.close(handle)
    assert (tmp_path / "events.jsonl").read_bytes() == b"line\n"


def test_a_file_in_no_folder_cannot_be_opened(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "nowhere" / "events.jsonl")


def test_standard_output_is_taken_for_a_while(capfd: pytest.CaptureFixture[str]):
    with standard_output_taken() as handle:
        os.write(1, b"a library says something\n")
        os.write(handle, b"a line\n")
        os.close(handle)
    os.write(1, b"afterwards\n")
    output, messages = capfd.readouterr()
    assert (output, messages) == ("a line\nafterwards\n", "a library says something\n")


def test_a_file_is_read_as_far_as_its_lines_are_whole(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    lines, place = new_lines(path)
    assert lines == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert new_lines(path, place) == ([b"three"], 14)
    assert new_lines(path, 14) == ([], 14)
