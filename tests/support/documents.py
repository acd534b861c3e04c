"""Reading the documentation: its files, headings, tables, code blocks, links and commands."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: every document there is, by its path from the top of the repository
DOCUMENTS = {
    str(path.relative_to(ROOT)): path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose_of(name: str) -> str:
    """Without fenced and indented code."""
    text = _FENCE.sub("", text_of(name))
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def blocks_of(name: str, *languages: str) -> list[str]:
    """Fenced blocks in one of these languages."""
    return [body for language, body in _FENCE.findall(text_of(name)) if language in languages]


def headings_of(name: str) -> list[str]:
    """Texts of the headings, without their marks."""
    return re.findall(r"^#{1,6} +(.+?) *$", _FENCE.sub("", text_of(name)), re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts make it: lower case, punctuation gone, spaces to hyphens."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def rows_of(name: str) -> list[list[str]]:
    """Rows of all its tables: cells, stripped, the marks of code kept."""
    found = []
    for line in text_of(name).splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            found.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return found


def spans(cell: str) -> list[str]:
    """What stands in backticks."""
    return _SPAN.findall(cell)


def row_of(name: str, key: str) -> list[str]:
    """The row whose first cell names `key`. Raises LookupError where there is none, or more than one."""
    found = [row for row in rows_of(name) if key in spans(row[0])]
    if len(found) != 1:
        raise LookupError(f"{name} has {len(found)} rows for `{key}`, and should have one")
    return found[0]


def links_of(name: str) -> list[str]:
    """Targets of links that lead to a file or a heading, not to another host."""
    return [target for target in _LINK.findall(prose_of(name)) if not re.match(r"[a-z]+:", target)]


def commands_of(name: str) -> Iterator[str]:
    """Command lines that call `longshore`, in code blocks of either kind, continued lines joined."""
    text = text_of(name)
    code = [body for language, body in _FENCE.findall(text) if language in ("", "console", "sh", "bash")]
    outside = _FENCE.sub("", text)
    code.append("\n".join(line for line in outside.splitlines() if line.startswith("    ")))
    for line in re.sub(r"\\\n\s*", "", "\n".join(code)).splitlines():
        command = line.strip().removeprefix("$ ")
        if command.startswith(("longshore ", ".venv/bin/longshore ")):
            yield command.split(" && ")[0]
