"""What is installed is what is declared, pinned and hashed, from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest


def lines(path: Path) -> list[str]:
    return [
        line.strip()
        for line in path.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {
        normal(re.split(r"[ <>=!~;\[]", line)[0])
        for line in requirements
        if not line.startswith(("-r", "-c"))
    }


def declared(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    found: list[str] = project["dependencies"]
    return found


def test_run_in_equals_the_projects_dependencies(root: Path) -> None:
    assert lines(root / "requirements" / "run.in") == declared(root)


def test_server_in_equals_the_extra(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    own = [line for line in lines(root / "requirements" / "server.in") if line != "-r run.in"]
    assert own == project["optional-dependencies"]["server"]


def test_what_is_tested_is_what_is_deployed(root: Path) -> None:
    tested = {head for head, *_ in blocks(root / "requirements" / "dev.lock")}
    deployed = {head for head, *_ in blocks(root / "requirements" / "server.lock")}
    assert deployed <= tested


def blocks(path: Path) -> list[list[str]]:
    """The lines of a lock file, one list a pinned package."""
    joined = path.read_text().replace("\\\n", "\n")
    found: list[list[str]] = []
    for line in joined.splitlines():
        if line and not line.startswith((" ", "#")):
            found.append([line.strip()])
        elif line.strip() and found and not line.startswith("#"):
            found[-1].append(line.strip())
    return found


@pytest.mark.parametrize("name", ["run.lock", "server.lock", "dev.lock"])
def test_a_lock_pins_with_hashes_and_names_no_place(name: str, root: Path) -> None:
    path = root / "requirements" / name
    assert len(blocks(path)) >= 20
    for head, *hashes in blocks(path):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.!+]+( ; .*)?", head), head
        assert hashes, f"{head} has no hash"
        for line in hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line), f"{head}: {line}"
    assert "://" not in path.read_text()
    assert "index-url" not in path.read_text()


def pinned(root: Path, name: str) -> dict[str, str]:
    heads = [head.split(" ;")[0] for head, *_ in blocks(root / "requirements" / name)]
    return {normal(head.partition("==")[0]): head.partition("==")[2] for head in heads}


def test_everything_declared_is_locked(root: Path) -> None:
    assert names(declared(root)) <= set(pinned(root, "run.lock"))
    assert names(lines(root / "requirements" / "dev.in")) <= set(pinned(root, "dev.lock"))


def test_the_two_locks_agree(root: Path) -> None:
    run, dev = pinned(root, "run.lock"), pinned(root, "dev.lock")
    assert {name: dev.get(name) for name in run} == run
