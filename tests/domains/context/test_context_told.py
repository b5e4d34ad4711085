"""Nothing is told a session twice: not in other words, and not what a hook or a late answer gave it already."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.local.rendered import RenderedFiles
from claude_mem.app.build import System
from claude_mem.domains.context import answer as module
from claude_mem.domains.context.answer import HookContext
from claude_mem.domains.context.interest import words_of
from claude_mem.domains.context.model import Parts, Scored, Unit
from claude_mem.domains.context.selection import distinct
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

pytestmark = pytest.mark.usefixtures("patient")
SCOPE = local_scope()
PLACE = "/home/dev/ledger"
RULE = "Always round half to even in the ledger totals"


def scored(text: str, score: float = 0.5) -> Scored:
    unit = Unit("learning", new_id(), "fact", text, None, 0, 0.0)
    return Scored(unit, Parts(score, score, score, score), 10, words_of(text), score)


@pytest.mark.parametrize(
    "text",
    [
        "Round half to even in ledger totals, always.",
        "Ledger totals: round half to even",
        "ledger totals",
    ],
)
def test_what_says_the_same_as_what_was_told_is_left_out(text: str) -> None:
    other = scored("The export writes one line a booking")
    assert distinct([scored(text), other], [words_of(RULE)]) == [other]
    assert len(distinct([scored(text), other])) == 2


def test_of_two_the_lesser_goes_where_the_better_says_it_all() -> None:
    long, short = scored(RULE, 0.9), scored("ledger totals", 0.1)
    assert distinct([short, long]) == [long]


def test_a_rendered_context_is_read_as_it_was_saved(tmp_path: Path) -> None:
    files = RenderedFiles(tmp_path)
    record = {"place": PLACE, "project_id": "p", "text": "words", "units": [["fact", "i", "u"]]}
    assert files.load(SCOPE, PLACE) is None
    files.save(SCOPE, record, files.generation)
    assert files.load(SCOPE, PLACE) == {"v": 1, **record}
    assert files.load(SCOPE, PLACE + "/sub") is None
    path = next((tmp_path / "context").glob("*.json"))
    for spoilt in ("", "[]", "{}", json.dumps(record | {"v": 1, "text": ""})):
        path.write_text(spoilt)
        assert files.load(SCOPE, PLACE) is None


def test_a_folder_that_two_enterprises_have_is_told_to_its_own_only(tmp_path: Path) -> None:
    """`/app` in a container is many people's."""
    files, other = RenderedFiles(tmp_path), replace(SCOPE, enterprise_id=new_id())
    record = {"place": PLACE, "project_id": "p", "text": "words", "units": [["fact", "i", "u"]]}
    files.save(other, record, files.generation)
    assert files.load(SCOPE, PLACE) is None
    files.save(SCOPE, record, files.generation)
    assert files.load(SCOPE, PLACE) is not None
    assert files.load(other, PLACE) is None
    assert list(files.places(SCOPE, "p")) == [PLACE]
    assert list(files.places(other, "p")) == []
    note = tmp_path / "context" / f"{sha256(b's').hexdigest()[:32]}.given"
    note.write_text(json.dumps({"session": "s", "units": [["fact", "i", "u"]]}))
    assert list(files.given(other, "s")) == []
    assert list(files.given(SCOPE, "s")) == [["fact", "i", "u"]]


def hook_context(system: System) -> HookContext:
    found = system.parts.state["context"]
    assert isinstance(found, HookContext)
    return found


async def remember(system: System) -> None:
    """A session at PLACE in which the rule was said."""
    await remember_prompt(system, f"{RULE}.")


async def remember_prompt(system: System, content: str) -> None:
    """A prompt of the earlier session at PLACE."""
    data = {"content": content, "origin": "live"}
    event = {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "earlier",
        "project": PLACE,
        "data": data,
    }
    capture = system.parts.state["capture"]
    await capture.accept(SCOPE, [event])
    await capture.drain_all()


def payload(event: str, session: str, **fields: Any) -> dict[str, Any]:
    return {"hook_event_name": event, "session_id": session, "cwd": PLACE} | fields


async def told(context: HookContext, event: str, session: str, **fields: Any) -> str:
    body = await context.answer(SCOPE, event, payload(event, session, **fields), "")
    await context.settle()
    return str(json.loads(body)["hookSpecificOutput"]["additionalContext"]) if body else ""


async def test_a_late_beginning_gets_what_was_rendered_last(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remember(system)
    context = hook_context(system)
    first = await told(context, "SessionStart", "one", source="startup")
    assert RULE in first

    async def never(*_: object) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(module, "START_S", 0.01)
    with monkeypatch.context() as held:
        held.setattr(context, "_start", never)
        assert await told(context, "SessionStart", "two", source="startup") == first
        assert await told(context, "SessionStart", "three", source="resume") == ""
    prompt = "How do we round the ledger totals, half to even?"
    assert RULE not in await told(context, "UserPromptSubmit", "two", prompt=prompt)
    assert RULE in await told(context, "UserPromptSubmit", "three", prompt=prompt)


async def test_what_a_hook_gave_by_itself_is_not_given_at_the_first_prompt(
    system: System, private_home: Path
) -> None:
    await remember(system)
    context = hook_context(system)
    assert RULE in await told(context, "SessionStart", "one", source="startup")
    folder = private_home / ".claude-mem" / "context"
    record = json.loads(next(folder.glob("*.json")).read_text())
    name = sha256(b"two").hexdigest()[:32]
    note = {"v": 1, "session": "two", "at": now_ms(), "units": record["units"]}
    (folder / f"{name}.given").write_text(json.dumps(note))
    prompt = "How do we round the ledger totals, half to even?"
    assert RULE not in await told(context, "UserPromptSubmit", "two", prompt=prompt)
    assert not (folder / f"{name}.given").exists()


async def test_a_prompt_asked_again_is_not_told_itself(system: System) -> None:
    await remember(system)
    asked = "Which quarter of the ledger is rounded oddly?"
    context = hook_context(system)
    await remember_prompt(system, asked)
    given = await told(context, "UserPromptSubmit", "other", prompt=asked)
    assert RULE in given
    assert asked not in given
