"""Claims: one program at a time on a mask file, and nothing left when a program is killed."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semantic_focus.datasets import claims
from semantic_focus.datasets.claims import LOCK_FILE, claim, claimed_if_free, remove_unused_lock_file

HOLDER = """
import runpy
import sys
from pathlib import Path
claim = runpy.run_path(sys.argv[1])["claim"]
held = [claim(Path(name)) for name in sys.argv[2:]]
print("claimed" if all(held) else "refused", flush=True)
sys.stdin.readline()
for one in held:
    if one is not None:
        one.release()
print("released", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another process that claims files, and releases them when told to."""

    def __init__(self, *files: Path):
        program = [sys.executable, "-c", HOLDER, claims.__file__, *map(str, files)]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer = self._line()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def release(self) -> str:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a_zi_masks.safetensors"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestOneProcess:
    def test_a_file_is_claimed_once_until_it_is_released(self, file: Path):
        held = claim(file)
        assert held and claim(file) is None
        held.release()
        again = claim(file)
        assert again
        again.release()

    def test_other_files_are_free_and_releasing_one_keeps_the_others(self, file: Path):
        first, second = claim(file), claim(file.with_name("b_zi_masks.safetensors"))
        assert first and second
        first.release()
        with Holder(file.with_name("b_zi_masks.safetensors")) as other:
            assert other.answer == "refused"
        second.release()

    def test_releasing_twice_does_not_release_the_next_claim(self, file: Path):
        held = claim(file)
        assert held
        held.release()
        later = claim(file)
        held.release()
        assert later and claim(file) is None
        later.release()

    def test_a_folder_by_another_name_is_the_same_folder(self, file: Path, tmp_path: Path):
        folder = tmp_path / "linked"
        folder.symlink_to(tmp_path, target_is_directory=True)
        held = claim(file)
        assert held and claim(folder / file.name) is None
        held.release()

    def test_of_many_threads_one_gets_it(self, file: Path):
        held = []
        barrier = threading.Barrier(8)

        def run() -> None:
            barrier.wait()
            held.append(claim(file))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [one for one in held if one is not None]
        assert len(held) == 8 and len(winners) == 1
        winners[0].release()

    def test_the_lock_file_goes_with_the_last_claim(self, file: Path, tmp_path: Path):
        first, second = claim(file), claim(file.with_name("b_zi_masks.safetensors"))
        assert first and second
        first.release()
        assert names(tmp_path) == [LOCK_FILE]
        second.release()
        assert names(tmp_path) == []

    def test_a_claim_in_a_folder_that_is_not_there_is_an_error(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            claim(tmp_path / "none" / "a_zi_masks.safetensors")

    def test_claimed_if_free_says_whether_it_is_held_and_releases_it(self, file: Path, tmp_path: Path):
        with claimed_if_free(file) as first, claimed_if_free(file) as second:
            assert (first, second) == (True, False)
        assert names(tmp_path) == []


class TestTwoProcesses:
    def test_what_another_process_has_is_refused_until_it_releases(self, file: Path, tmp_path: Path):
        with Holder(file) as other:
            assert other.answer == "claimed" and claim(file) is None
            assert names(tmp_path) == [LOCK_FILE]
            assert other.release() == "released"
            held = claim(file)
            assert held
            held.release()
        assert names(tmp_path) == []

    def test_a_killed_process_holds_nothing(self, file: Path, tmp_path: Path):
        with Holder(file) as other:
            assert claim(file) is None
            other.kill()
            held = claim(file)
            assert held
            held.release()
        assert names(tmp_path) == []

    def test_our_last_release_leaves_the_lock_file_to_a_process_that_still_claims(
        self, file: Path, tmp_path: Path
    ):
        ours = claim(file.with_name("b_zi_masks.safetensors"))
        with Holder(file) as other:
            assert ours
            ours.release()
            assert names(tmp_path) == [LOCK_FILE] and claim(file) is None
            other.release()
            assert names(tmp_path) == []

    def test_a_lock_file_removed_under_us_does_not_split_the_claims(self, file: Path, tmp_path: Path):
        ours = claim(file.with_name("b_zi_masks.safetensors"))
        (tmp_path / LOCK_FILE).unlink()
        with Holder(file) as other:
            assert other.answer == "claimed" and claim(file) is None  # it opened a new lock file
            assert ours
            ours.release()

    def test_whoever_lost_its_lock_file_does_not_remove_that_of_another(self, file: Path, tmp_path: Path):
        ours = claim(file.with_name("b_zi_masks.safetensors"))
        (tmp_path / LOCK_FILE).unlink()
        with Holder(file):
            assert ours
            ours.release()
            assert names(tmp_path) == [LOCK_FILE] and claim(file) is None

    def test_the_lock_file_of_a_killed_process_can_be_removed_but_not_one_in_use(
        self, file: Path, tmp_path: Path
    ):
        with Holder(file) as other:
            remove_unused_lock_file(tmp_path)
            assert names(tmp_path) == [LOCK_FILE]
            other.kill()
            remove_unused_lock_file(tmp_path)
            assert names(tmp_path) == []

    def test_our_own_claims_keep_the_lock_file(self, file: Path, tmp_path: Path):
        held = claim(file)
        remove_unused_lock_file(tmp_path)
        assert held and names(tmp_path) == [LOCK_FILE]
        with Holder(file) as other:
            assert other.answer == "refused"
        held.release()


class TestWithoutLocks:
    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
    def test_every_claim_is_granted_with_one_warning_and_no_file_left(
        self, file: Path, tmp_path: Path, number: int, monkeypatch, caplog: pytest.LogCaptureFixture
    ):
        def no_locks(handle: int, place: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(claims, "_lock", no_locks)
        with caplog.at_level(logging.WARNING):
            for name in "abc":
                with claimed_if_free(file.with_name(name)) as claimed:
                    assert claimed
        assert len(caplog.messages) == 1 and "has no locks" in caplog.messages[0]
        assert str(tmp_path) in caplog.messages[0] and names(tmp_path) == []

    def test_within_the_process_claims_still_count(self, file: Path, monkeypatch):
        def no_locks(handle: int, place: int) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(claims, "_lock", no_locks)
        held = claim(file)
        assert held and claim(file) is None
        held.release()

    def test_a_file_system_that_numbers_files_anew_each_time_is_one_without_locks(
        self, file: Path, monkeypatch, caplog: pytest.LogCaptureFixture
    ):
        monkeypatch.setattr(claims, "_is_open_at", lambda handle, path: False)
        with caplog.at_level(logging.WARNING), claimed_if_free(file) as claimed:
            assert claimed
        assert "has no locks" in caplog.text

    def test_a_folder_that_cannot_be_written_grants_claims_and_says_so(
        self, file: Path, tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
    ):
        (tmp_path / LOCK_FILE).mkdir()  # so that opening the lock file fails, for root too
        with caplog.at_level(logging.WARNING), claimed_if_free(file) as claimed:
            assert claimed
        assert "has no locks" in caplog.text
