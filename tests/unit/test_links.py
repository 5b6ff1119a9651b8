"""What pages link to is there: files, pictures, and headings by their anchors."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = "https://github.com/ComfyUI-SemanticFocus/ComfyUI-SemanticFocus/blob/main/"
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"(?ms)^```.*?^```|`[^`\n]*`")
HELP = "web/docs/"


def pages(repo: Path) -> list[str]:
    """All pages of the checkout, tracked or new, by their path."""
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
    names = subprocess.run(listed, cwd=repo, capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in names if name and (repo / name).is_file()]


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them: no punctuation, lower case, a hyphen for each space."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ +(.+?) *$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(repo: Path, name: str) -> list[str]:
    """Links of a page to what is not there; those to other sites are not looked at."""
    page = repo / name
    found = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    return [link for picture, link in found if not _leads_somewhere(repo, page, link, bool(picture))]


def _leads_somewhere(repo: Path, page: Path, link: str, picture: bool) -> bool:
    path, _, anchor = link.removeprefix(REPOSITORY).partition("#")
    if "://" in path:
        return True
    if link.startswith(REPOSITORY):
        target = repo / path
    elif picture and page.is_relative_to(repo / HELP):
        target = repo / HELP / path  # ComfyUI looks from the folder of all help pages
    else:
        target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_no_page_links_to_nothing(repo: Path):
    names = pages(repo)
    assert {"README.md", "README_zh.md", "docs/headless.md", f"{HELP}SemanticFocusTrain/en.md"} <= set(names)
    assert {name: dead for name in names if (dead := dead_links(repo, name))} == {}


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [
        ("there.md", False),
        ("there.md#a-heading-of-3-words", False),
        ("#here", False),
        (f"{REPOSITORY}there.md#a-heading-of-3-words", False),
        ("https://example.org/nothing", False),
        ("missing.md", True),
        ("there.md#another", True),
        ("#there", True),
        (f"{REPOSITORY}missing.md", True),
        (f"{REPOSITORY}there.md#in-code", True),
    ],
)
def test_a_dead_link_is_seen(tmp_path: Path, link: str, is_dead: bool):
    (tmp_path / "there.md").write_text("# A heading: of `3` words!\n```\n# in code\n```\n", encoding="utf-8")
    (tmp_path / "page.md").write_text(f"# Here\n`[x](no.md)` and [this]({link})\n", encoding="utf-8")
    assert dead_links(tmp_path, "page.md") == ([link] if is_dead else [])
