"""The files for clusters: scripts are scripts, and what they call is there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from semantic_focus.commands import main as cli
from semantic_focus.datasets.shards import COUNT_OF_INDEXED_JOBS, told_by

CLUSTERS = Path(__file__).parents[2] / "clusters"
SCRIPTS = sorted((*CLUSTERS.rglob("*.sbatch"), *CLUSTERS.rglob("*.sh")))
MANIFESTS = sorted(CLUSTERS.rglob("*.yaml"))


def of_scripts() -> Iterator[tuple[str, list[str]]]:
    """The arguments of every call of our program, with a word in place of each variable."""
    for script in SCRIPTS:
        text = re.sub(r"\$\{\w+:\+(.*?)\}(?=\n)", r"\1", script.read_text())
        for line in text.splitlines():
            if not line.startswith("#") and "semantic-focus " in line:
                words = shlex.split(re.sub(r"\$\w+", "value", line.partition(" || ")[0]))
                yield script.name, words[words.index("semantic-focus") + 1 :]


def containers() -> Iterator[tuple[str, dict, dict]]:
    """Every container, with the specification of what it is in."""
    for path in MANIFESTS:
        spec = yaml.safe_load(path.read_text())["spec"]
        for container in spec["template"]["spec"]["containers"]:
            yield path.name, spec, container


CALLS = [*of_scripts(), *((name, container["args"]) for name, _, container in containers())]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_understood_by_bash(script: Path):
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "words"), CALLS, ids=[name for name, _ in CALLS])
def test_what_they_call_is_understood(name: str, words: list[str], capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0, (name, words)


def test_every_file_calls_the_program():
    assert {name for name, _ in CALLS} == {path.name for path in (*SCRIPTS, *MANIFESTS)}


def test_the_shards_of_an_indexed_job_are_all_its_completions():
    found = 0
    for _, spec, container in containers():
        variables = {variable["name"]: variable["value"] for variable in container.get("env", ())}
        if spec.get("completionMode") == "Indexed":
            shards = [
                told_by({**variables, "JOB_COMPLETION_INDEX": str(index)})
                for index in range(spec["completions"])
            ]
            assert {shard.index for shard in shards} == set(range(1, spec["completions"] + 1))
            assert {shard.count for shard in shards} == {spec["completions"]}
            found += 1
        else:
            assert COUNT_OF_INDEXED_JOBS not in variables
    assert found == 1


def test_what_the_image_is_made_of_is_there_and_let_through():
    folder = CLUSTERS / "container"
    copied = re.findall(r"^COPY (.*) \S+$", (folder / "Containerfile").read_text(), re.MULTILINE)
    names = {name for words in copied for name in words.split()}
    let_through = {
        line[1:]
        for line in (folder / "Containerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert names == let_through
    assert all((CLUSTERS.parent / name).exists() for name in names)
