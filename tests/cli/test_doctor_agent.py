"""`claude-mem doctor` on the side of the agent: hooks, settings and the MCP server as the client will find them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from doctor_support import change, examine, one, trouble

from claude_mem.app.doctor import client
from claude_mem.hook import mcp_registration
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.installation import install

pytestmark = pytest.mark.slow


def test_hooks_that_are_not_installed(home: Path, settings: Path) -> None:
    settings.unlink()
    found = one(examine(code=1), "hooks")
    assert (found["status"], found["fix"], found["safe_fix"]) == (
        "fail",
        "claude-mem install",
        False,
    )
    settings.write_text(json.dumps({"enabledPlugins": {client.PLUGIN: True}}))
    assert "hooks" not in trouble(examine(code=0))


def test_missing_events_are_named(home: Path, settings: Path) -> None:
    value = json.loads(settings.read_text())
    del value["hooks"]["Stop"]
    settings.write_text(json.dumps(value))
    assert "Stop" in one(examine(code=0), "hooks")["found"]


def test_events_left_out_by_choice_are_no_fault(home: Path, settings: Path) -> None:
    settings.unlink()
    install(home, settings, sys.executable, [it for it in EVENTS if it != "Stop"])
    assert "hooks" not in trouble(examine(code=0))


def test_an_interpreter_that_is_gone(home: Path, settings: Path) -> None:
    settings.write_text(settings.read_text().replace(sys.executable, "/nowhere/python3"))
    found = one(examine(code=1), "hooks.python")
    assert "/nowhere/python3 is gone" in found["found"]


def test_a_hook_of_another_version_is_written_anew(home: Path) -> None:
    (home / "hook" / "VERSION").write_text("0.0.1\n")
    assert one(examine(code=0), "hook.file")["safe_fix"] is True
    found = examine("--fix", code=0)
    assert {"fix": "hook", "result": "done", "said": "wrote the hook anew"} in found["fixed"]
    assert "hook.file" not in trouble(found)


def test_a_hook_that_is_gone_comes_back(home: Path) -> None:
    (home / "hook" / "hook.py").unlink()
    assert trouble(examine(code=1))["hooks.script"] == "fail"
    examine("--fix", code=0)
    assert (home / "hook" / "hook.py").exists()


def test_switched_off_hooks_and_other_programs_are_told(home: Path, settings: Path) -> None:
    plugins = {"claude-mem@thedotmack": True}
    change(settings, {"disableAllHooks": True, "enabledPlugins": plugins})
    before = settings.read_bytes()
    found = examine("--fix", code=1)
    assert one(found, "hooks.off")["status"] == "fail"
    assert one(found, "hooks.other")["fix"] == "claude plugin disable claude-mem@thedotmack"
    assert settings.read_bytes() == before, "a person's settings are theirs"


def test_managed_settings_that_allow_no_hooks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed = tmp_path / "managed-settings.json"
    managed.write_text(json.dumps({"allowManagedHooksOnly": True}))
    monkeypatch.setattr(client, "_MANAGED", {"linux": str(managed), "darwin": str(managed)})
    assert trouble(examine(code=1))["hooks.managed"] == "fail"


def test_hooks_for_person_and_project_are_one_too_many(home: Path) -> None:
    install(home, Path(".claude/settings.local.json").absolute(), sys.executable, EVENTS)
    assert trouble(examine(code=0))["hooks.twice"] == "warn"


def test_a_settings_file_the_client_cannot_read(home: Path, settings: Path) -> None:
    settings.write_text("{ no json")
    found = examine(code=1)
    assert "not valid JSON" in one(found, "settings.client")["found"]
    assert "cannot be told" in one(found, "hooks")["found"]


def test_an_mcp_server_that_is_missing_or_gone(home: Path) -> None:
    mcp_registration.server_path(home).unlink()
    assert trouble(examine(code=1))["mcp"] == "fail"
    examine("--fix", code=0)
    assert mcp_registration.server_path(home).exists()
    text = mcp_registration.config_path().read_text()
    mcp_registration.config_path().write_text(text.replace(str(home), "/elsewhere"))
    assert "/elsewhere" in one(examine(code=0), "mcp")["found"]
    mcp_registration.config_path().unlink()
    assert one(examine(code=0), "mcp")["fix"] == "claude-mem install"
