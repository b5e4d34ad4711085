"""What each tool does: one or two calls of the API, told in few words.

Owns the texts a model gets. Comes through the SDK like every client: what the caller may not do through the API, no
tool does. A tool never raises for what a model asked: it says what is wrong, and what to do instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from claude_mem.mcp import reading, render
from claude_mem.mcp.arguments import checked
from claude_mem.mcp.model import Answer, Api, Misuse, Place
from claude_mem.mcp.stdio import TOOLS
from claude_mem.sdk.errors import ApiError

Given = dict[str, Any]
_SCHEMAS: dict[str, Any] = {tool["name"]: tool["inputSchema"] for tool in TOOLS}
_EVERYWHERE = "*"
_STEPS = {
    "RESOURCE_NOT_FOUND": "take an id from search, timeline or sessions",
    "FORBIDDEN": "tell the user",
    "STORE_FULL": "tell the user: the store is full",
}


class Tools:
    """`project_of`: from a folder to what its project is known by."""

    def __init__(self, project_of: Callable[[str], str]) -> None:
        self._project_of = project_of

    async def call(self, api: Api, name: str, arguments: Given, place: Place) -> dict[str, Any]:
        """The tool's result as MCP wants it. Raises KeyError for a tool that is none of ours."""
        given, faults = checked(_SCHEMAS[name], arguments)
        if faults:
            return Answer(f"{name}: {'; '.join(faults[:8])}", failed=True).wire()
        project = self._project(given.get("project"), place)
        try:
            answer = await _TOOLS[name](api, given, project, place)
        except Misuse as error:
            answer = Answer(f"{name}: {error}", failed=True)
        except ApiError as error:
            details = "; ".join(f"{it['field']}: {it['message']}" for it in error.details)
            step = _STEPS.get(error.code, "")
            said = details or error.message
            text = f"{name}: {render.plain(said)}" + (f". Next: {step}" if step else "")
            answer = Answer(text, failed=True)
        return answer.wire()

    def _project(self, wanted: str | None, place: Place) -> str | None:
        """The project that is meant; None for all of them."""
        if wanted == _EVERYWHERE:
            return None
        if wanted is not None:
            return self._project_of(wanted) if wanted.startswith("/") else wanted
        return self._project_of(place.project) if place.project else None


async def _save(api: Api, given: Given, project: str | None, place: Place) -> Answer:
    body = {**given, "id": place.call_id}
    asked = "project" in given
    if asked and project is None:
        raise Misuse('project: a note belongs to one project, so "*" is none')
    if asked and project is not None and not await asyncio.to_thread(_is_folder, project):
        await _need_heard_of(api, project)
    if place.session and not asked:
        try:
            saved = await api.request("POST", "/memories", body={**body, "session": place.session})
        except ApiError as error:
            if error.code != "RESOURCE_NOT_FOUND":
                raise
        else:
            return _saved(saved)
    return _saved(await api.request("POST", "/memories", body={**body, "project": project}))


def _is_folder(project: str) -> bool:
    try:
        return project.startswith("/") and Path(project).is_dir()
    except (OSError, ValueError):
        return False


async def _need_heard_of(api: Api, project: str) -> None:
    """A name that nobody has heard of is a slip that would make a project of its own. Raises Misuse."""
    try:
        await api.request("GET", "/sessions", params={"project": project, "limit": 1})
    except ApiError as error:
        if error.code != "RESOURCE_NOT_FOUND":
            raise
        raise Misuse(f"project: {render.plain(error.message)}") from error


def _saved(saved: dict[str, Any]) -> Answer:
    if saved["id"] is None:
        text = "Saved; it can be searched in a moment."
    else:
        text = f"Saved as id {saved['id']}; search finds it, forget takes it out again."
    return Answer(text, saved)


async def _context(api: Api, given: Given, project: str | None, place: Place) -> Answer:
    if project is None:
        raise Misuse("project: name one, for a context is of one project; search looks in all")
    wanted = {
        "q": given["query"],
        "project": project,
        "budget": given["budget"],
        "session": place.session,
    }
    try:
        found = await api.request("GET", "/context", params=wanted)
    except ApiError as error:
        if error.code != "RESOURCE_NOT_FOUND":
            raise
        found = {"items": []}  # nobody has heard of the project yet
    if not found["items"]:
        text = 'Nothing more to tell here. Try search with other words, or with project: "*".'
        return Answer(text, {"items": [], "tokens": 0})
    names = ("id", "kind", "tokens", "score")
    items = [{name: item[name] for name in names} for item in found["items"]]
    left = {"tokens": found["tokens"], "omitted": found["omitted"]}
    return Answer(found["text"], {"text": found["text"], "items": items, **left})


async def _forget(api: Api, given: Given, project: str | None, place: Place) -> Answer:
    if given.get("last_turn") and "id" not in given:
        if project is None:
            raise Misuse(
                "which project is meant is not known here: take the ids from timeline, and forget each by its id"
            )
        body = {"what": "last", "project": project, "running": place.session}
        gone = await api.request("POST", "/forget", body=body)
        what = f"the turn of {project} that began {render.minute(gone['since'])}"
    elif "id" in given and not given.get("last_turn"):
        found = await api.request(
            "POST", "/memories/get", body={"ids": [given["id"]], "note_use": False}
        )
        if found["missing"]:
            raise Misuse(f"nothing has the id {given['id']}: take it from search or timeline")
        kind = found["data"][0]["kind"]
        if kind == "session":
            step = f"`claude-mem forget session {given['id']}`"
            raise Misuse(f"this is a whole session, which a person deletes with {step}")
        gone = await api.request("POST", "/forget", body={"what": kind, "id": given["id"]})
        what = f"{kind} {given['id']}"
    else:
        raise Misuse("give one of id and last_turn: true")
    counts = gone["forgotten"]
    parts = ", ".join(render.counted(kind, number) for kind, number in counts.items())
    said = f"Forgotten for good: {what} ({parts or 'nothing else'})."
    if again := gone["remade"]:
        said += f" Of the rest {render.counted('learning', again)} made anew, under new ids."
    if copies := gone["copies"]:
        said += (
            f" Damaged files that were kept may still hold it: {', '.join(copies)}. A person removes them with"
            " `claude-mem db drop-copies`."
        )
    data = {"forgotten": counts, "remade": again, "id": given.get("id"), "copies": copies}
    return Answer(said, data)


_Tool = Callable[[Api, Given, str | None, Place], Awaitable[Answer]]
_TOOLS: dict[str, _Tool] = {
    "search": reading.search,
    "timeline": reading.timeline,
    "get": reading.get,
    "sessions": reading.sessions,
    "summary": reading.summary,
    "save": _save,
    "context": _context,
    "forget": _forget,
}
