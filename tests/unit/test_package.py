"""What `pip install .` brings: all of the library, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_has_every_file_of_the_library(repo: Path, tmp_path: Path):
    source, ignored = tmp_path / "source", shutil.ignore_patterns("__pycache__")
    shutil.copytree(repo / "semantic_focus", source / "semantic_focus", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(repo / name, source / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    library = {path.relative_to(repo).as_posix() for path in (repo / "semantic_focus").rglob("*.*")}
    assert found == {name for name in library if "__pycache__" not in name}
