"""The repository speaks of itself alone, and is tidy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# Longer than 500 lines, with the reason.
LONG = {
    "src/claude_mem/kernel/redact.py": "one table of forms with its checks; the generated hook carries it whole",
    "src/claude_mem/mcp/stdio.py": "runs alone, so it holds the tools' declarations and the forwarder",
    "src/claude_mem/app/migrations/versions/0001_first_schema.py": "every table of the first schema",
    "tests/kernel/test_redact_table.py": "a table: one row a form",
    "src/claude_mem/assets/sample/facts.json": "made: what the sample holds",
    "src/claude_mem/assets/sample/tasks.json": "made: follow-up tasks and what they need",
    "src/claude_mem/assets/glossary/zh-en.txt": "a table: one line a meaning",
    "docs/commands.md": "made: every command with every option",
    "docs/openapi.json": "made: the API's document",
    "requirements/run.lock": "made: pinned packages with hashes",
    "requirements/dev.lock": "made: pinned packages with hashes",
}
MADE = (".jsonl", ".lock")
# The words themselves would make this file one of those it looks for.
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE = re.compile(r"(?<![\w.])/(root|work|home/runner|Users/[a-z]+)/(?!dev\b)[\w.]+")
REGISTRY = re.compile(r"(pypi\.org|pythonhosted\.org|npmjs\.org|npmjs\.com)")
# A person's npm settings hold the registry's host: masking must know it.
REGISTRY_ALLOWED = {"tests/kernel/test_redact_table.py"}


def texts(tracked: list[Path], root: Path) -> Iterator[tuple[str, str]]:
    for path in tracked:
        try:
            yield str(path.relative_to(root)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # an image or another binary file
            continue


def hits(pattern: re.Pattern[str], tracked: list[Path], root: Path) -> list[str]:
    return [
        f"{name}:{number}: {found.group(0)}"
        for name, text in texts(tracked, root)
        for number, line in enumerate(text.splitlines(), 1)
        for found in pattern.finditer(line)
    ]


def test_nothing_is_left_unfinished(tracked: list[Path], root: Path) -> None:
    assert len(tracked) > 100
    assert hits(UNFINISHED, tracked, root) == []


def test_no_path_of_somebodys_machine(tracked: list[Path], root: Path) -> None:
    assert hits(MACHINE, tracked, root) == []


def test_no_registrys_address(tracked: list[Path], root: Path) -> None:
    found = hits(REGISTRY, tracked, root)
    here = "tests/tidy/test_tree.py"
    assert [hit for hit in found if hit.partition(":")[0] not in REGISTRY_ALLOWED | {here}] == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (UNFINISHED, "# TO" + "DO: later"),
        (MACHINE, "see /ro" + "ot/project/x.py"),
        (MACHINE, '"/wo' + 'rk/main"'),
        (MACHINE, "/Use" + "rs/ann/x"),
        (REGISTRY, "https://py" + "pi.org/simple"),
    ],
)
def test_the_patterns_see_what_they_look_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def python(tracked: list[Path], root: Path) -> list[Path]:
    return [path for path in tracked if path.suffix == ".py"]


def test_every_module_says_what_it_is(tracked: list[Path], root: Path) -> None:
    bare = [
        str(path.relative_to(root))
        for path in python(tracked, root)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []


def test_long_files_are_few_and_have_a_reason(tracked: list[Path], root: Path) -> None:
    long = {
        name
        for name, text in texts(tracked, root)
        if text.count("\n") > 500
        and not name.endswith(MADE)
        and not name.startswith("bench/results")
    }
    long |= {name for name in LONG if name.endswith(MADE)}
    assert long - set(LONG) == set(), "split it, or say why it is long"
    assert set(LONG) - long == set(), "not long any more"


def longest(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or 0) - node.lineno + 1, f"{path.name}:{node.name}"


def test_functions_of_the_product_are_small(tracked: list[Path], root: Path) -> None:
    product = [path for path in python(tracked, root) if (root / "src") in path.parents]
    product = [path for path in product if "versions" not in path.parts]
    sizes = sorted(size for path in product for size, _ in longest(path))
    assert len(sizes) > 300
    assert sizes[int(len(sizes) * 0.9)] <= 35, "nine of ten functions have at most 35 lines"


def test_no_test_waits_for_a_real_network(tracked: list[Path], root: Path) -> None:
    """Loopback only: addresses in tests are ours or made up."""
    address = re.compile(r"https?://([A-Za-z0-9.-]+\.(?:com|org|net|io|dev|ai))\b")
    used = re.compile(r"\b(urlopen|httpx\.(get|post)|requests\.(get|post))\(")
    for name, text in texts([it for it in tracked if "tests" in it.parts], root):
        for line in text.splitlines():
            assert not (used.search(line) and address.search(line)), f"{name}: {line.strip()}"
