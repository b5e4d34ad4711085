"""The enterprise and what it is made of: solutions, their projects, and who works in those as what.

A project that an agent works in makes itself, under the oldest solution; here people make, name and place them.
Membership says who works where and as what (frontend, reviewer). What somebody may do, their user's role says, and
nothing else.
"""

from __future__ import annotations

from typing import Any

from claude_mem.domains.access import audit, repository, users
from claude_mem.domains.access.model import Origin, clean_name
from claude_mem.kernel import zones
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Conflict, Detail, Invalid, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
MOST_SETTINGS = 100


def enterprise(scope: Scope, tx: Tx) -> Row:
    """The scope's own enterprise. Raises NotFound for whoever is of none."""
    row = repository.enterprise(scope, tx)
    if row is None:
        raise NotFound("no such enterprise")
    return row


def change_enterprise(
    scope: Scope,
    tx: Tx,
    origin: Origin,
    name: str | None = None,
    settings: Row | None = None,
    timezone: str | None = None,
) -> Row:
    """Give the enterprise another name, put settings, those that are None out, and its zone; "" takes that out.

    Raises Invalid.
    """
    repository.hold_users(scope, tx)  # settings are read and then written
    before = enterprise(scope, tx)
    new: Row = {}
    if name is not None and (cleaned := clean_name("name", name)) != before["name"]:
        new["name"] = cleaned
    if settings:
        merged = {**before["settings_json"], **settings}
        kept = {key: value for key, value in merged.items() if value is not None}
        if len(kept) > MOST_SETTINGS:
            raise _invalid("settings", f"an enterprise keeps {MOST_SETTINGS} settings")
        if kept != before["settings_json"]:
            new["settings_json"] = kept
    if timezone is not None and (timezone or None) != before["timezone"]:
        if timezone and (wrong := zones.fault(timezone)):
            raise _invalid("timezone", wrong)
        new["timezone"] = timezone or None
    if new:
        repository.change_enterprise(scope, tx, new)
        told = {"name": new.get("name"), "settings": sorted(settings or {})}
        told |= {"timezone": new["timezone"]} if "timezone" in new else {}
        audit.note(scope, tx, origin, "enterprise.change", scope.enterprise_id, told)
    return {**before, **new}


def solution(scope: Scope, tx: Tx, solution_id: str) -> Row:
    """One solution. Raises NotFound."""
    row = repository.solution(scope, tx, solution_id)
    if row is None:
        raise NotFound("no such solution")
    return row


def solutions(scope: Scope, tx: Tx, *, after: str | None, offset: int, limit: int) -> list[Row]:
    """Solutions in the order in which they were made."""
    return repository.solutions_page(scope, tx, after=after, offset=offset, limit=limit)


def make_solution(scope: Scope, tx: Tx, origin: Origin, name: str) -> Row:
    """Add a solution. Raises Invalid, or Conflict where the name is another's."""
    repository.hold_names(scope, tx)
    solution_id, name = new_id(), clean_name("name", name)
    if not repository.add_solution(scope, tx, solution_id=solution_id, name=name, now=now_ms()):
        raise Conflict("a solution of this enterprise has this name already")
    audit.note(scope, tx, origin, "solutions.create", solution_id, {"name": name})
    return solution(scope, tx, solution_id)


def rename_solution(scope: Scope, tx: Tx, origin: Origin, solution_id: str, name: str) -> Row:
    """Give a solution another name. Raises NotFound, Invalid, or Conflict where the name is another's."""
    repository.hold_names(scope, tx)
    before, name = solution(scope, tx, solution_id), clean_name("name", name)
    if before["name"] == name:
        return before
    if repository.named_solution(scope, tx, name) is not None:
        raise Conflict("a solution of this enterprise has this name already")
    repository.rename_solution(scope, tx, solution_id, name)
    audit.note(scope, tx, origin, "solutions.change", solution_id, {"name": name})
    return {**before, "name": name}


def project(scope: Scope, tx: Tx, project_id: str) -> Row:
    """One project. Raises NotFound."""
    row = repository.project(scope, tx, project_id)
    if row is None:
        raise NotFound("no such project")
    return row


def make_project(scope: Scope, tx: Tx, origin: Origin, name: str, solution_id: str | None) -> Row:
    """Add a project, known by its name, to a solution (None: the oldest).

    Raises NotFound, Invalid, or Conflict where a project has the name, or is known by it.
    """
    repository.hold_names(scope, tx)
    name = clean_name("name", name)
    place = (
        repository.first_solution(scope, tx)
        if solution_id is None
        else solution(scope, tx, solution_id)["id"]
    )
    _check_free(scope, tx, name)
    wanted, now = new_id(), now_ms()
    made = repository.add_project(
        scope, tx, project_id=wanted, solution_id=place, key=name, name=name, now=now
    )
    if made != wanted:  # an agent was faster
        raise Conflict("a project of this enterprise has this name already")
    audit.note(scope, tx, origin, "projects.create", wanted, {"name": name, "solution_id": place})
    return project(scope, tx, wanted)


