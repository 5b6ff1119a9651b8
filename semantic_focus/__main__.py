"""`python -m semantic_focus`: the command line."""

import sys

from .commands.main import main

sys.exit(main(program="python -m semantic_focus"))
