"""`python -m tools.docs`: writes the pages that repeat what the code says; `--check` only compares.

Settings, commands, event types with their JSON schemas, and the OpenAPI document. A test compares them with the code,
so they cannot go stale. Everything else under docs/ is written by hand. Must never depend on the machine it runs on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI
from pydantic import BaseModel

from claude_mem import __version__
from claude_mem.api.application import Parts, make_api
from claude_mem.app.rerank_settings import ModelSettings
from claude_mem.app.server_settings import SECRET, ServerSettings
from claude_mem.app.settings import CHOICES, RANGES, Settings
from claude_mem.cli.main import app
from claude_mem.domains.capture.schemas import EVENT_MODELS, MAX_EVENTS, Usage
from claude_mem.kernel.errors import AuthMissing
from claude_mem.kernel.scope import Scope
from tools import stream_page
from tools.rerank_texts import RERANK_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
_MADE = "<!-- Made by `python -m tools.docs`. Change the code or that program, not this page. -->"

SERVER_SETTINGS = {
    "database_url": "PostgreSQL, as the runtime role: `postgresql://claude_mem:password@host:5432/claude_mem`."
    " Needed.",
    "nats_url": "NATS with JetStream: `nats://user:password@host:4222`, or `tls://`; several of one cluster are"
    " separated by commas. Needed.",
    "redis_url": "Redis: `redis://:password@host:6379/0`, or `rediss://` for TLS. Needed.",
    "operator_token": "Who shows it may make enterprises, and a new administrator's key for one: 32 characters or more."
    " Without one nobody may.",
    "host": "The address to listen on; `0.0.0.0` in a container.",
    "port": "The port to listen on.",
    "hosts": "Names that a `Host` header may hold, separated by commas; empty: any.",
    "processes": "How many processes it is on this machine.",
    "workers": "How many of them record and run jobs, while the others share the port and answer: -1 half of them (none of one), 0 all do both.",
    "name": "The deployment's name: streams, subjects and Redis keys begin with it, so that several can share servers.",
    "log_level": "How much is logged, as JSON lines on standard error.",
    "timezone": 'IANA name of the time zone in which "yesterday" and "last week" are meant by enterprises that have set none'
    " of their own (`claude-mem org timezone`). After a change search indexes are made anew in the background.",
    "database_connections": "Connections of each process to PostgreSQL; one more listens for jobs.",
    "nats_replicas": "On how many servers of a NATS cluster the streams are kept.",
    "dead_letters_bound": "How many dead letters an enterprise may have: then its new events are answered 503 until an administrator sees to them.",
    "rate_requests": "Requests a minute of a key that has no number of its own.",
    "rate_events": "Events a second of a key, over ten seconds.",
    "rate_searches": "Searches a minute of a user, whatever keys.",
    "rate_enterprise_events": "Events a second of an enterprise, whatever keys, over ten seconds.",
    "rate_enterprise_searches": "Searches a minute of an enterprise, whoever asks.",
    "rate_strangers": "Requests a quarter of an hour of an address that shows no valid key.",
    "proxies": "Through how many proxies of your own every request comes: so many entries at the end of `X-Forwarded-For` are believed.",
    "max_rss_mb": "A process that needs more memory than this (MB) is replaced.",
}
SETTINGS = {
    "home": "The data folder. Of the environment only: a file in it cannot say where it is.",
    "port": "The port of the API, on 127.0.0.1. When it is taken the next free one within fifty is used.",
    "strict_port": "Refuse to start when the port is taken, instead of taking the next free one.",
    "log_level": "How much goes into `logs/worker.jsonl`.",
    "timezone": 'IANA name of the time zone in which "yesterday" and "last week" are meant, such as `Asia/Shanghai`.'
    " Empty: this machine's, or UTC where it names none, as on Windows. After a change the search index is made anew in the background.",
    "max_store_mb": "Size cap of the local store in MB. `status` warns from 80 %; at the cap tool events are refused"
    " first, prompts a little later.",
    "max_rss_mb": "The supervisor restarts a worker that needs more memory than this (MB).",
    "inbox_bound": "How many events may wait to be indexed. Above that the API answers 503 and hooks spool.",
    "batch_size": "How many events become rows in one transaction.",
    "catch_up": "Read the agent's own transcript for the assistant's texts and token counts, which hooks do not carry.",
    "keep_output_chars": "How many characters of a tool's output are kept: its head and its tail.",
    "context": "Give a new session (also one that is resumed, cleared or compacted) what is known of its project.",
    "context_budget": "How many tokens that may cost, by our estimate.",
    "prompt_context": "Give a prompt what is remembered about it, once a session.",
    "prompt_budget": "How many tokens that may cost, by our estimate.",
    "prompt_threshold": "How relevant a memory must be to be given with a prompt; 1 is everything the prompt is about.",
}

EMBEDDING_SETTINGS = {
    "embedding_provider": "What makes vectors: the model on this machine (`local`), an endpoint, or nothing (`off`:"
    " search finds words only). `auto` is the endpoint where `embedding_url` is set, else `local`."
    " [embeddings.md](embeddings.md) has examples.",
    "embedding_precision": "Of the local model: `int8` is twice as fast and takes half the memory, `fp32` is exact.",
    "embedding_threads": "How many threads of the local model work on one text.",
    "embedding_folder": "Where models are kept; empty: `models` in the data folder.",
    "embedding_url": "An endpoint that speaks OpenAI's protocol, up to `/v1`, or the whole address of `/embeddings`.",
    "embedding_model": "The model's name at the endpoint. Needed with one.",
    "embedding_key": "The endpoint's key. `CLAUDE_MEM_EMBEDDING_KEY_FILE` names a file that holds it.",
    "embedding_key_header": "The header that carries the key: `Authorization` gets `Bearer` before it, another one, such"
    " as Azure's `api-key`, nothing.",
    "embedding_dimension": "How many numbers a vector shall have, of models that can be asked; 0: the model's own.",
    "embedding_query_prefix": "What the model wants before a question, such as `query: `.",
    "embedding_document_prefix": "What the model wants before a text, such as `passage: `.",
    "embedding_batch": "How many texts go to the endpoint in one request.",
    "embedding_concurrency": "How many requests of documents, and how many of questions, are made at once.",
    "embedding_timeout": "How many seconds the endpoint has for a request.",
}
SETTINGS |= EMBEDDING_SETTINGS | RERANK_SETTINGS

# What each type makes and when to send it; the fields come from the models.
EVENTS = {
    "session.started": "Notes the model and title; an archived session becomes active again. Every event makes its"
    " session if it is not there yet, so this one is not required.",
    "prompt.submitted": "A prompt row: `user`, or `system` when `machine` is true. Empty content makes nothing. The"
    " first prompt of a session gives it its title.",
    "assistant.replied": "A prompt row of type `assistant`; its tokens are added to the session, once"
    " for each `message_id`.",
    "tool.used": "An observation; for Write, Edit, MultiEdit, NotebookEdit and apply_patch also code changes with the"
    " prompt and `reason` behind them.",
    "tool.failed": "An observation of type `error`, with the command and its exit status where there is one.",
    "context.compacted": "Makes a summary row when `phase` is `after` and there is a `summary`.",
    "subagent.stopped": "A prompt row of type `assistant` under the session, marked with `agent_id`.",
    "session.ended": "The session keeps when.",
    "observation.added": "An observation, as it is said.",
    "message.sent": "An observation with the tags `to:...` and `visibility:...`.",
}


def generate() -> dict[Path, str]:
    """Every made file, relative to the repository, with its text."""
    pages = {
        Path("docs/settings.md"): settings_page(),
        Path("docs/commands.md"): commands_page(),
        Path("docs/events.md"): events_page(),
        Path("docs/stream.md"): stream_page.page(_MADE),
        Path("docs/openapi.json"): _json(openapi()),
    }
    for kind, model in _events():
        pages[Path(f"docs/schemas/{kind}.json")] = _json(event_schema(kind, model))
    return pages


# -- settings -------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting with its sources, default and range."""
    rows = [
        f"| `{field.name}` | {_variable(field.name)} | {_default(field)} | {_values(field)} |"
        f" {SETTINGS[field.name]} |"
        for field in own_first(Settings)
    ]
    server = [
        f"| `{field.name}` | {_variable(field.name)} | {_default(field)} | {_values(field)} |"
        f" {SERVER_SETTINGS.get(field.name) or SETTINGS[field.name]} |"
        for field in own_first(ServerSettings)
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            _MADE,
            "",
            "An environment variable wins over `config.toml` in the data folder, which wins over the default. A name or"
            " value that is not known is refused at start, with its source and what is expected. The worker reads"
            " settings when it starts: `claude-mem restart` after a change.",
            "",
            "```toml",
            "# config.toml",
            "port = 37800",
            "max_store_mb = 50000",
            "```",
            "",
            "| setting | variable | default | values | what it does |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "## Files that are settings",
            "",
            "| file | means |",
            "|---|---|",
            "| `paused` in the data folder | capture is paused; holds the Unix milliseconds until which, or nothing |",
            "| `.claude-mem-off` in a project, or above it up to the git root | nothing of that project is recorded |",
            "",
            "## The server profile",
            "",
            "`claude-mem serve` reads the same variables, then the file that `--config` names (the names of this table),"
            " then defaults. What holds a password may stand in a file of its own instead: `CLAUDE_MEM_DATABASE_URL_FILE`"
            " names it, and so on for each of "
            + ", ".join(f"`{name}`" for name in sorted(SECRET))
            + ". [server.md](server.md) says how they go together.",
            "",
            "| setting | variable | default | values | what it does |",
            "|---|---|---|---|---|",
            *server,
            "",
        ]
    )


