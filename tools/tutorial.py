"""`python -m tools.tutorial`: runs the commands of docs/tutorial.md and writes their output under them; `--check` compares.

Every `console` block is run, in the order of the page, by a shell at the root of the repository with a home of its own; `sh` blocks
are for people. `--check` leaves out what differs each time: ids, numbers, what a context is made of today.
Must never touch the home of whoever runs it, and leave no process behind.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.durability import Site
from bench.ports import free_port

from claude_mem.worker.control import stop

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/tutorial.md")
_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
_CONTEXT = re.compile(r"<claude-mem-context .*?</claude-mem-context>", re.DOTALL)
_USUAL_PORT = "37700"
_LIVE = "## 6."  # from here on in the folder that is used when none is named
_PATIENCE = 120.0


def run(page: str) -> str:
    """The page with the output that its commands have now."""
    at = page.index(_LIVE)
    with tempfile.TemporaryDirectory(prefix="cm-") as name:  # short, as a socket's path must be
        home = Path(name)
        shell = _shell(home)
        try:
            with Site(home) as practice:
                first = _filled(
                    page[:at], shell | {"CLAUDE_MEM_HOME": str(practice.home)}, practice
                )
            return first + _filled(page[at:], shell, None)
        finally:
            stop(home / ".claude-mem")


def _shell(home: Path) -> dict[str, str]:
    """An environment that holds nothing of the person's own but where programs are."""
    program = home / "bin"
    program.mkdir()
    start = f'#!/bin/sh\nexec "{sys.executable}" -m claude_mem "$@"\n'
    (program / "claude-mem").write_text(start, encoding="utf-8")
    (program / "claude-mem").chmod(0o755)
    return {
        "PATH": f"{program}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT / "src"),
        "CLAUDE_MEM_PORT": str(free_port()),
    }


def _filled(part: str, shell: dict[str, str], site: Site | None) -> str:
    return _BLOCK.sub(lambda block: "\n".join(_lines(block[1], shell, site)) + "\n", part)


def _lines(block: str, shell: dict[str, str], site: Site | None) -> Iterator[str]:
    """The commands of a block, each with what it prints; an empty line between them."""
    for index, command in enumerate(commands(block)):
        if index:
            yield ""
        yield f"$ {command}"
        yield from _said(command, shell)
        if site is not None and command.startswith("claude-mem import"):
            site.rest()  # a person reads on meanwhile: summaries are made in the background


def _said(command: str, shell: dict[str, str]) -> list[str]:
    """What a command prints, as it would on anybody's machine. Raises RuntimeError when it fails."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        check=False,
    )
    said = done.stdout.decode()
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}: {said}")
    said = said.replace(shell["HOME"], "~").replace(shell["CLAUDE_MEM_PORT"], _USUAL_PORT)
    return [line.rstrip() for line in said.strip("\n").split("\n")]


def commands(block: str) -> list[str]:
    """What a block runs."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def blocks(page: str) -> list[str]:
    """The blocks that are run."""
    return [block[1] for block in _BLOCK.finditer(page)]


def comparable(page: str) -> str:
    """A page without what differs each time: ids, and numbers, which are times and sizes too.

    What a context is made of is left out as well, and the page says so: it changes with the days, as what was recent is less so.
    """
    page = _CONTEXT.sub("<claude-mem-context>", page)
    without = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\[[0-9a-f]{12}\]", "id", page)
    return re.sub(r"\d+(?:[.,]\d+)*(?: ?(?:KB|MB|GB|B|ms|s|min|h)\b)?", "n", without)


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    target = ROOT / PAGE
    before = target.read_text(encoding="utf-8")
    text = run(before)
    stale = comparable(text) != comparable(before)
    if "--check" not in arguments and stale:
        target.write_text(text, encoding="utf-8")
        print(f"{PAGE} written")
        return 0
    print("stale: run python -m tools.tutorial" if stale else f"{PAGE} is up to date")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
