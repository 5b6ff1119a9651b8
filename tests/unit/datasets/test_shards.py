"""Which shard a picture belongs to, and which shard a task of a cluster is."""

import hashlib
from pathlib import Path

import pytest

from semantic_focus.datasets.shards import Shard, ShardError, parsed, told_by

ARRAY = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "4"}
STEP = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_MAX": "20", "SLURM_ARRAY_TASK_COUNT": "3"}


def test_each_picture_is_in_one_shard_and_stays_there_when_others_come(tmp_path: Path):
    pictures = [tmp_path / f"{k:05}.jpg" for k in range(3000)] + [tmp_path / "sub" / "00000.jpg"]
    shards = [Shard(index, 3).of(pictures, tmp_path) for index in (1, 2, 3)]
    assert sorted(sum(shards, [])) == sorted(pictures)
    assert all(900 < len(shard) < 1100 for shard in shards)  # 1000 +- 4 standard deviations
    more = [*pictures, *(tmp_path / f"new {k}.jpg" for k in range(500))]
    for index, shard in enumerate(shards, 1):
        found = Shard(index, 3).of(more, tmp_path)
        assert [path for path in found if path in set(pictures)] == shard


def test_it_goes_by_the_digest_of_the_name_in_the_dataset_wherever_that_lies(tmp_path: Path):
    number = int(hashlib.sha256("sub/女孩.jpg".encode()).hexdigest()[:16], 16) % 7
    for folder in (tmp_path, tmp_path / "copy"):
        picture = folder / "sub" / "女孩.jpg"
        assert [index for index in range(7) if Shard(index + 1, 7).of([picture], folder)] == [number]
    assert Shard(1, 1).takes("undecodable \udcff")


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3", "١/٣ "])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(ShardError, match="give I/N as in 2/5|there are the shards 1/"):
        parsed(text)
    assert parsed(" 2/5 ") == Shard(2, 5)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, "1/8"),
        ({"SLURM_PROCID": "7", "SLURM_NTASKS": "8"}, "8/8"),
        ({"SLURM_ARRAY_TASK_ID": "2", **ARRAY}, "3/4"),
        ({"SLURM_ARRAY_TASK_ID": "20", **STEP}, "3/3"),
        ({"SLURM_ARRAY_TASK_ID": "5", **dict.fromkeys(ARRAY, "5"), "SLURM_ARRAY_TASK_COUNT": "1"}, "1/1"),
        ({"SLURM_ARRAY_TASK_ID": "2", **ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "6/8"),
        ({"JOB_COMPLETION_INDEX": "0", "SEMANTIC_FOCUS_SHARDS": "5"}, "1/5"),
        ({"JOB_COMPLETION_INDEX": "4", "SEMANTIC_FOCUS_SHARDS": "5"}, "5/5"),
    ],
)
def test_clusters_tell_their_tasks_the_shard(variables: dict[str, str], expected: str):
    assert str(told_by(variables)) == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "SLURM_PROCID or SLURM_ARRAY_TASK_ID nor .*JOB_COMPLETION_INDEX is set"),
        ({"SLURM_PROCID": "3"}, "SLURM_NTASKS is not set"),
        ({"SLURM_ARRAY_TASK_ID": "2"}, "SLURM_ARRAY_TASK_MIN is not set"),
        ({"SLURM_ARRAY_TASK_ID": "11", **STEP}, "11, one of 3 from 10 to 20: these are not evenly spaced"),
        ({"SLURM_ARRAY_TASK_ID": "0", **ARRAY, "SLURM_ARRAY_TASK_COUNT": "3"}, "not evenly spaced"),
        ({"JOB_COMPLETION_INDEX": "3"}, "SEMANTIC_FOCUS_SHARDS is not set.*number of completions"),
        ({"JOB_COMPLETION_INDEX": "x", "SEMANTIC_FOCUS_SHARDS": "5"}, "'x', no number"),
        ({"JOB_COMPLETION_INDEX": "5", "SEMANTIC_FOCUS_SHARDS": "5"}, "6/5: there are the shards 1/5 to 5/5"),
    ],
)
def test_what_is_missing_is_named(variables: dict[str, str], message: str):
    with pytest.raises(ShardError, match=message):
        told_by(variables)
