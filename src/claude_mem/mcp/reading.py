"""The tools that read, from cheap to dear: search, timeline, get; sessions and their summaries.

Each bounds what it says, and says how to get the rest.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from claude_mem.mcp import render
from claude_mem.mcp.model import Answer, Api, Misuse, Place
from claude_mem.sdk.errors import ApiError

Given = dict[str, Any]
_WIDER = 'project: "*" looks in all projects'
_SUMMARY_TOKENS = 3000
_ENOUGH_SESSIONS = 5  # to find an earlier one than the running one


async def search(api: Api, given: Given, project: str | None, _place: Place) -> Answer:
    """Ids, a line each."""
    wanted = {
        "q": given["query"],
        "project": project,
        "type": given.get("kind"),
        **{
            name: given.get(name)
            for name in ("observation_type", "file", "session", "since", "until", "limit", "offset")
        },
    }
    found = await api.request("GET", "/search", params=wanted)
    hits, total, offset = found["results"], found["total_results"], given["offset"]
    if not hits:
        where = f" in project {project}" if project else ""
        wider = f"; {_WIDER}" if project else ""
        text = (
            f"Nothing found{where} for {given['query'][:200]!r}. Try fewer or other words{wider}."
        )
        return Answer(text, {"results": [], "total": total, "project": project})
    results = [_hit(hit) for hit in hits]
    following = offset + len(hits)
    more = following if following < total else None
    lines = [
        line for number, result in enumerate(results, offset + 1) for line in _shown(number, result)
    ]
    some = "at least " if found["total_is_estimate"] else ""
    head = f"{len(hits)} of {some}{total} results" + (f" in project {project}" if project else "")
    steps = "Next: timeline around an id, or get with the ids that matter."
    steps += f" More results: offset {more}." if more else ""
    data = {"results": results, "total": total, "next_offset": more, "project": project}
    return Answer(f"{head}.\n{render.fenced(lines)}\n{steps}", data)


def _hit(hit: Given) -> Given:
    in_text = hit["highlights"][:2] if "content" in hit["matched_fields"] else []
    passage = " … ".join(map(render.unmarked, in_text)) or hit["content_preview"]
    title = render.one_line(hit["title"], 80)
    if passage.startswith(title.rstrip("…")):
        title = ""  # it says no more than the passage
    return {
        "id": hit["id"],
        "kind": render.kind_of(hit),
        "time": render.minute(hit["occurred_at"]),
        "title": render.plain(title),
        "passage": render.plain(render.one_line(passage)),
        "tokens": render.tokens_of(hit["content_preview"], hit["content_chars"]),
        "session": hit["source_session"],
        "project": hit["project"],
    }


def _shown(number: int, result: Given) -> list[str]:
    parts = [
        result["id"],
        result["kind"],
        result["time"],
        result["project"] or "",
        result["title"],
        f"~{result['tokens']} tokens",
    ]
    return [f"{number}. " + " | ".join(filter(None, parts)), f"   {result['passage']}"]


async def timeline(api: Api, given: Given, _project: str | None, _place: Place) -> Answer:
    """What happened around an id, or the course of a session."""
    if ("around" in given) == ("session" in given):
        raise Misuse("give one of around (an id of search) and session (an id of sessions)")
    names = ("around", "session", "before", "after")
    found = await api.request("GET", "/timeline", params={name: given.get(name) for name in names})
    entries = [_entry(entry, found["anchor"]) for entry in found["entries"]]
    session = found["session"]
    lines = [
        f"{'>' if entry['is_anchor'] else '-'} {entry['id']} | {entry['time']} | {entry['kind']} | "
        f"{entry['text']} | ~{entry['tokens']} tokens"
        for entry in entries
    ]
    head = (
        f"Session {session['id']}, {render.minute(session['started_at'])}: {len(entries)} entries."
    )
    steps = []
    if found["earlier"]:
        steps.append(f"Earlier: timeline around {entries[0]['id']}.")
    if found["later"] and entries:
        steps.append(f"Later: timeline around {entries[-1]['id']}.")
    title = f"# {render.title_of(session)}"
    text = "\n".join([head, render.fenced([title, *lines]), " ".join([*steps, "Full text: get."])])
    data = {
        "session": session["id"],
        "entries": entries,
        "earlier": found["earlier"],
        "later": found["later"],
    }
    return Answer(text, data)


def _entry(entry: Given, anchor: str | None) -> Given:
    title = render.one_line(entry["title"], 120)
    return {
        "id": entry["id"],
        "kind": render.kind_of(entry),
        "time": render.minute(entry["occurred_at"]),
        "text": render.plain(title or render.one_line(entry["preview"])),
        "tokens": render.tokens_of(entry["preview"], entry["chars"]),
        "is_anchor": entry["id"] == anchor,
    }


async def get(api: Api, given: Given, _project: str | None, _place: Place) -> Answer:
    """Whole texts under one bound, each with a fair share of it."""
    ids, offset = list(dict.fromkeys(given["ids"])), given["offset"]
    if offset and len(ids) > 1:
        raise Misuse("offset goes on with one long text: give its id alone")
    found = await api.request("POST", "/memories/get", body={"ids": ids})
    texts = [render.text_of(row)[offset:] for row in found["data"]]
    shares = fair_shares([render.quoted_tokens(text) for text in texts], given["max_tokens"])
    blocks, memories = [], []
    for row, text, share in zip(found["data"], texts, shares, strict=True):
        shown = render.fitting(text, share, render.quoted_tokens)
        stop = offset + len(shown)
        rest = stop if len(shown) < len(text) else None
        memories.append(_memory(row, shown, rest))
        blocks += ["", f"## {render.head_of(row)}", render.quoted(shown)]
        if rest is not None:
            left = render.tokens(text[len(shown) :])
            blocks.append(f"[cut: about {left} tokens more, get this id alone with offset {rest}]")
    missing = found["missing"]
    head = (
        f"{len(memories)} memories; what they say stands behind >."
        if memories
        else "Nothing has these ids."
    )
    if missing:
        head += f" Not there (forgotten, or never were): {', '.join(missing)}."
    text = f"{head}\n{render.fenced(blocks[1:])}" if memories else head
    return Answer(text, {"memories": memories, "missing": missing}, failed=not memories)


def fair_shares(sizes: list[int], budget: int) -> list[int]:
    """Tokens each text may take: the short ones whole, the rest in equal parts."""
    shares = [0] * len(sizes)
    left = budget
    by_size = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for place, index in enumerate(by_size):
        shares[index] = min(sizes[index], left // (len(sizes) - place))
        left -= shares[index]
    return shares


def _memory(row: Given, text: str, rest: int | None) -> Given:
    return {
        "id": row["id"],
        "kind": render.kind_of(row),
        "time": render.minute(row.get("occurred_at") or row.get("created_at")),
        "title": render.plain(render.title_of(row)),
        "session": row.get("session_id"),
        "text": render.plain(text),
        "rest_at_offset": rest,
    }


async def sessions(api: Api, given: Given, project: str | None, _place: Place) -> Answer:
    """Latest first, a line or two each."""
    rows = await _sessions(api, project, given["limit"])
    if not rows:
        where = f"of project {project}" if project else "yet"
        wider = f" {_WIDER.capitalize()}." if project else ""
        return Answer(f"No session is remembered {where}.{wider}", {"sessions": []})
    found = [_session(row) for row in rows]
    lines = []
    for row in found:
        counts = f"{row['prompts']} messages, {row['observations']} observations"
        lines.append(f"- {row['id']} | {row['time']} | {row['title']} | {counts}")
        if row["summary"]:
            lines.append(f"  {row['summary']}")
    text = f"{len(found)} sessions, latest first.\n{render.fenced(lines)}\nNext: summary, or timeline with session."
    return Answer(text, {"sessions": found})


def _session(row: Given) -> Given:
    return {
        "id": row["id"],
        "time": render.minute(row["last_activity_at"]),
        "title": render.plain(render.title_of(row)),
        "summary": render.plain(render.one_line(str(row.get("summary") or ""))),
        "prompts": row["prompt_count"],
        "observations": row["observation_count"],
        "agent": row["agent"],
    }


async def _sessions(api: Api, project: str | None, limit: int) -> list[Given]:
    """Sessions of a project; none where nobody has heard of it."""
    try:
        page = await api.request("GET", "/sessions", params={"project": project, "limit": limit})
    except ApiError as error:
        if error.code != "RESOURCE_NOT_FOUND":
            raise
        return []
    rows: list[Given] = page["data"]
    return rows


async def summary(api: Api, given: Given, project: str | None, place: Place) -> Answer:
    """Of the session that is named, else of the latest one that is not the running one."""
    session_id = given.get("session") or await _latest(api, project, place)
    try:
        # Made anew where anything has happened since it was made last.
        row = await api.request("POST", f"/sessions/{quote(session_id, safe='')}/summaries")
    except ApiError as error:
        if error.code != "RESOURCE_NOT_FOUND":
            raise
        raise Misuse(
            f"{error.message}; sessions lists the ids, timeline shows a short one"
        ) from error
    text = render.fitting(render.text_of(row), _SUMMARY_TOKENS)
    title = render.title_of(row)
    when = render.minute(row.get("occurred_at") or row.get("created_at"))
    head = f"Summary of session {row.get('session_id') or session_id}, {when}."
    data = {
        "session": row.get("session_id") or session_id,
        "id": row.get("id"),
        "title": render.plain(title),
        "text": render.plain(text),
    }
    step = "Next: timeline with this session, or search with it, for the details."
    return Answer(f"{head}\n{render.fenced([f'# {title}', text])}\n{step}", data)


async def _latest(api: Api, project: str | None, place: Place) -> str:
    rows = await _sessions(api, project, _ENOUGH_SESSIONS)
    earlier = [row for row in rows if row["agent_session"] != place.session]
    if not earlier:
        raise Misuse(f"no earlier session is remembered here; give session, or {_WIDER}")
    return str(earlier[0]["id"])
