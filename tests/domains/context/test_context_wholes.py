"""The best of what a search finds is told whole, within a share of the room, and neither it nor a piece of it twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_mem.app.build import System
from claude_mem.domains.context.answer import HookContext
from claude_mem.domains.context.found import WHOLE_MOST, WHOLES_SHARE, Wholes, asks_again, units_of
from claude_mem.domains.context.interest import of_query, words_of
from claude_mem.domains.context.model import Parts, Scored, SessionLine, Unit, unit_keys
from claude_mem.domains.context.render import Frame, render
from claude_mem.domains.context.selection import unsaid, whole_hits
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.model import Hit
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

SCOPE = local_scope()
NOW = 1_790_000_000_000
PLACE = "/home/dev/ledger"
PLAN = (
    "The column can be widened without a stop of the ledger. So the plan is:\n\n"
    "1. Add the new column beside the old one, and a trigger that keeps both in step.\n\n"
    "2. Fill it in portions of 5,000 rows, with a pause of 200 ms after each.\n\n"
    "3. Bring the check in as NOT VALID first; validating it takes no lock that writers feel.\n\n"
    "4. Only the last release takes the old one away. Until then going back costs nothing, which is why nobody has to "
    "be awake for it: whatever goes wrong is seen by the comparison that runs each night, and mended in the morning."
)
INTEREST = of_query(("column", "widen"), [(("column", 0.5), ("widen", 0.4))])


def hit(text: str, kind: str = "prompt", **row: Any) -> Hit:
    made = {"content": text, "title": text[:40], "occurred_at": NOW, "session_id": "s"} | row
    return Hit(EntityRef(kind, new_id()), made, None, 0.5, (("column", 0.5),), (), ())


def units(found: Hit, room: float = 2_000, rank: int = 0) -> list[Unit]:
    return list(units_of(found, rank, 1.0, 0.5, INTEREST, Wholes.within(room)))


def scored(text: str, rank: int, tokens: int = 10) -> Scored:
    unit = Unit("prompt", new_id(), "passage", text, "s", NOW, 0.0, rank=rank)
    return Scored(unit, Parts(0.5, 0.5, 0.5, 0.0), tokens, words_of(text), 0.5)


# --- which ---------------------------------------------------------------------------------------


def test_a_hit_is_told_whole_beside_its_passages() -> None:
    whole, *passages = units(hit(PLAN), rank=3)
    assert whole.rank == 3
    assert "NOT VALID" in whole.text
    assert "taken away" not in whole.text
    assert whole.closeness == 1.0
    assert {it.rank for it in passages} == {None}
    assert {it.text for it in passages} <= set(whole.pieces)
    assert all(" ".join(piece.split()) in whole.text for piece in whole.pieces)
    assert not any("NOT VALID" in it.text and "trigger" in it.text for it in passages)


@pytest.mark.parametrize(
    ("text", "room"),
    [(PLAN, 300), (PLAN * 4, 20_000), ("", 2_000), ("\n \n", 2_000)],
    ids=["more than a quarter of the room", "too long for any room", "empty", "blank"],
)
def test_of_others_there_are_passages_alone(text: str, room: float) -> None:
    assert all(it.rank is None for it in units(hit(text), room))


def test_room_is_used_up() -> None:
    wholes = Wholes.within(1_000)
    texts = [f"{PLAN} {number}" for number in range(40)]
    taken = sum(wholes.take(text) for text in texts)
    assert 1 <= taken <= 12, "two times the share at most, and the one that goes over it"
    assert not wholes.take("short")


def test_the_best_ranked_that_fit_are_taken_each_once() -> None:
    first, long = scored("the ledger rounds half to even", 0, 40), scored("a long one", 1, 90)
    again = scored("half to even the ledger rounds", 2, 40)
    other, more = scored("exports have one line a booking", 3, 40), scored("a fourth thing", 4, 40)
    units = [more, other, again, long, first]
    assert whole_hits(units, 100, 80) == [first, other]
    assert whole_hits(units, 100, 39) == []
    assert whole_hits(units, 100, 80, [first.words]) == [other, more]


def test_what_a_whole_says_is_not_said_again() -> None:
    whole = scored("the ledger rounds half to even, and exports have one line a booking", 0)
    passage, other = (
        scored("exports have one line a booking", 1),
        scored("payments are in cents", 2),
    )
    assert unsaid([passage, other], [whole.words]) == [other]


def test_an_earlier_question_is_no_answer_whoever_asked() -> None:
    wanted = words_of("Which column do we widen?")
    for row in ({"prompt_type": "user"}, {"metadata_json": {"speaker": "Ada"}}):
        assert all(asks_again(it, wanted) for it in units(hit("Which column do we widen?", **row)))
    assert not any(asks_again(it, wanted) for it in units(hit(PLAN, prompt_type="user")))


# --- how -----------------------------------------------------------------------------------------


def test_who_said_it_is_told_by_name() -> None:
    (unit, *_) = units(hit("The column is wide.", metadata_json={"speaker": "Ada  Byron"}))
    assert unit.lead == "Ada Byron: "
    (unit, *_) = units(hit("The column is wide.", prompt_type="user"))
    assert unit.lead == "asked: "


def test_a_session_of_one_line_has_no_heading_of_its_own() -> None:
    sessions = {it: SessionLine(it, f"Talk {it}", NOW) for it in ("one", "two", "three")}
    found = [
        Unit("prompt", new_id(), "passage", text, session, NOW, 0.0)
        for session, text in (
            ("one", "alone here"),
            ("two", "first of two"),
            ("two", "second of two"),
            ("three", "alone there"),
        )
    ]
    items = [Scored(it, Parts(0.5, 1, 0.5, 0), 10, words_of(it.text), 0.5) for it in found]
    text, shown = render(Frame("p", 800, True, NOW, sessions), items, 0)
    assert len(shown) == 4
    assert "Talk two" in text
    assert "Talk one" not in text
    assert text.count("\n## ") == 2
    for unit in (found[0], found[3]):
        (line,) = [line for line in text.splitlines() if unit.text in line]
        assert f"[{unit.id[:8]}{unit.id[-4:]}]" in line, "there is nothing else to read it by"
    (line,) = [line for line in text.splitlines() if "first of two" in line]
    assert "[" not in line


# --- never twice ---------------------------------------------------------------------------------


def test_a_whole_is_known_by_each_of_its_pieces() -> None:
    whole, *passages = units(hit(PLAN))
    assert len(set(unit_keys(whole))) == len(whole.pieces) > 1
    for passage in passages:
        assert set(unit_keys(passage)) <= set(unit_keys(whole))


async def remember(system: System, *said: tuple[str, str]) -> None:
    events = [
        {
            "id": new_id(),
            "type": kind,
            "occurred_at": to_iso(now_ms() - 60_000 + number),
            "agent": "claude-code",
            "session": "earlier",
            "project": PLACE,
            "data": {"content": content},
        }
        for number, (kind, content) in enumerate(said)
    ]
    capture = system.parts.state["capture"]
    await capture.accept(SCOPE, events)
    await capture.drain_all()


async def told(context: HookContext, prompt: str, session: str = "now") -> str:
    payload = {
        "hook_event_name": "UserPromptSubmit",
        "session_id": session,
        "cwd": PLACE,
        "prompt": prompt,
    }
    body = await context.answer(SCOPE, "UserPromptSubmit", payload, "")
    await context.settle()
    return str(json.loads(body)["hookSpecificOutput"]["additionalContext"]) if body else ""


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_was_told_whole_is_not_told_in_pieces_later(
    system: System, is_restarted: bool
) -> None:
    await remember(
        system,
        (
            "prompt.submitted",
            "Can we widen the amount column of the ledger while people write to it?",
        ),
        ("assistant.replied", PLAN),
    )
    context: HookContext = system.parts.state["context"]
    first = await told(
        context, "How do we widen a column of the ledger without a stop, what was the plan?"
    )
    assert "NOT VALID" in first
    assert "portions of 5,000 rows" in first, "its list has hardly a word of what was asked"
    if is_restarted:
        context._seen.clear()  # what is known of the session is in the table alone
    again = await told(
        context, "Fill the ledger column in portions with a pause: how many rows each?"
    )
    assert "portions of 5,000 rows" not in again
    other = await told(
        context, "Fill the ledger column in portions with a pause: how many rows?", "other"
    )
    assert "portions of 5,000 rows" in other


def test_wholes_leave_most_of_the_room_to_passages() -> None:
    assert WHOLE_MOST < WHOLES_SHARE < 0.5
