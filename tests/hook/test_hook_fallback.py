"""The hook without a worker: masked, spooled, bounded, and never a nuisance."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hook_support import GITHUB_TOKEN, Installed, payload

from claude_mem.hook.agents.claude import to_events
from claude_mem.hook.spool import status
from claude_mem.kernel.ids import is_id

PROMPT = payload("UserPromptSubmit", prompt="为什么 the total is off by one cent")


def test_without_a_worker_the_event_is_spooled(hook: Installed) -> None:
    done = hook.run("UserPromptSubmit", PROMPT, CLAUDE_PROJECT_DIR="/home/dev/ledger")
    assert (done.stdout, done.stderr) == (b"", b"")
    [line] = hook.lines()
    assert line.payload == PROMPT
    assert is_id(line.id)
    assert (line.agent, line.event) == ("claude-code", "UserPromptSubmit")
    assert line.project_dir == "/home/dev/ledger"


def test_files_of_the_spool_are_private(hook: Installed) -> None:
    hook.run("UserPromptSubmit", PROMPT)
    for path in (hook.spool, hook.spool / "active.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(payload("UserPromptSubmit", prompt=f"the token is {GITHUB_TOKEN}")).encode(),
        json.dumps(payload("PostToolUse", tool_response={"stdout": [GITHUB_TOKEN]})).encode(),
        json.dumps(payload("PostToolUse", tool_input={GITHUB_TOKEN: 1})).encode(),
        b'{"cut": "' + GITHUB_TOKEN.encode(),
        GITHUB_TOKEN.encode(),
        b"\xff\xfe " + GITHUB_TOKEN.encode(),
        b'["' + GITHUB_TOKEN.encode() + b'"]',
        b'{"a":' * 3000 + b'"' + GITHUB_TOKEN.encode() + b'"' + b"}" * 3000,
        b"x" * (33 << 20) + GITHUB_TOKEN.encode(),
        GITHUB_TOKEN.encode() + b" x" * (17 << 20),
    ],
    ids=["prompt", "deep", "key", "cut", "text", "not utf-8", "list", "nested", "end", "overlong"],
)
def test_no_secret_reaches_the_disk(hook: Installed, raw: bytes) -> None:
    hook.run("PostToolUse", raw, CLAUDE_PROJECT_DIR=f"/home/dev/{GITHUB_TOKEN}")
    assert len(hook.lines()) == 1
    assert GITHUB_TOKEN.encode() not in hook.all_bytes()
    assert b"16C7e42F292c6912" not in hook.all_bytes()


def test_private_text_never_reaches_the_disk(hook: Installed) -> None:
    text = "the plan <private>sell in May</private> stands"
    hook.run("UserPromptSubmit", payload("UserPromptSubmit", prompt=text))
    [line] = hook.lines()
    assert line.payload is not None
    assert line.payload["prompt"] == "the plan [private] stands"


def test_what_is_not_json_is_kept_as_text(hook: Installed) -> None:
    hook.run("PostToolUse", b'{"half": ')
    [line] = hook.lines()
    assert (line.payload, line.payload_text) == (None, '{"half": ')


def test_a_payload_over_the_limit_is_cut_and_says_so(hook: Installed) -> None:
    size = (32 << 20) + 5
    hook.run("PostToolUse", b"y" * size)
    [line] = hook.lines()
    assert line.payload_bytes == size
    assert line.payload_text is not None
    assert set(line.payload_text) == {"y"}
    assert len(line.payload_text) > 900_000


def test_a_long_output_is_cut_before_it_is_masked(hook: Installed) -> None:
    """At each cut a margin goes: half a secret would not be known for one."""
    filler = "plain words " * 40_000
    at_cuts = "".join(f"{GITHUB_TOKEN} " for _ in range(60_000))
    for text in (filler + GITHUB_TOKEN, at_cuts):
        hook.run("PostToolUse", payload("PostToolUse", tool_response={"stdout": text}))
    first, second = (line.payload or {} for line in hook.lines())
    kept = first["tool_response"]["stdout"]
    assert kept.startswith("plain words")
    assert kept.endswith("[masked:github-token]")
    assert f"of {len(filler + GITHUB_TOKEN)} characters left out" in kept
    assert len(kept) < 140_000
    rest = second["tool_response"]["stdout"].replace("[masked:github-token]", "")
    assert GITHUB_TOKEN[4:12] not in rest
    assert GITHUB_TOKEN[-8:] not in rest


def test_a_private_block_around_a_cut_stays_private(hook: Installed) -> None:
    text = "said <private>" + "sell in May " * 60_000 + "</private> done"
    hook.run("PostToolUse", payload("PostToolUse", tool_response={"stdout": text}))
    assert b"sell in May" not in hook.all_bytes()
    assert len(hook.lines()) == 1


OVERLONG = {
    "too large": {"stdout": "y " * (17 << 20)},
    "too many texts": {"lines": ["a line of words " * 4] * 60_000},
}


@pytest.mark.parametrize("name", OVERLONG)
def test_what_cannot_be_taken_whole_is_told_in_outline(hook: Installed, name: str) -> None:
    fields = {"tool_name": "Bash", "tool_response": OVERLONG[name]}
    hook.run("PostToolUse", payload("PostToolUse", **fields))
    [line] = hook.lines()
    assert line.payload is not None
    assert line.payload["session_id"] == "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2"
    assert line.payload["tool_name"] == "Bash"
    assert "bytes the rest was left out" in line.payload["tool_response"]
    [event] = to_events(line.payload, line.id, line.ms)
    assert event["type"] == "tool.used"


def test_a_payload_nested_too_deep_is_told_in_outline(hook: Installed) -> None:
    deep = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    raw = b'{"session_id":"s-1","tool_name":"X","tool_response":' + deep + b"}"
    hook.run("PostToolUse", raw)
    [line] = hook.lines()
    assert line.payload is not None
    assert (line.payload["session_id"], line.payload["tool_name"]) == ("s-1", "X")


def test_a_prompt_over_the_limit_keeps_its_beginning(hook: Installed) -> None:
    prompt = f'He said "no", {GITHUB_TOKEN}\n' + "more " * (7 << 20)
    hook.run("UserPromptSubmit", payload("UserPromptSubmit", prompt=prompt))
    [line] = hook.lines()
    assert line.payload is not None
    assert line.payload["prompt"].startswith('He said "no", [masked:github-token]\nmore more')


def test_half_an_emoji_does_not_break_the_line(hook: Installed) -> None:
    hook.run("UserPromptSubmit", b'{"session_id": "s", "prompt": "half \\ud83d of one\\nand more"}')
    [line] = hook.lines()
    assert line.payload is not None
    assert line.payload["prompt"].startswith("half ")
    assert line.payload["prompt"].endswith(" of one\nand more")


@pytest.mark.parametrize("raw", [b"", b"\n", b"null", b"\x00\x01", b"[]", b"{}"])
def test_any_stdin_is_survived(hook: Installed, raw: bytes) -> None:
    done = hook.run("Stop", raw)
    assert done.stdout == b""
    assert len(hook.lines()) == (1 if raw else 0)


def test_stdin_may_be_closed_and_the_event_unnamed(hook: Installed) -> None:
    command = hook.command("x")[:-1]
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == b""


def test_a_deleted_data_folder_is_silence_not_a_blocked_prompt(hook: Installed) -> None:
    """An interpreter whose script is gone exits with 2, which would block every prompt."""
    shutil.rmtree(hook.home / "hook")
    done = hook.run("UserPromptSubmit", PROMPT)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_file_runs_as_a_program_too(hook: Installed) -> None:
    program = [sys.executable, "-I", "-S", str(hook.home / "hook" / "hook.py"), "Stop"]
    subprocess.run(program, input=b"{}", check=True, env={})
    assert [line.event for line in hook.lines()] == ["Stop"]


def test_a_missing_data_folder_is_made_when_needed(hook: Installed, folder: Path) -> None:
    elsewhere = folder / "elsewhere" / "hook"
    elsewhere.mkdir(parents=True)
    (elsewhere / "hook.py").write_bytes((hook.home / "hook" / "hook.py").read_bytes())
    moved = Installed(folder / "elsewhere")
    done = moved.run("UserPromptSubmit", PROMPT)
    assert done.stderr == b""
    assert len(moved.lines()) == 1


def test_it_works_when_the_folder_it_ran_in_is_gone(hook: Installed, folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    command = [*hook.command("UserPromptSubmit")]
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    raw = json.dumps({"session_id": "s", "prompt": "p"}).encode()
    subprocess.run(["/bin/sh", "-c", script, "sh", *command], input=raw, check=True)
    assert len(hook.lines()) == 1


def test_the_hook_file_alone_is_enough(hook: Installed) -> None:
    for copy in hook.home.glob("hook/slow_*.py"):
        copy.unlink()
    hook.run("UserPromptSubmit", PROMPT)
    assert len(hook.lines()) == 1


@pytest.mark.parametrize("name", ["hook", "slow_"])
@pytest.mark.parametrize("keep", [0, 10, 16, 200])
def test_a_damaged_compiled_copy_is_ignored(hook: Installed, name: str, keep: int) -> None:
    hook.run("UserPromptSubmit", PROMPT)
    [compiled] = hook.home.glob(f"hook/__pycache__/{name}*.pyc")
    compiled.write_bytes(compiled.read_bytes()[:keep])
    hook.run("UserPromptSubmit", PROMPT)
    assert len(hook.lines()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the next test covers it")
def test_a_read_only_data_folder_is_survived(hook: Installed) -> None:
    hook.home.chmod(0o500)
    done = hook.run("UserPromptSubmit", PROMPT)
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1


def test_a_spool_that_cannot_be_a_folder_is_said_once_on_stderr(hook: Installed) -> None:
    hook.spool.write_text("in the way")
    done = hook.run("Stop", PROMPT)
    assert done.stdout == b""
    assert done.stderr.startswith(b"claude-mem: the event could not be kept")
    assert done.stderr.count(b"\n") == 1


def test_a_disk_that_is_full_leaves_no_half_line(hook: Installed) -> None:
    """RLIMIT_FSIZE makes write() fall short and then fail, as a full disk does."""
    hook.run("UserPromptSubmit", PROMPT)
    before = (hook.spool / "active.jsonl").read_bytes()
    limit = len(before) + 50
    code = (
        "import os,resource,signal,sys;signal.signal(signal.SIGXFSZ,signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE,({limit},{limit}));os.execv(sys.argv[1],sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *hook.command("UserPromptSubmit")],
        input=json.dumps(PROMPT).encode(),
        capture_output=True,
    )
    assert done.returncode == 0
    assert b"could not be kept" in done.stderr
    assert (hook.spool / "active.jsonl").read_bytes() == before
    assert status(hook.spool).refused == {"UserPromptSubmit": 1}


def test_tool_events_are_refused_first_and_prompts_last(hook: Installed) -> None:
    (hook.home / "hook" / "limits").write_text("20000 30000 40000")
    events = ["PostToolUse", "SessionEnd", "UserPromptSubmit"]
    accepted: dict[str, list[int]] = {event: [] for event in events}
    said = shown = 0
    for _ in range(25):
        for event in events:
            before = status(hook.spool).events if hook.spool.exists() else 0
            done = hook.run(event, payload(event, filler="f" * 900))
            if done.stdout:
                assert "the spool is full" in json.loads(done.stdout)["systemMessage"]
                shown += 1
            said += done.stderr.count(b"\n")
            if status(hook.spool).events > before:
                accepted[event].append(status(hook.spool).bytes)
    ends = [max(accepted[event]) for event in events]
    assert ends[0] <= 20000 < ends[1] <= 30000 < ends[2] <= 40000
    refused = status(hook.spool).refused
    assert {event: 25 - len(accepted[event]) for event in events} == refused
    assert refused["PostToolUse"] > refused["SessionEnd"] > refused["UserPromptSubmit"] > 0
    assert said == shown == 1  # many refusals within a minute, one line and one message


@pytest.mark.parametrize("where", ["project", "root"])
def test_a_project_that_opted_out_is_not_spooled(hook: Installed, folder: Path, where: str) -> None:
    project = folder / "project"
    (project / ".git").mkdir(parents=True)
    (project / "src").mkdir()
    off = project / "src" if where == "project" else project
    (off / ".claude-mem-off").touch()
    hook.run("UserPromptSubmit", PROMPT | {"cwd": str(project / "src")})
    assert hook.lines() == []
    hook.run("UserPromptSubmit", b"not json", CLAUDE_PROJECT_DIR=str(project / "src"))
    assert hook.lines() == []
    hook.run("PostToolUse", PROMPT | {"cwd": "/tmp"}, CLAUDE_PROJECT_DIR=str(project / "src"))
    assert hook.lines() == []
