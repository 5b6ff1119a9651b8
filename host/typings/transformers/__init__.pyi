# pyright takes half a minute over the package's own list of all models; what we use of it is checked by running it.
from typing import Any

def __getattr__(name: str) -> Any: ...
