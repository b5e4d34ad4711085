"""The page about the live stream, made from its types, fields and bounds. Part of `python -m tools.docs`."""

from __future__ import annotations

from claude_mem.domains.ops.model import SHOWN, STREAM_TYPES, TRANSIENT, TYPES, LiveOptions
from claude_mem.domains.ops.sse import StreamTimes

_NOT_YET = {
    "task.completed": "there are no tasks of a person's or a team's yet",
    "system.alert": "there are no alert rules yet; `GET /health` says what is degraded",
}


def page(made: str) -> str:
    """The page; `made` is the line that says it is made."""
    bounds, times = LiveOptions(), StreamTimes()
    return "\n".join(
        [
            "# Live events",
            "",
            made,
            "",
            "`GET /api/v1/stream/events` tells what happens, as it happens, as server-sent events: after it is committed,"
            " to whoever of the enterprise listens, on whatever replica. On a terminal: `claude-mem watch`.",
            "",
            "```sh",
            'curl -N -H "Authorization: Bearer $(cat ~/.claude-mem/token)" \\',
            '     "http://127.0.0.1:37700/api/v1/stream/events?types=session.created,observation.added"',
            "```",
            "",
            "```",
            "event: observation.added",
            'data: {"id":"019...","type":"observation.added","at":"2026-11-28T10:00:00.123Z","data":{...}}',
            "id: 019...",
            "```",
            "",
            "It needs the permission `sessions:read`. The key goes into the `Authorization` header, never into the address:"
            " in a browser use `fetch` and read the body, for `EventSource` cannot send one. A page of another origin is"
            " refused. A key that is revoked, or loses the permission, ends its streams within"
            f" {times.doubt:g} seconds.",
            "",
            "## Types",
            "",
            "| type | means |",
            "|---|---|",
            *(f"| `{name}` | {text} |" for name, text in TYPES.items()),
            "",
            "`?types=` takes any of these, separated by commas; without it everything is told. Of the stream itself, told"
            " whatever was asked for:",
            "",
            "| type | means |",
            "|---|---|",
            *(f"| `{name}` | {text} |" for name, text in STREAM_TYPES.items()),
            "",
            "Two types that one may expect are not told, and cannot be asked for:",
            *(
                f"`{name}` ({why})" + end
                for (name, why), end in zip(_NOT_YET.items(), (",", "."), strict=True)
            ),
            "",
            "## Data",
            "",
            "Ids, names and numbers, nothing that a list would not show: whoever wants the text reads it by its `id`."
            " All have `kind`, `id` and `version` of what changed; all of a session also `session_id`, `session_title`"
            " and `project_id`. By kind:",
            "",
            "| kind | fields, where they are known |",
            "|---|---|",
            *(
                f"| `{kind}` | {', '.join(f'`{it}`' for it in names)} |"
                for kind, names in SHOWN.items()
            ),
            "",
            "`memory.removed` has `why` (`forgotten` or `withdrawn`) instead. `batch` has `types`, how many there were of"
            " each, and `sessions`, the ids of up to twenty.",
            "",
            f"Of one type at most {bounds.detailed} are told one by one of what is read at once ({bounds.page:,} changes,"
            f" {1 / bounds.pace:g} times a second); more become one `batch`, so that an import floods nobody.",
            "",
            "## Resuming",
            "",
            "The id of an event is that of its entry in the change journal. Who sends the last one it received as"
            " `Last-Event-ID` (or `?last_event_id=`, where a header cannot be set) gets what came after, from the tables,"
            " on any replica, and then goes on live. A stream that has told nothing yet has an id to resume from too."
            " Within one stream no event comes twice; after resuming, one of the last moments may: drop it by its `id`."
            f" Beyond {bounds.page * bounds.replay:,} changes there is one `{'stream.reset'}` instead."
            f" What has no `id:` line ({', '.join(f'`{it}`' for it in sorted(TRANSIENT))}) is kept nowhere and not told"
            " again.",
            "",
            "## Ends and bounds",
            "",
            f"After {times.heartbeat:g} quiet seconds there is a comment. A stream ends when the process stops, and when"
            f" its client is too slow: more than {bounds.queue:,} events wait, or one takes longer than"
            f" {times.send:g} seconds to be sent. Come again after the `retry:` of the stream, with the last id."
            f" A user may have {bounds.per_user} streams open in a process, an enterprise {bounds.per_enterprise}, all"
            f" together {bounds.per_process:,}; beyond that the answer is"
            " [429](errors.md#rate_limited).",
            "",
        ]
    )
