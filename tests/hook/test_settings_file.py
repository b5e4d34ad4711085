"""Claude Code's settings: what is merged, what is taken out, what is never touched."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.settings_file import (
    SettingsError,
    handler,
    has_own_plugin,
    is_ours,
    means_the_same,
    merge,
    ours_in,
    read_settings,
    upstream_signs,
    without_ours,
    write_settings,
)

HOOK = "/home/dev/.claude-mem/hook/hook.py"
WANTED = {event: handler("/usr/bin/python3", HOOK, event) for event in EVENTS}
OLD_FORM = {
    "type": "command",
    "command": "/old/python",
    "args": ["-I", "-S", "/old/hook/hook.py", "Stop"],
}
OTHER = {"type": "command", "command": "notify-send done"}
OTHER_GROUP = {"matcher": "Bash", "hooks": [OTHER]}

SETTINGS: dict[str, dict[str, Any]] = {
    "empty": {},
    "unrelated": {"model": "opus", "permissions": {"allow": ["Bash(ls:*)"]}, "x": None},
    "other hooks": {"hooks": {"Stop": [OTHER_GROUP], "PreToolUse": [OTHER_GROUP]}, "model": "opus"},
    "two in a group": {"hooks": {"Stop": [{"hooks": [OTHER, OTHER]}]}},
    "odd groups": {"hooks": {"Stop": [None, 5, {}, {"hooks": None}, {"hooks": ["x", 1]}]}},
    "chinese": {"语言": "中文", "hooks": {"New": [{"hooks": [OTHER]}]}},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_merging_adds_one_handler_an_event_and_keeps_all_else(settings: dict[str, Any]) -> None:
    before = json.dumps(settings)
    merged = merge(settings, WANTED)
    assert json.dumps(settings) == before
    assert ours_in(merged) == {event: [one] for event, one in WANTED.items()}
    assert json.dumps(without_ours(merged)) == before
    assert json.dumps(merge(merged, WANTED)) == json.dumps(merged)


def test_the_handler_is_exec_form_with_its_own_timeout() -> None:
    one = WANTED["PostToolUse"]
    assert (one["type"], one["command"], one["timeout"]) == ("command", "/usr/bin/python3", 5)
    assert one["args"][:2] == ["-I", "-S"]
    assert one["args"][-2:] == [HOOK, "PostToolUse"]
    assert WANTED["SessionEnd"]["timeout"] == 10
    assert not any("$" in part for part in one["args"])  # the client would substitute it
    assert "matcher" not in merge({}, WANTED)["hooks"]["PostToolUse"][0]


@pytest.mark.parametrize("stale", [OLD_FORM, handler("/gone/python", "/gone/hook/hook.py", "Stop")])
def test_a_stale_handler_is_replaced_where_it_stands(stale: dict[str, Any]) -> None:
    settings = {"hooks": {"Stop": [{"matcher": "", "hooks": [OTHER, stale, OTHER]}]}}
    merged = merge(settings, WANTED)
    group = {"matcher": "", "hooks": [OTHER, WANTED["Stop"], OTHER]}
    assert merged["hooks"]["Stop"] == [group]
    assert without_ours(merged) == {"hooks": {"Stop": [{"matcher": "", "hooks": [OTHER, OTHER]}]}}


def test_doubles_and_unwanted_ones_are_taken_out() -> None:
    settings = merge({"hooks": {"Stop": [OTHER_GROUP]}}, WANTED)
    settings["hooks"]["Stop"].append({"hooks": [WANTED["Stop"]]})
    fewer = {event: one for event, one in WANTED.items() if event != "PostToolUse"}
    merged = merge(settings, fewer)
    assert merged["hooks"]["Stop"] == [OTHER_GROUP, {"hooks": [WANTED["Stop"]]}]
    assert "PostToolUse" not in merged["hooks"]


def test_a_group_with_a_key_we_do_not_know_stays() -> None:
    settings = {"hooks": {"Stop": [{"hooks": [WANTED["Stop"]], "note": "mine"}]}}
    assert without_ours(settings) == {"hooks": {"Stop": [{"hooks": [], "note": "mine"}]}}


@pytest.mark.parametrize(
    "other",
    [
        None,
        "text",
        {"type": "http", "url": "http://127.0.0.1/hook/hook.py"},
        {"type": "command", "command": "python3 /home/dev/hook/hook.py Stop"},
        {"type": "command", "command": "python3", "args": ["/home/dev/hook/hook.py", "Stop"]},
        {"type": "command", "command": "p", "args": ["-I", "-S", "/home/dev/myhook.py", "Stop"]},
        {"type": "command", "command": "p", "args": ["-I", "-S", "/h/hook/hook.py", "--all"]},
        {"type": "command", "command": "p", "args": "-I -S /h/hook/hook.py Stop"},
    ],
)
def test_what_is_not_ours_is_not_taken_for_ours(other: object) -> None:
    assert not is_ours(other)
    settings = {"hooks": {"Stop": [{"hooks": [other]}]}}
    assert without_ours(settings) == settings


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"hooks": {}}, True),
        ({"hooks": {"Stop": []}}, {}, True),
        ({"a": 1}, {"a": 1, "hooks": {"Stop": []}}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"hooks": {"Stop": [OTHER_GROUP]}}, {"hooks": {}}, False),
    ],
)
def test_empty_hooks_mean_nothing(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert means_the_same(one, other) is same


def test_the_other_program_of_our_name_is_noticed() -> None:
    settings = {
        "enabledPlugins": {"claude-mem@thedotmack": True, "claude-mem@off": False, "x@y": True},
        "hooks": {
            "Stop": [{"hooks": [{"type": "command", "command": "node ~/claude-mem/worker.js"}]}],
            "SessionEnd": [OTHER_GROUP, {"hooks": [WANTED["SessionEnd"]]}],
        },
    }
    assert upstream_signs(settings) == ["plugin claude-mem@thedotmack", "hook on Stop"]
    assert upstream_signs(merge({}, WANTED)) == []


def test_our_own_plugin_is_not_another_program() -> None:
    settings = {"enabledPlugins": {"memory@claude-mem": True}}
    assert has_own_plugin(settings)
    assert upstream_signs(settings) == []
    for other in ({}, {"enabledPlugins": {"memory@claude-mem": False}}, {"enabledPlugins": []}):
        assert not has_own_plugin(other)


BROKEN = {
    "cut": ('{"model": "opus",\n  "hooks": ', "line 2"),
    "comment": ('{\n  // mine\n  "model": 1}', "line 2, column 3"),
    "trailing comma": ('{"a": 1,\n}', "line"),
    "list": ("[1]", "no JSON object"),
    "text": ('"x"', "no JSON object"),
    "null": ("null", "no JSON object"),
    "hooks list": ('{"hooks": []}', '"hooks" is not an object'),
    "event object": ('{"hooks": {"Stop": {}}}', "is not a list"),
    "twice": ('{"hooks": {}, "model": 1, "hooks": {}}', 'the key "hooks" stands twice'),
    "deep": ('{"a":' * 6000, "cannot be changed safely"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_settings(path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(SettingsError):
        read_settings(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path)


STYLES = {
    "two spaces": '{\n  "a": 1\n}\n',
    "four spaces": '{\n    "a": {\n        "b": []\n    }\n}\n',
    "tabs": '{\n\t"a": 1\n}\n',
    "no last newline": '{\n  "a": 1\n}',
    "windows": '{\r\n  "a": 1\r\n}\r\n',
    "mark": '\ufeff{\n  "a": 1\n}\n',
    "escapes": '{\n  "a": "\\u4e2d"\n}\n',
    "chinese": '{\n  "a": "中"\n}\n',
    "surrogate": '{\n  "a": "\\ud83d"\n}\n',
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_the_style_of_a_file_is_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode())
    file = read_settings(path)
    write_settings(file, merge(file.settings, WANTED))
    changed = read_settings(path)
    assert changed.raw != file.raw
    write_settings(changed, without_ours(changed.settings))
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_mode_and_links_are_kept_and_a_backup_made(tmp_path: Path, mode: int) -> None:
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text('{"a": 1}')
    real.chmod(mode)
    link = tmp_path / "settings.json"
    link.symlink_to(real)
    backup = write_settings(read_settings(link), {"b": 2}, now=0)
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"b": 2}
    assert backup == real.parent / "claude.json.claude-mem-backup-19700101T000000Z"
    assert backup.read_text() == '{"a": 1}'
    assert stat.S_IMODE(real.stat().st_mode) == mode
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600, (
        "it may hold what is nobody else's business"
    )
    second = write_settings(read_settings(link), {"c": 3}, now=0)
    assert second is not None
    assert second.name.endswith("Z-2")
    assert len(list(real.parent.iterdir())) == 3


def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{}")
    file = read_settings(path)
    path.write_text('{"theirs": 1}')
    with pytest.raises(SettingsError, match="changed by another program"):
        write_settings(file, {"ours": 1})
    assert path.read_text() == '{"theirs": 1}'
    absent = read_settings(tmp_path / "none.json")
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(SettingsError, match="changed by another program"):
        write_settings(absent, {"ours": 1})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_new_file_is_private_and_has_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.json"
    assert write_settings(read_settings(path), {"a": 1}) is None
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
