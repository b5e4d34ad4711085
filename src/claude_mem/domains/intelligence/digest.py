"""A session's rows to its digest: what was asked, found, decided, done, mended and left. Pure.

Words of a person and of the assistant's replies are drawn on; tools only give results (commits, tests, errors,
figures). Only what a person wrote can become a preference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from claude_mem.domains.intelligence import cues, outcomes
from claude_mem.domains.intelligence.borrowed import MASK, is_own, own_sentences
from claude_mem.domains.intelligence.findings import findings_of
from claude_mem.domains.intelligence.mending import mended
from claude_mem.domains.intelligence.model import Digest, Point
from claude_mem.domains.intelligence.notes import notes_of
from claude_mem.domains.intelligence.render import render
from claude_mem.domains.intelligence.scoring import (
    ASSISTANT,
    TOOL,
    USER,
    Scored,
    Sentence,
    choose,
    decides,
    lift_chosen_options,
    score,
    width,
)
from claude_mem.domains.intelligence.sentences import clip, split
from claude_mem.domains.intelligence.titles import title_of
from claude_mem.domains.memory.model import EntityRef, Material

Row = dict[str, Any]
ENGINE: Final = "extractive-4"
_ROOM: Final = 3_300.0  # of a summary
_SHARE, _LEAST = 0.9, 500.0  # of what was said; a short session has a short summary
_FILES, _COMMITS, _MENDS, _PREFERENCES, _KEY_POINTS, _OPEN = 14, 8, 5, 6, 6, 6
_SENTENCES: Final = 2_500
_POINT: Final = 280  # characters of a point that is joined of several sentences
_APART = frozenset({"preferences", "decisions", "open"})  # each stands for itself
_PRINTING: Final = 80  # calls whose output is looked at


def digest_of(material: Material) -> Digest | None:
    """The digest; None for a session in which nobody asked, said or did anything."""
    observations = [row for row in material.observations if not row["subagent_id"]]
    said = score([*_sentences(material.prompts), *_printed(observations)])
    lift_chosen_options(said, material.prompts)
    commits = outcomes.commits(observations)
    files = _files(material)
    repairs = mended(observations, material.changes, said, _is_dense(said))[:_MENDS]
    done = _done(commits, observations)
    notes = notes_of(material.observations)
    if not (said or done or files or notes.findings):
        return None
    fixed = [*done, *(it.point for it in repairs), *files, *notes.all_points]
    late = _late(material.prompts)
    chosen = _chosen(said, fixed, late)
    parts = _sections(chosen, late)
    title = title_of(material.session, commits, said)
    for name, points in notes.points.items():
        parts[name] += points
    open_points = tuple(parts["open"][:_OPEN])
    sections: dict[str, tuple[Point, ...]] = {
        "request": tuple(parts["request"]),
        "investigated": tuple(parts["investigated"]),
        "completed": (*parts["completed"], *done),
        "failures": tuple(it.point for it in repairs),
        "decisions": tuple(parts["decisions"]),
        "preferences": tuple(parts["preferences"]),
        "open": open_points,
        "files": files,
    }
    return Digest(
        session_id=material.session["id"],
        project_id=material.session["project_id"],
        title=title,
        **sections,
        key_points=(*_key_points(chosen, done), *notes.all_points[-_KEY_POINTS:]),
        action_items=open_points,
        findings=(
            *notes.findings,
            *findings_of([it for it in chosen if is_rule(it)], chosen, repairs),
        ),
        content=render(sections, _is_dense(said)),
        covers=covers_of(material.session),
        occurred_at=material.session["last_activity_at"],
    )


def covers_of(session: Row) -> Row:
    """What a summary of the session as it is now covers; a later one that differs makes it stale."""
    counted = ("prompt_count", "observation_count", "last_activity_at")
    return {"engine": ENGINE, **{name: session[name] for name in counted}}


def _sentences(prompts: Sequence[Row]) -> list[Sentence]:
    found: list[Sentence] = []
    for number, row in enumerate(prompts):
        is_last = number + 1 == len(prompts) or prompts[number + 1]["prompt_type"] == USER
        for place, (text, own) in enumerate(_told(row)):
            found.append(
                Sentence(
                    text=text,
                    role=row["prompt_type"],
                    ref=EntityRef("prompt", row["id"]),
                    at=row["occurred_at"],
                    message=number,
                    final=is_last and row["prompt_type"] == ASSISTANT,
                    subagent=bool(row["subagent_id"]),
                    first=place == 0,
                    own=None if own == text else own,
                )
            )
    few = _SENTENCES // 5
    return found if len(found) <= _SENTENCES else [*found[:few], *found[few - _SENTENCES :]]


def _told(row: Row) -> list[tuple[str, str]]:
    """The sentences of a prompt or reply, each with what in it is its writer's own."""
    if row["prompt_type"] != USER:
        tail = split(row["tail"])[1:] if row["tail"] else []
        return [(text, text) for text in (*split(row["head"]), *tail)]
    told = own_sentences(row["head"])
    rest = own_sentences(row["tail"])[1:] if row["tail"] else []
    if told and not is_own(told[-1][1]):
        rest = [
            (text, MASK * len(text)) for text, _ in rest
        ]  # it was cut within what is handed over
    return told + rest