def own_first(settings: type[ModelSettings]) -> list[Any]:
    """A profile's settings, before those that both share."""
    return sorted(fields(settings), key=lambda it: it.name in EMBEDDING_SETTINGS | RERANK_SETTINGS)


def _variable(name: str) -> str:
    return f"`CLAUDE_MEM_{name.upper()}`"


def _default(field: Any) -> str:
    if field.default is MISSING:
        return "`~/.claude-mem`"
    value = field.default
    if value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: Any) -> str:
    if field.name in RANGES:
        low, high = RANGES[field.name]
        return f"{low} to {high}"
    if field.name in CHOICES:
        return ", ".join(f"`{word}`" for word in CHOICES[field.name])
    return "`true`, `false`" if isinstance(field.default, bool) else "text"


# -- commands -------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command of `claude-mem` by name, those of a group by both names."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        group = getattr(command, "commands", None)
        if group is None:
            found[name] = command
        else:
            found |= {f"{name} {inner}": it for inner, it in group.items()}
    return found


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        _MADE,
        "",
        "Exit codes: 0 done, 1 failed (what happened and the next step are on stderr), 2 wrong use. With `--json` there is"
        " one JSON object on stdout and nothing else. `CLAUDE_MEM_HOME` chooses the data folder.",
        "",
    ]
    for name, command in commands().items():
        if not command.hidden:
            lines += _command(name, command)
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [it for it in command.params if it.param_type_name == "argument"]
    options = [it for it in command.params if it.param_type_name == "option" and not it.hidden]
    shown = "".join(f" {_argument(it)}" for it in arguments)
    yield f"## `claude-mem {name}{shown}{' [options]' if options else ''}`"
    yield ""
    yield " ".join(command.help.split())
    yield ""
    if arguments or options:
        yield "| | |"
        yield "|---|---|"
        for it in arguments:
            yield f"| `{_argument(it)}` | {_help(it)} |"
        for it in options:
            value = "" if it.is_flag else f" {it.metavar or it.name.upper()}"
            spelled = "`, `".join(name + value for name in (*it.opts, *it.secondary_opts))
            yield f"| `{spelled}` | {_help(it)}{_option_default(it)} |"
        yield ""


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).strip("[]").upper()
    many = name + ("..." if parameter.nargs == -1 and not name.endswith("...") else "")
    return many if parameter.required else f"[{many}]"


