"""A run that was stopped, as one tar: what another machine needs to go on with it."""

import io
import re
import tarfile
from pathlib import Path

from ..files.writing import write_bytes

STATE = re.compile(r"state_\d+\.safetensors")
OTHERS = ("run.json", "curves.jsonl", "state_best.safetensors", "lora_best.safetensors")


def packed(run: Path) -> bytes:
    """The newest state of a run, its curves, its best LoRA and what it is."""
    states = sorted(path.name for path in run.iterdir() if STATE.fullmatch(path.name))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in (*OTHERS, *states[-1:]):
            if (run / name).is_file():
                tar.add(run / name, name)
    return out.getvalue()


def unpack(content: bytes, run: Path) -> None:
    """Make the run's folder again; what else is in the tar stays there.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                if member.isfile() and (member.name in OTHERS or STATE.fullmatch(member.name)):
                    file = tar.extractfile(member)
                    assert file is not None
                    write_bytes(run / member.name, [file.read()])
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"it is damaged ({error})") from error