def _printed(observations: Sequence[Row]) -> list[Sentence]:
    """Lines with figures that commands printed: results, never anybody's words."""
    return [
        Sentence(text, TOOL, _ref(row), row["occurred_at"], -1, False, False, False)
        for row in observations[-_PRINTING:]
        for text in outcomes.figures(row)
    ]


def _late(prompts: Sequence[Row]) -> int:
    """The message from which on what is left is really left: the last two turns, or the last third."""
    asked = [number for number, row in enumerate(prompts) if row["prompt_type"] == USER]
    return min(asked[-2] if len(asked) > 1 else 0, len(prompts) * 2 // 3)


def _done(commits: Sequence[outcomes.Commit], observations: Sequence[Row]) -> tuple[Point, ...]:
    """Commits with the tests that ran before them, and the last test result."""
    points = [
        Point(f"Commit {it.short}: {it.subject}", (_ref(it.row),), it.row["occurred_at"], 1.0)
        for it in commits[-_COMMITS:]
    ]
    tested = [(row, line) for row in observations if (line := outcomes.test_result(row))]
    kept = {it.row["id"] for it in commits} | ({tested[-1][0]["id"]} if tested else set())
    shown = [(row, line) for row, line in tested if row["id"] in kept]
    points += [
        Point(line, (_ref(row),), row["occurred_at"], 0.7) for row, line in shown[-_COMMITS:]
    ]
    return tuple(sorted(points, key=lambda point: point.at))


def _files(material: Material) -> tuple[Point, ...]:
    """What was changed: the files by how much, with the lines added and removed."""
    root = str((material.session["metadata_json"] or {}).get("cwd") or "")
    sizes: Counter[str] = Counter()
    stats: dict[str, list[Any]] = {}
    for row in material.changes:
        path = row["file_path"].removeprefix(root).lstrip("/") if root else row["file_path"]
        known = stats.setdefault(path, [row["operation"], 0, 0, [], 0])
        known[1] += row["lines_added"]
        known[2] += row["lines_removed"]
        known[3].append(EntityRef("code_change", row["id"]))
        known[4] = row["occurred_at"]
        sizes[path] += row["lines_added"] + row["lines_removed"] + 1
    points = []
    for path, _ in sizes.most_common(_FILES):
        operation, added, removed, refs, at = stats[path]
        how = {"create": "new, ", "delete": "deleted, "}.get(operation, "")
        points.append(Point(f"{path} ({how}+{added} -{removed})", tuple(refs[:8]), at))
    return tuple(sorted(points, key=lambda point: point.at))


def _chosen(said: Sequence[Scored], fixed: Sequence[Point], late: int) -> list[Scored]:
    """The sentences of the summary, in the order they were said: rules and what is left first of all."""
    amount = sum(width(each.sentence.text) for each in said)
    room = min(_ROOM, max(_LEAST, amount * _SHARE + 300)) - 0.5 * sum(
        width(it.text) for it in fixed
    )
    rules = [each for each in said if is_rule(each)]
    rules = choose(rules, _ROOM / 4)[:_PREFERENCES]
    rules += [each for each in _first_request(said) if not is_rule(each)]
    held = {id(each) for each in rules}
    room = max(room, _LEAST / 2) - sum(width(each.sentence.text) for each in rules)
    told = [*(it.text for it in fixed), *(each.sentence.text for each in rules)]
    left = [each for each in said if id(each) not in held and section_of(each, late) == "open"]
    left = choose(left, room / 3, told)[:_OPEN]
    room -= sum(width(each.sentence.text) for each in left)
    held |= {id(each) for each in left}
    told += [each.sentence.text for each in left]
    others = choose((each for each in said if id(each) not in held), room, told)
    order = {id(each): place for place, each in enumerate(said)}
    return sorted([*rules, *left, *others], key=lambda each: order[id(each)])


def _first_request(said: Sequence[Scored]) -> list[Scored]:
    """What the session began with: the best sentence of its first prompt."""
    asked = [it for it in said if it.sentence.role == USER and not it.sentence.subagent]
    first = [it for it in asked if it.sentence.message == asked[0].sentence.message]
    telling = [it for it in first if not it.is_noise and it.room >= 14]
    return [max(telling, key=lambda each: each.worth)] if telling else []


def is_rule(each: Scored) -> bool:
    """Whether a person said how it is to be done from now on."""
    it = each.sentence
    return (
        it.role == USER
        and not it.subagent
        and "rule" in each.kinds
        and not cues.NO_RULE.search(it.text)
        and not it.text.endswith(("?", "？"))
        and width(it.text) >= 12
    )


def _sections(chosen: Sequence[Scored], late: int) -> dict[str, list[Point]]:
    parts: dict[str, list[Point]] = {
        name: []
        for name in ("request", "investigated", "completed", "decisions", "preferences", "open")
    }
    for each in chosen:
        name = section_of(each, late)
        _join(parts[name], point_of(each), apart=name in _APART or each.sentence.role == TOOL)
    return parts


def _join(points: list[Point], new: Point, *, apart: bool) -> None:
    """Sentences of one message that belong to one section are one point, as long as it stays short."""
    last = points[-1] if points else None
    if last is None or apart or last.refs != new.refs or len(last.text) + len(new.text) > _POINT:
        points.append(new)
        return
    gap = "" if last.text[-1:] >= "\u2e80" else " "
    weight = max(last.weight, new.weight)
    points[-1] = Point(f"{last.text}{gap}{new.text}", last.refs, last.at, weight)


def section_of(each: Scored, late: int) -> str:
    """Where a sentence belongs; what is left counts as open from the message `late` on."""
    it, kinds = each.sentence, each.kinds
    if is_rule(each):
        return "preferences"
    if it.role == TOOL:
        return "completed"
    if "leftover" in kinds and it.message >= late and (it.final or it.role == USER):
        return "open"
    chose = decides(each) and not cues.QUESTION.search(it.text)
    if it.role == USER:
        return "decisions" if chose and not (it.first and it.message == 0) else "request"
    if chose and "result" not in kinds:
        return "decisions"
    return "completed" if "result" in kinds and "cause" not in kinds else "investigated"


def point_of(each: Scored) -> Point:
    """A sentence as a point, without its courtesies."""
    it = each.sentence
    text = cues.COURTESY.sub("", it.text) if it.role == USER else it.text
    text = text[:1].upper() + text[1:] if len(text) >= 8 and text != it.text else it.text
    return Point(text, (it.ref,), it.at, round(min(each.worth / 4, 1.0), 3))


def _key_points(chosen: Sequence[Scored], done: Sequence[Point]) -> tuple[Point, ...]:
    best = sorted(chosen, key=lambda each: -each.worth)[:_KEY_POINTS]
    points = [point_of(each) for each in best]
    points += [it for it in done if it.text.startswith("Commit ")][-2:]
    return tuple(
        Point(clip(it.text, 240), it.refs, it.at, it.weight)
        for it in sorted(points, key=lambda point: point.at)
    )


def _is_dense(said: Sequence[Scored]) -> bool:
    return cues.is_dense_script("".join(each.sentence.text for each in said[:200]))


def _ref(row: Row) -> EntityRef:
    return EntityRef("observation", row["id"])
