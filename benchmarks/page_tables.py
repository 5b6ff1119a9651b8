"""Tables that a program writes into a page, between two lines that name them."""

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def insert_table(page: Path, name: str, text: str) -> None:
    """Put a text in place of what is between the two lines of this name.

    Raises:
        ValueError: the page lacks one of the lines.
    """
    begin, end = marks(name)
    content = page.read_text(encoding="utf-8")
    before, found, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} has no lines {begin} and {end}: put them where the table belongs")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
