"""The job file of a training that is a folder with its config.toml."""

import json
from pathlib import Path

from ..files.writing import write_text
from .job import SCHEMA, load_job
from .places import sha256_of
from .spool import JOB_FILE


def write_training_job(config: Path) -> Path:
    """Write the job file beside a config.toml, with the digests of all inputs that lie in its folder.

    Raises:
        JobError, ConfigError: the config cannot be used.
        OSError: an input cannot be read, or the file not be written.
    """
    path = config.with_name(JOB_FILE)
    content = {"schema": SCHEMA, "kind": "train", "config": config.name}
    write_text(path, json.dumps(content) + "\n")
    inside = [
        given for given in (it.given for it in load_job(path).inputs()) if not Path(given).is_absolute()
    ]
    digests = {given: sha256_of(path.parent / given) for given in dict.fromkeys(inside)}
    write_text(path, json.dumps({**content, "digests": digests}, indent=2) + "\n")
    return path
