"""Python files of the checkout that are no part of the library. No folder of ours is on sys.path in tests."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

REPO = Path(__file__).resolve().parent.parent


def load(file: str) -> ModuleType:
    """The module of a file, such as "host/serve.py", the same one at every call."""
    name = "semantic_focus_" + file.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, REPO / file)
        assert specification and specification.loader
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return sys.modules[name]