def change_project(
    scope: Scope, tx: Tx, origin: Origin, project_id: str, name: str | None, solution_id: str | None
) -> Row:
    """Give a project another name, or another solution; what it is known by stays.

    Raises NotFound, Invalid, or Conflict where another project has the name.
    """
    repository.hold_names(scope, tx)
    before = project(scope, tx, project_id)
    new: Row = {}
    if name is not None and (cleaned := clean_name("name", name)) != before["name"]:
        _check_free(scope, tx, cleaned, besides=project_id)
        new["name"] = cleaned
    if solution_id is not None and solution_id != before["solution_id"]:
        new["solution_id"] = solution(scope, tx, solution_id)["id"]
    if new:
        repository.change_project(scope, tx, project_id, new)
        audit.note(scope, tx, origin, "projects.change", project_id, new)
    return {**before, **new}


def role(scope: Scope, tx: Tx, project_id: str, role_id: str) -> Row:
    """One role of a project. Raises NotFound."""
    row = repository.role(scope, tx, project_id, role_id)
    if row is None:
        raise NotFound("no such role")
    return row


def roles(
    scope: Scope, tx: Tx, project_id: str, *, after: str | None, offset: int, limit: int
) -> list[Row]:
    """A project's roles. Raises NotFound."""
    project(scope, tx, project_id)
    return repository.roles_page(scope, tx, project_id, after=after, offset=offset, limit=limit)


def make_role(
    scope: Scope, tx: Tx, origin: Origin, project_id: str, name: str, *, is_supervisor: bool
) -> Row:
    """Add a role to a project. Raises NotFound, Invalid, or Conflict where it has one of that name."""
    project(scope, tx, project_id)
    row: Row = {
        "id": new_id(),
        "project_id": project_id,
        "name": clean_name("name", name),
        "is_supervisor": is_supervisor,
        "created_at": now_ms(),
    }
    if not repository.add_role(scope, tx, row):
        raise Conflict("a role of this project has this name already")
    told = {"project_id": project_id, "name": row["name"], "is_supervisor": is_supervisor}
    audit.note(scope, tx, origin, "roles.create", row["id"], told)
    return row


def remove_role(scope: Scope, tx: Tx, origin: Origin, project_id: str, role_id: str) -> None:
    """Remove a role; members who had it stay, without one. Raises NotFound."""
    row = role(scope, tx, project_id, role_id)
    repository.remove_role(scope, tx, project_id, role_id)
    told = {"project_id": project_id, "name": row["name"]}
    audit.note(scope, tx, origin, "roles.remove", role_id, told)


def members(
    scope: Scope, tx: Tx, project_id: str, *, after: str | None, offset: int, limit: int
) -> list[Row]:
    """A project's members. Raises NotFound."""
    project(scope, tx, project_id)
    return repository.members_page(scope, tx, project_id, after=after, offset=offset, limit=limit)


def put_member(
    scope: Scope, tx: Tx, origin: Origin, project_id: str, user_id: str, role_id: str | None
) -> Row:
    """Make a user a member, or give them another role (None: none). Raises NotFound."""
    project(scope, tx, project_id)
    users.get(scope, tx, user_id)
    if role_id is not None:
        role(scope, tx, project_id, role_id)
    repository.put_member(
        scope, tx, project_id=project_id, user_id=user_id, role_id=role_id, now=now_ms()
    )
    told = {"project_id": project_id, "role_id": role_id}
    audit.note(scope, tx, origin, "members.put", user_id, told)
    row = repository.member(scope, tx, project_id, user_id)
    if row is None:
        raise NotFound("no such member")
    return row


def remove_member(scope: Scope, tx: Tx, origin: Origin, project_id: str, user_id: str) -> None:
    """End a membership. Raises NotFound."""
    project(scope, tx, project_id)
    if repository.member(scope, tx, project_id, user_id) is None:
        raise NotFound("no such member")
    repository.remove_member(scope, tx, project_id, user_id)
    audit.note(scope, tx, origin, "members.remove", user_id, {"project_id": project_id})


def _check_free(scope: Scope, tx: Tx, name: str, besides: str | None = None) -> None:
    if set(repository.match_projects(scope, tx, name)) - {besides}:
        raise Conflict("a project of this enterprise has this name already")


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", details=(Detail(field, message),))
