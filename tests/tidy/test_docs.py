"""Pages that repeat what the code says are made from it; what they name exists."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from tools import docs

import claude_mem
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.settings import Settings
from claude_mem.domains.capture.schemas import EVENT_MODELS
from claude_mem.domains.ops.model import STREAM_TYPES, TYPES
from claude_mem.kernel.errors import MemError

HAND_WRITTEN = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/errors.md",
    "docs/tutorial.md",
    "docs/plugin.md",
    "docs/organisation.md",
    "docs/embeddings.md",
]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def test_made_pages_say_what_the_code_says() -> None:
    assert docs.stale() == [], "run python -m tools.docs"


def test_every_setting_is_documented(root: Path) -> None:
    page = (root / "docs" / "settings.md").read_text()
    for field in fields(Settings):
        assert f"| `{field.name}` |" in page
        assert f"`CLAUDE_MEM_{field.name.upper()}`" in page
    assert set(docs.SETTINGS) == {field.name for field in fields(Settings)}
    served = page.partition("## The server profile")[2]
    for field in fields(ServerSettings):
        assert f"| `{field.name}` |" in served
    assert set(docs.SERVER_SETTINGS) <= {field.name for field in fields(ServerSettings)}


def test_every_command_is_documented_with_every_option(root: Path) -> None:
    page = (root / "docs" / "commands.md").read_text()
    assert len(docs.commands()) >= 12
    for name, command in docs.commands().items():
        assert command.hidden or f"## `claude-mem {name}" in page
        assert command.help, f"{name} does not say what it does"
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name} does not say what it is for"


def test_every_command_can_answer_in_json() -> None:
    for name, command in docs.commands().items():
        options = {spelled for it in command.params for spelled in it.opts}
        assert "--json" in options or command.hidden, name


def test_every_event_type_has_its_page_and_schema(root: Path) -> None:
    page = (root / "docs" / "events.md").read_text()
    for model in EVENT_MODELS:
        (kind,) = model.model_fields["type"].annotation.__args__
        assert f"## `{kind}`" in page
        schema = json.loads((root / "docs" / "schemas" / f"{kind}.json").read_text())
        assert schema["additionalProperties"] is False
        assert schema["properties"]["type"]["const"] == kind
    assert set(docs.EVENTS) == {
        model.model_fields["type"].annotation.__args__[0] for model in EVENT_MODELS
    }


def test_every_live_event_is_documented_and_so_is_what_is_not_told(root: Path) -> None:
    page = (root / "docs" / "stream.md").read_text()
    for kind in (*TYPES, *STREAM_TYPES):
        assert f"| `{kind}` |" in page
    for kind in ("task.completed", "system.alert"):
        assert f"`{kind}`" in page
        assert kind not in TYPES


def test_the_api_document_names_every_path(root: Path) -> None:
    document = json.loads((root / "docs" / "openapi.json").read_text())
    assert document["openapi"].startswith("3.")
    for path in (
        "/events",
        "/hooks/{agent}",
        "/search",
        "/health",
        "/sessions",
        "/export",
        "/forget",
        "/stream/events",
    ):
        assert f"/api/v1{path}" in document["paths"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path} says nothing of itself"


def all_errors() -> set[type[MemError]]:
    for module in pkgutil.walk_packages(claude_mem.__path__, "claude_mem."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[MemError]] = {MemError}
    waiting = [MemError]
    while waiting:
        for one in waiting.pop().__subclasses__():
            found.add(one)
            waiting.append(one)
    return found


def codes(root: Path) -> set[str]:
    """Every code that can reach a person: of errors, of commands, of the worker's diagnosis."""
    found = {error.code for error in all_errors()}
    for path in (root / "src" / "claude_mem" / "cli").glob("*.py"):
        found |= set(re.findall(r'code(?:: str)? ?= ?"([A-Z_]+)"', path.read_text()))
    text = (root / "src" / "claude_mem" / "worker" / "diagnosis.py").read_text()
    found |= {code.upper() for code in re.findall(r'Problem\(\s*"([a-z_]+)"', text)}
    found |= {code.upper() for code in re.findall(r'[:,] \(\s*"([a-z_]+)",', text)}
    return found


def test_every_error_code_says_what_to_do(root: Path) -> None:
    found = codes(root)
    assert {"AUTH_MISSING", "STORE_FULL", "PORT_TAKEN", "USAGE", "PORT_CONFLICT"} <= found
    page = (root / "docs" / "errors.md").read_text()
    documented = set(re.findall(r"^#+ ([A-Z_]+)$", page, re.MULTILINE))
    assert documented == found


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_links_lead_somewhere(name: str, root: Path) -> None:
    path = root / name
    for target, _ in LINK.findall(path.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{name} links to {target}"


def code_of(text: str) -> Iterator[str]:
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_commands_that_are_named_exist(name: str, root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    known = {command.split()[0] for command in docs.commands()}
    seen = 0
    for line in code_of((root / name).read_text()):
        for target in re.findall(r"(?:^|[ /])make ([a-z]+)\b", line):
            assert target in targets, f"{name}: make {target}"
            seen += 1
        for command in re.findall(r"(?:^|/)claude-mem ([a-z]+)\b", line):
            assert command in known, f"{name}: claude-mem {command}"
            seen += 1
    if name == "README.md":
        assert seen >= 8


def test_the_readmes_table_of_commands_names_real_ones(root: Path) -> None:
    rows = re.findall(r"^\| (`[a-z`, ]+`[^|]*) \|", (root / "README.md").read_text(), re.MULTILINE)
    named = {word for row in rows for word in re.findall(r"`([a-z]+)(?: [a-z]+)?`", row)}
    assert len(named) >= 8
    assert named <= {command.split()[0] for command in docs.commands()}


def test_architecture_names_only_what_is_there(root: Path) -> None:
    text = (root / "ARCHITECTURE.md").read_text()
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (root / path).exists(), path
    for name in re.findall(
        r"`(?:src/claude_mem/)?((?:domains|adapters|api|app|hook|worker)/[\w/.]+)`", text
    ):
        assert (root / "src" / "claude_mem" / name).exists(), name


def test_the_security_pages_tests_exist(root: Path) -> None:
    for path in re.findall(r"`(tests/[\w/.]+)`", (root / "SECURITY.md").read_text()):
        assert (root / path).exists(), path
