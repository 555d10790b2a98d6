"""The pages as a whole: all are in the site's menu, links lead somewhere, and commands that they show exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from mpq_onnx.cli import cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*).*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def in_menu(entries: list) -> set[str]:
    found: set[str] = set()
    for entry in entries:
        (target,) = entry.values()
        found |= in_menu(target) if isinstance(target, list) else {target}
    return found


def test_the_menu_has_every_page_and_no_other() -> None:
    menu = in_menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert menu == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for link in LINK.findall(text):
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        # The site has docs/ and, by its hook, examples/ and the light list.
        outside = page.parent != ROOT and not target.is_relative_to(DOCS)
        assert not outside or target.is_relative_to(ROOT / "examples") or target.name in OUTSIDE, link
        if anchor:
            assert anchor in anchors(target), link


OUTSIDE = {"requirements-light.txt"}


def shown_commands(page: Path) -> list[str]:
    """Lines `$ mpq-onnx ...` of console sessions and of shell scripts, continued lines joined."""
    blocks = [body for kind, body in FENCE.findall(page.read_text()) if kind in ("console", "sh", "bash")]
    joined = "\n".join(blocks).replace("\\\n", " ")
    return re.findall(r"^(?:\$ )?(mpq-onnx .+)$", joined, re.MULTILINE)


@pytest.mark.parametrize("page", [each for each in PAGES if shown_commands(each)], ids=named)
def test_commands_and_options_that_are_shown_exist(page: Path) -> None:
    for line in shown_commands(page):
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0], comments=True)[1:]
        if words[0].startswith("-"):
            continue
        command = cli.commands[words[0]]
        flags = {
            flag
            for each in command.params
            if isinstance(each, click.Option)
            for flag in (*each.opts, *each.secondary_opts)
        } | {"--help", "-h"}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= flags, line


def test_the_tests_of_this_file_look_at_something() -> None:
    assert len(PAGES) > 25
    assert sum(len(shown_commands(page)) for page in PAGES) > 30
