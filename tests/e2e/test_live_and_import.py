"""A session captured live and then imported is there once, and the import adds what hooks do not carry."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.durability import Site, eventually
from bench.live import session_calls

from claude_mem.cli.import_run import run_import

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "src/claude_mem/assets/sample/transcripts/-home-dev-slotwise"
# Chinese with failing commands and edits; English with a subagent.
SESSIONS = ("094a2d29-bd5d-4972-9c13-560bd2a947ea", "02ca34d4-d40d-4d83-819a-0f28698f2b44")
Rows = dict[str, Counter[tuple[Any, ...]]]
_TELLING = {
    "prompt": ("prompt_type", "content", "subagent_id"),
    "observation": (
        "observation_type",
        "title",
        "content",
        "command",
        "exit_status",
        "subagent_id",
    ),
    "code_change": (
        "file_path",
        "operation",
        "lines_added",
        "lines_removed",
        "diff",
        "reason_text",
    ),
}


@pytest.fixture(params=SESSIONS)
def transcript(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A session's transcript with its subagents', as the agent left them a while ago."""
    folder = tmp_path / "projects" / "-home-dev-slotwise"
    folder.mkdir(parents=True)
    source = SAMPLES / f"{request.param}.jsonl"
    copy = folder / source.name
    shutil.copy(source, copy)
    if source.with_suffix("").is_dir():
        shutil.copytree(source.with_suffix(""), copy.with_suffix(""))
    for path in folder.rglob("*.jsonl"):
        os.utime(path, (time.time() - 600, time.time() - 600))
    return copy


def rows(site: Site) -> Rows:
    """What is remembered, without ids and times, by kind."""
    found: Rows = {kind: Counter() for kind in _TELLING}
    with site.client() as client:
        for line in client.export_lines():
            row = json.loads(line)
            if row["kind"] in found:
                found[row["kind"]][tuple(row[name] for name in _TELLING[row["kind"]])] += 1
    return found


def session_of(site: Site) -> dict[str, Any]:
    with site.client() as client:
        (session,) = client.request("GET", "/sessions")["data"]
    return dict(session)


def play(site: Site, calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Run the hooks of a session one after the other, as the agent does."""
    for event, payload in calls:
        process = site.hook(event, payload)
        out, complaint = process.communicate(timeout=60)
        assert (process.returncode, out, complaint) == (0, b"", b"")
    site.settle()


def without_replies(found: Rows) -> Counter[tuple[Any, ...]]:
    return Counter({row: n for row, n in found["prompt"].items() if row[0] != "assistant"})


def test_importing_what_was_captured_live_adds_only_what_hooks_do_not_carry(
    make_site: Callable[[], Site], transcript: Path
) -> None:
    live, imported = make_site(), make_site()
    play(live, session_calls(transcript))
    before = rows(live)
    assert before["observation"]
    assert before["code_change"]
    assert session_of(live)["token_count"] == 0, "hooks carry no token counts"

    first = run_import(live.home, transcript.parent)
    after = rows(live)
    assert first["events"] > 0
    assert after["observation"] == before["observation"]
    replies = after["prompt"] - before["prompt"]
    assert before["prompt"] - after["prompt"] == Counter()
    assert {row[0] for row in replies} <= {"assistant", "system"}, "no prompt of a person doubles"
    assert session_of(live)["token_count"] > 0

    again = run_import(live.home, transcript.parent)
    assert again["new"] == 0
    assert rows(live) == after

    run_import(imported.home, transcript.parent)
    alone = rows(imported)
    assert after == alone
    assert session_of(live)["token_count"] == session_of(imported)["token_count"]
    reasons = [row[-1] for row in after["code_change"]]
    assert any(reasons), "the import knows why code was changed"


def test_hooks_that_name_the_transcript_leave_nothing_to_import(
    make_site: Callable[[], Site], transcript: Path
) -> None:
    live, imported = make_site(), make_site()
    play(live, session_calls(transcript, recorded_at=transcript))
    run_import(imported.home, transcript.parent)
    alone = rows(imported)
    if not transcript.with_suffix("").exists():  # a subagent's own file is not named in these calls
        eventually(lambda: rows(live) == alone, "the worker has caught up with the transcript")
    else:
        eventually(
            lambda: session_of(live)["token_count"] > 0, "the worker has read the transcript"
        )
    live.settle()

    run_import(live.home, transcript.parent)
    assert rows(live) == alone
    assert session_of(live)["token_count"] == session_of(imported)["token_count"]
