# The package's own list of all its models takes pyright half a minute. The tests run what we use of it.
from typing import Any

def __getattr__(name: str) -> Any: ...
