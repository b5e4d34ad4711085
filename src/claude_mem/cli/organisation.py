"""`claude-mem enterprises`, `org` and `projects`: what an enterprise is made of, and, for operators, enterprises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli import server as at
from claude_mem.cli.output import emit
from claude_mem.cli.server import Commands, Json, KeyFile, Row, Server

if TYPE_CHECKING:
    from claude_mem.sdk.organisation import Organisation

Project = Annotated[str, typer.Argument(help="A project, by name or id.")]
User = Annotated[str, typer.Argument(help="A user, by name or id.")]
RoleName = Annotated[str, typer.Argument(help="The role's name.")]
_AUDIT_COLUMNS = ("created_at", "user_id", "action", "resource_id", "result", "ip_address")


def register(app: typer.Typer) -> None:
    """Add the groups."""
    enterprises: Commands = {
        "list": list_enterprises,
        "create": create_enterprise,
        "rescue": rescue_enterprise,
    }
    at.group(app, "enterprises", "Enterprises, for who runs a server.", enterprises)
    org: Commands = {
        "show": show_org,
        "rename": rename_org,
        "timezone": zone_org,
        "solutions": list_solutions,
        "add-solution": add_solution,
        "audit": show_audit,
    }
    at.group(app, "org", "One's own enterprise: name, solutions, who changed what.", org)
    projects: Commands = {
        "list": list_projects,
        "create": create_project,
        "change": change_project,
        "members": list_members,
        "join": join,
        "leave": leave,
        "roles": list_roles,
        "add-role": add_role,
        "remove-role": remove_role,
    }
    at.group(app, "projects", "Projects, and who works in them as what.", projects)


def list_enterprises(
    server: Server = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Every enterprise of a server; needs the operator's token."""
    with at.organisation(server, key_file, as_json) as its:
        at.show_rows(list(its.enterprises()), ("id", "name", "created_at"), as_json)


