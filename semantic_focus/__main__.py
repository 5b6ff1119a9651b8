"""`python -m semantic_focus`: the command line."""

import sys

from .cli import main

sys.exit(main(program="python -m semantic_focus"))
