"""`claude-mem dead-letters`: events that could not become rows, looked at, mended, handed in again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import USAGE, emit, fail
from claude_mem.cli.server import KeyFile, Server, connected

if TYPE_CHECKING:
    from claude_mem.sdk.client import Client

group = typer.Typer(
    help="Events that could not become rows: why, and how to hand them in again.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
EventId = Annotated[str, typer.Argument(metavar="ID", help="The event's id.")]
_PATH = "/admin/dead-letters"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="dead-letters")


@group.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="The `next_cursor` of the page before, to go on.")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """The newest of them, with what went wrong."""
    params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    with connected(server, key_file, as_json) as client:
        found = client.request("GET", _PATH, params=params)

    def show(out: Any) -> None:
        for letter in found["letters"]:
            kind = (letter["event"] or {}).get("type", "?")
            out.print(f"{letter['event_id']}  {letter['at']}  {kind}")
            out.print(f"  {letter['reason']}", style="dim")
        if not found["letters"]:
            out.print("None: everything that was accepted became rows.")
        elif found["more"]:
            out.print(f"There are more: --cursor {found['next_cursor']}", soft_wrap=True)

    emit({"ok": True, **found}, show, as_json)


@group.command("show")
def show_letter(
    event_id: EventId,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """One of them, whole: what it printed under `event` can be mended and given to replay."""
    with connected(server, key_file, as_json) as client:
        letter = client.request("GET", f"{_PATH}/{event_id}")

    def show(out: Any) -> None:
        out.print(f"{letter['event_id']}  {letter['at']}")
        out.print(letter["reason"], style="dim")
        out.print(json.dumps(letter["event"], ensure_ascii=False, indent=2), markup=False)

    emit({"ok": True, **letter}, show, as_json)


@group.command("replay")
def replay(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The event's id; none with --all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them, as they are.")] = False,
    event: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A mended event (JSON) to take instead; - reads stdin."),
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Hand one in again, as it is or mended; or all, once what kept them out is mended."""
    if everything == (event_id is not None) or (everything and event is not None):
        step = "claude-mem dead-letters replay ID [--event FILE], or replay --all"
        fail("which one, or --all?", step, code="USAGE", as_json=as_json, status=USAGE)
    body = {"event": _mended(event, as_json=as_json)} if event is not None else None
    with connected(server, key_file, as_json) as client:
        if everything:
            count = _replay_all(client)
        else:
            path = f"{_PATH}/{event_id}/replay"
            count = client.request("POST", path, **({"json": body} if body else {}))["replayed"]
    said = f"Handed in again: {count}. What cannot become rows now either comes back here."
    emit({"ok": True, "replayed": count}, lambda out: out.print(said), as_json)


@group.command("drop")
def drop(
    event_id: EventId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give one up for good."""
    if as_json and not yes:
        again = f"claude-mem dead-letters drop {event_id} --json --yes"
        fail("--json cannot ask: say --yes", again, code="USAGE", as_json=True, status=USAGE)
    if not yes:
        typer.confirm(f"Give up {event_id} for good?", abort=True)
    with connected(server, key_file, as_json) as client:
        client.request("DELETE", f"{_PATH}/{event_id}")
    emit({"ok": True, "dropped": 1}, lambda out: out.print("Gone."), as_json)


def _replay_all(client: Client) -> int:
    """The server takes so many at a time, and says where to go on."""
    done = client.request("POST", f"{_PATH}/replay")
    count = int(done["replayed"])
    while cursor := done["next_cursor"]:
        done = client.request("POST", f"{_PATH}/replay", params={"cursor": cursor})
        count += int(done["replayed"])
    return count


def _mended(source: str, *, as_json: bool) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        step = "`claude-mem dead-letters show ID --json` prints one to begin with"
        fail(f"{source}: no event: {error}", step, code="VALIDATION_ERROR", as_json=as_json)
    # What `show --json` printed may be given back whole.
    whole = found.get("event") if isinstance(found, dict) and "event_id" in found else found
    if not isinstance(whole, dict):
        fail(
            f"{source}: an event is an object", "mend it", code="VALIDATION_ERROR", as_json=as_json
        )
    return whole