def _help(parameter: Any) -> str:
    return " ".join((parameter.help or "").split()).replace("|", "\\|")


def _option_default(parameter: Any) -> str:
    value = parameter.default
    if value is None or isinstance(value, bool) or callable(value):
        return ""
    shown = value.value if isinstance(value, Enum) else value
    return f" Default: `{shown}`."


# -- events ---------------------------------------------------------------------------------------


def _events() -> list[tuple[str, type[BaseModel]]]:
    return [(model.model_fields["type"].annotation.__args__[0], model) for model in EVENT_MODELS]  # type: ignore[union-attr]


def event_schema(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of one event type."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{kind}.json"}
    return found | model.model_json_schema()


def events_page() -> str:
    """Every event type: what it makes, and the fields of its data."""
    envelope = EVENT_MODELS[0]
    lines = [
        "# Events",
        "",
        _MADE,
        "",
        "Everything that is remembered comes in as events. The hooks send them; anything else may:",
        "",
        "```sh",
        'curl -H "Authorization: Bearer $(cat ~/.claude-mem/token)" -H "Content-Type: application/json" \\',
        "     -d @events.json http://127.0.0.1:37700/api/v1/events",
        "```",
        "",
        f'The body is `{{"events": [...]}}` with 1 to {MAX_EVENTS} events. `202 {{"accepted": n, "duplicates": m}}` means:'
        " on disk. All of a batch is taken or none; a fault names its index and field"
        " ([errors](errors.md#validation_error)). Unknown fields are refused. Sending an event again is harmless: its id is"
        " known. `503` with `Retry-After` means: later.",
        "",
        "Secrets are masked before anything is written. Long texts keep head, tail and size.",
        "",
        "## The event",
        "",
        "| field | | |",
        "|---|---|---|",
        *(
            f"| `{name}` | {_type(_property(envelope, name))} | {ENVELOPE[name]} |"
            for name in ("id", "type", "occurred_at", "agent", "session", "project", "role", "data")
        ),
        "",
        "Rows are read in the order of (`occurred_at`, `id`); arrival may differ.",
        "",
        "### In the data of every type",
        "",
        "| field | | |",
        "|---|---|---|",
        *(
            f"| `{name}` | {_type(_data(envelope)['properties'][name])} | {text} |"
            for name, text in COMMON.items()
        ),
        "",
    ]
    for kind, model in _events():
        lines += _event(kind, model)
    lines += [
        "## Usage",
        "",
        "| field | |",
        "|---|---|",
        *(
            f"| `{name}` | {_type(spec)} |"
            for name, spec in Usage.model_json_schema()["properties"].items()
        ),
        "",
    ]
    return "\n".join(lines)