def create_enterprise(
    name: Annotated[str, typer.Argument(help="The enterprise's name.")],
    admin: Annotated[str, typer.Option(help="Its first administrator's name.")] = "admin",
    email: Annotated[str | None, typer.Option(help="The administrator's address.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make an enterprise and print its administrator's key; needs the operator's token."""
    with at.organisation(server, key_file, as_json) as its:
        made = its.make_enterprise(name, admin, email)
    said = f"{made['enterprise']['name']} ({made['enterprise']['id']}): the key of {admin}."
    at.show_secret(made, made["key"]["key"], said, as_json)


def rescue_enterprise(
    enterprise: Annotated[str, typer.Argument(help="The enterprise, by its id.")],
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Print a new administrator's key for an enterprise that lost its own; needs the operator's token."""
    with at.organisation(server, key_file, as_json) as its:
        made = its.rescue(enterprise)
    at.show_secret(made, made["key"], f"A key for {enterprise}.", as_json)


def show_org(server: Server = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """One's own enterprise, and oneself in it."""
    with at.organisation(server, key_file, as_json) as its:
        row, me = its.enterprise(), its.me()
    said = f"{row['name']} ({row['id']}): {me['username']}, {me['role']}."

    def show(out: Any) -> None:
        out.print(said, markup=False)
        if row["timezone"]:
            out.print(f"Time zone: {row['timezone']}", markup=False)
        for name, value in sorted(row["settings"].items()):
            out.print(f"  {name} = {value}", markup=False)

    emit({"ok": True, "enterprise": row, "user": me}, show, as_json)


def rename_org(
    name: Annotated[str, typer.Argument(help="The new name.")],
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give one's own enterprise another name."""
    with at.organisation(server, key_file, as_json) as its:
        row = its.change_enterprise(name=name)
    at.show_row(row, f"It is called {row['name']} now.", as_json)


def zone_org(
    name: Annotated[
        str | None,
        typer.Argument(help="Its IANA name, such as Asia/Shanghai; left out: the deployment's."),
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Set the time zone in which "yesterday" and "last week" are meant; the search index is made anew for it."""
    with at.organisation(server, key_file, as_json) as its:
        row = its.change_timezone(name)
    at.show_row(row, f"Days are those of {row['timezone'] or 'the deployment'} now.", as_json)


def list_solutions(server: Server = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Solutions: projects that belong together."""
    with at.organisation(server, key_file, as_json) as its:
        at.show_rows(list(its.solutions()), ("id", "name", "created_at"), as_json)


def add_solution(
    name: Annotated[str, typer.Argument(help="Its name, one solution's only.")],
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a solution."""
    with at.organisation(server, key_file, as_json) as its:
        row = its.make_solution(name)
    at.show_row(row, f"{row['name']} is a solution now ({row['id']}).", as_json)


def show_audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many lines.")] = 50,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Who changed what, or was not let; newest first."""
    with at.organisation(server, key_file, as_json) as its:
        rows = [row for _, row in zip(range(limit), its.audit(), strict=False)]
    at.show_rows(rows, _AUDIT_COLUMNS, as_json)


def list_projects(server: Server = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Every project, by name."""
    with at.organisation(server, key_file, as_json) as its:
        at.show_rows(its.projects(), ("id", "name", "key", "solution_id"), as_json)


def create_project(
    name: Annotated[str, typer.Argument(help="Its name.")],
    solution: Annotated[
        str | None, typer.Option(help="Where it belongs: name or id; else the oldest solution.")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a project; those that agents work in make themselves."""
    with at.organisation(server, key_file, as_json) as its:
        row = its.make_project(name, _solution(its, solution, as_json))
    at.show_row(row, f"{row['name']} is a project now ({row['id']}).", as_json)


def change_project(
    project: Project,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    solution: Annotated[str | None, typer.Option(help="Another solution: name or id.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give a project another name, or another solution."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        row = its.change_project(
            project_id, name=name, solution_id=_solution(its, solution, as_json)
        )
    at.show_row(row, f"{row['name']}: solution {row['solution_id']}.", as_json)


def list_members(
    project: Project, server: Server = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Who works in a project, and as what."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        names = {row["id"]: row["username"] for row in its.users()}
        roles = {row["id"]: row["name"] for row in its.roles(project_id)}
        rows = [
            {
                **row,
                "user": names.get(row["user_id"], row["user_id"]),
                "role": roles.get(row["role_id"]),
            }
            for row in its.members(project_id)
        ]
    at.show_rows(rows, ("user", "role", "user_id"), as_json)


def join(
    project: Project,
    user: User,
    role: Annotated[
        str | None, typer.Option("--as", help="As what: a role of the project, by name or id.")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a user a member of a project, or give a member another role."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        user_id = at.pick(its.users(), user, "user", "username", as_json)["id"]
        role_id = None if role is None else _role(its, project_id, role, as_json)
        row = its.put_member(project_id, user_id, role_id)
    at.show_row(row, f"{user} works in {project}{f' as {role}' if role else ''}.", as_json)


def leave(
    project: Project,
    user: User,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """End a membership; the user stays."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        user_id = at.pick(its.users(), user, "user", "username", as_json)["id"]
        its.remove_member(project_id, user_id)
    row: Row = {"project_id": project_id, "user_id": user_id}
    at.show_row(row, f"{user} works in {project} no more.", as_json)


def list_roles(
    project: Project, server: Server = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """What members of a project can be."""
    with at.organisation(server, key_file, as_json) as its:
        rows = list(its.roles(_project(its, project, as_json)))
    at.show_rows(rows, ("id", "name", "is_supervisor"), as_json)


def add_role(
    project: Project,
    name: RoleName,
    supervisor: Annotated[
        bool, typer.Option("--supervisor", help="It supervises the others.")
    ] = False,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a role of a project."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        row = its.make_role(project_id, name, is_supervisor=supervisor)
    at.show_row(row, f"{row['name']} is a role of {project} now ({row['id']}).", as_json)


def remove_role(
    project: Project,
    name: RoleName,
    server: Server = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Remove a role of a project; members who had it stay, without one."""
    with at.organisation(server, key_file, as_json) as its:
        project_id = _project(its, project, as_json)
        role_id = _role(its, project_id, name, as_json)
        its.remove_role(project_id, role_id)
    row: Row = {"project_id": project_id, "role_id": role_id}
    at.show_row(row, f"{name} is no role of {project} any more.", as_json)


def _project(its: Organisation, wanted: str, as_json: bool) -> str:
    return str(at.pick(its.projects(), wanted, "project", "name", as_json)["id"])


def _role(its: Organisation, project_id: str, wanted: str, as_json: bool) -> str:
    return str(at.pick(its.roles(project_id), wanted, "role", "name", as_json)["id"])


def _solution(its: Organisation, wanted: str | None, as_json: bool) -> str | None:
    if wanted is None:
        return None
    return str(at.pick(its.solutions(), wanted, "solution", "name", as_json)["id"])
