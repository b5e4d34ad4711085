"""`claude-mem pause` and `resume`: nothing is recorded while the file `paused` holds."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from claude_mem.cli.output import USAGE, emit, fail

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,6})\s*([smhdw])")


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("pause")(pause)
    app.command("resume")(resume)


def pause(
    duration: Annotated[
        str | None, typer.Option("--for", metavar="30m", help="Until then: 90s, 30m, 2h, 1d.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Stop recording, for good or for a while. What happens meanwhile is not kept anywhere."""
    from claude_mem.adapters.local import pauses
    from claude_mem.hook.home import default_home

    seconds = _seconds(duration, as_json=as_json)
    until = None if seconds is None else int((time.time() + seconds) * 1000)
    home = default_home()
    try:
        pauses.begin(home, until)
    except OSError as error:
        fail(f"could not pause: {error}", f"make {home} writable", as_json=as_json)
    shown = f"for {duration}" if duration else "until `claude-mem resume`"
    data = {"ok": True, "paused": True, "until_ms": until}
    emit(data, lambda out: out.print(f"Recording is paused {shown}.", markup=False), as_json)


def resume(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Record again."""
    from claude_mem.adapters.local import pauses
    from claude_mem.hook.home import default_home

    home = default_home()
    try:
        was_paused = pauses.end(home)
    except OSError as error:
        fail(f"could not resume: {error}", f"make {home} writable", as_json=as_json)
    said = "Recording again." if was_paused else "Recording was not paused."
    data = {"ok": True, "paused": False, "was_paused": was_paused}
    emit(data, lambda out: out.print(said), as_json)


def _seconds(duration: str | None, *, as_json: bool) -> int | None:
    if duration is None:
        return None
    found = _DURATION.fullmatch(duration.strip().lower())
    if found is None or int(found[1]) == 0:
        step = "claude-mem pause --for 30m"
        said = f"not a duration: {duration}"
        fail(said, step, code="USAGE", as_json=as_json, status=USAGE)
    return int(found[1]) * _UNITS[found[2]]