ENVELOPE = {
    "id": "UUIDv7 in lower case, made by the sender. The same id twice is one event.",
    "type": "One of the types below.",
    "occurred_at": "ISO 8601 with a zone, from 1970 to 9999: `2026-11-20T10:00:00.123Z`.",
    "agent": "Which agent: `claude-code`, or a name of your own.",
    "session": "The agent's own session id.",
    "project": "An absolute path (its git root is taken) or a stable name.",
    "role": "The role the agent works in, where a project has several.",
    "data": "By type.",
}
COMMON = {
    "prompt_id": "The agent's id of the person's prompt behind this.",
    "agent_id": "The subagent this is of.",
    "agent_type": "What kind of subagent.",
    "cwd": "The folder the agent worked in; opt-out files above it count.",
    "git_branch": "The branch checked out.",
    "origin": "Where the event comes from.",
}


def _data(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    name = schema["properties"]["data"]["$ref"].rpartition("/")[2]
    found: dict[str, Any] = schema["$defs"][name]
    return found


def _property(model: type[BaseModel], name: str) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["properties"][name]
    return {"type": "string"} if name == "type" else found


def _event(kind: str, model: type[BaseModel]) -> Iterator[str]:
    data = _data(model)
    yield f"## `{kind}`"
    yield ""
    yield f"{' '.join(data['description'].split())} {EVENTS[kind]} [Schema](schemas/{kind}.json)."
    yield ""
    yield "| field | | |"
    yield "|---|---|---|"
    required = data.get("required", [])
    names = [name for name in data["properties"] if name not in COMMON or name in required]
    for name in sorted(names, key=lambda it: (it not in required, names.index(it))):
        need = "required" if name in required else _event_default(data["properties"][name])
        yield f"| `{name}` | {_type(data['properties'][name])} | {need} |"
    yield ""


def _event_default(spec: dict[str, Any]) -> str:
    value = spec.get("default")
    return "" if value is None else f"default `{json.dumps(value)}`"


def _type(spec: dict[str, Any]) -> str:
    if "anyOf" in spec:
        return _type(next(it for it in spec["anyOf"] if it.get("type") != "null"))
    if "$ref" in spec:
        return "[usage](#usage)" if spec["$ref"].endswith("/Usage") else "object"
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    kind = spec.get("type", "any")
    if kind == "array":
        return f"list of at most {spec['maxItems']}: {_type(spec['items'])}"
    if kind == "string":
        low, high = spec.get("minLength"), spec.get("maxLength")
        bounds = f"{low or 0} to {high:,} characters" if high else ""
        return f"text, {bounds}" if bounds else "text"
    if kind in {"integer", "number"}:
        bounds = f"from {spec.get('minimum', 0)}"
        return f"{kind} {bounds}" + (f" to {spec['maximum']:,}" if "maximum" in spec else "")
    return str(kind)


# -- OpenAPI --------------------------------------------------------------------------------------


def openapi() -> dict[str, Any]:
    """The document of the API, made from the application itself."""

    async def health(_caller: Scope | None, _fresh: bool) -> dict[str, Any]:
        return {}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> Any:
        yield

    def authenticate(_header: str | None) -> Scope:
        raise AuthMissing("only a document")

    parts = Parts(
        version=__version__, state={}, authenticate=authenticate, health=health, lifespan=lifespan
    )
    document: dict[str, Any] = make_api(parts).openapi()
    return document


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def stale() -> list[Path]:
    """Made files that do not say what the code says, and schemas of types that are gone."""
    made = generate()
    wrong = [path for path, text in made.items() if not _says(ROOT / path, text)]
    schemas = {path.relative_to(ROOT) for path in (ROOT / "docs" / "schemas").glob("*.json")}
    return sorted([*wrong, *(schemas - set(made))])


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main(arguments: list[str]) -> int:
    """Write everything, or with `--check` say what is stale and exit 1."""
    wrong = stale()
    if arguments == ["--check"]:
        for path in wrong:
            print(f"stale: {path}; run python -m tools.docs", file=sys.stderr)
        return 1 if wrong else 0
    made = generate()
    for path in wrong:
        target = ROOT / path
        if path not in made:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(made[path], encoding="utf-8")
    print(f"{len(wrong)} of {len(made)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
