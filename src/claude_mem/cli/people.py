"""`claude-mem users` and `claude-mem keys`: who may come in, and with what."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from claude_mem.cli import server as at
from claude_mem.cli.output import USAGE, fail
from claude_mem.cli.server import Commands, Json, KeyFile, Row, Server

User = Annotated[str, typer.Argument(help="A user, by name or id.")]
_USER_COLUMNS = ("id", "username", "email", "role", "is_active")
_KEY_COLUMNS = (
    "id",
    "key_prefix",
    "name",
    "user",
    "permissions",
    "expires_at",
    "last_used_at",
    "is_revoked",
)


class Role(StrEnum):
    """What somebody may do."""

    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


def register(app: typer.Typer) -> None:
    """Add the groups."""
    users: Commands = {"list": list_users, "create": create_user, "change": change_user}
    at.group(app, "users", "Who belongs to the enterprise, and may do what.", users)
    keys: Commands = {"list": list_keys, "create": create_key, "revoke": revoke_key}
    at.group(app, "keys", "API keys: made, listed, revoked.", keys)


def list_users(server: Server = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Every user of the enterprise."""
    with at.organisation(server, key_file, as_json) as its:
        at.show_rows(list(its.users()), _USER_COLUMNS, as_json)


def create_user(
    name: Annotated[str, typer.Argument(help="The name, one user's only.")],
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.USER,
    email: Annotated[str | None, typer.Option(help="Their address.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a user; they come in with a key: `claude-mem keys create`."""
    with at.organisation(server, key_file, as_json) as its:
        row = its.make_user(name, role.value, email)
    at.show_row(row, f"{row['username']} is a user now ({row['role']}, {row['id']}).", as_json)


def change_user(
    user: User,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    email: Annotated[str | None, typer.Option(help="Another address.")] = None,
    role: Annotated[Role | None, typer.Option(help="What they may do from now on.")] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether they may come in.")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Change a user; all keys of theirs follow within two seconds."""
    with at.organisation(server, key_file, as_json) as its:
        user_id = at.pick(its.users(), user, "user", "username", as_json)["id"]
        wanted = None if role is None else role.value
        row = its.change_user(user_id, username=name, email=email, role=wanted, is_active=active)
    state = "may come in" if row["is_active"] else "may not come in"
    at.show_row(row, f"{row['username']}: {row['role']}, {state}.", as_json)


def list_keys(
    user: Annotated[str | None, typer.Option(help="Only this user's: name or id.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """One's own keys; an administrator's are everybody's."""
    with at.organisation(server, key_file, as_json) as its:
        names: dict[str, str] = {row["id"]: row["username"] for row in its.users()}
        wanted = None
        if user is not None:
            wanted = at.pick(its.users(), user, "user", "username", as_json)["id"]
        rows = [
            {**row, "user": names.get(row["user_id"], row["user_id"])}
            for row in its.keys(user_id=wanted)
        ]
    at.show_rows(rows, _KEY_COLUMNS, as_json)


def create_key(
    name: Annotated[str, typer.Argument(help="What it is for: laptop, build server.")],
    user: Annotated[str | None, typer.Option(help="Whose: name or id; else one's own.")] = None,
    permission: Annotated[
        list[str] | None,
        typer.Option(help="Only this, such as events:write; may be given more than once."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Its end: ISO 8601, or 90d, 12h.")] = None,
    rate: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it: standard output holds the key alone, this once."""
    end = None if expires is None else _end(expires, as_json)
    with at.organisation(server, key_file, as_json) as its:
        user_id = None
        if user is not None:
            user_id = at.pick(its.users(), user, "user", "username", as_json)["id"]
        row: Row = its.make_key(
            name,
            user_id=user_id,
            permissions=permission or None,
            rate_limit_rpm=rate,
            expires_at=end,
        )
    at.show_secret(row, row["key"], f"The key {row['name']} ({row['id']}).", as_json)


def revoke_key(
    key: Annotated[str, typer.Argument(help="A key, by its id or what is listed of it.")],
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Let a key open nothing any more, within two seconds, for good."""
    with at.organisation(server, key_file, as_json) as its:
        key_id = at.pick(its.keys(), key, "key", "key_prefix", as_json)["id"]
        row = its.revoke_key(key_id)
    at.show_row(row, f"The key {row['name']} ({row['key_prefix']}) is revoked.", as_json)


def _end(text: str, as_json: bool) -> str:
    """A moment, or a span from now on, as ISO 8601."""
    from claude_mem.kernel.clock import from_iso, now_ms, parse_moment, to_iso

    now = now_ms()
    try:
        try:
            return to_iso(from_iso(text))
        except ValueError:
            return to_iso(2 * now - parse_moment(text, now))
    except (ValueError, OverflowError):
        step = "for example --expires 90d, or --expires 2027-01-31"
        fail(f"--expires {text}: no moment", step, code="USAGE", as_json=as_json, status=USAGE)
