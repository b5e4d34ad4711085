"""Enterprises, solutions, projects, roles, members: by API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from claude_mem.domains.access import founding, organisation
from claude_mem.domains.access.acting import Acting, Pages, acting
from claude_mem.domains.access.endpoints import require
from claude_mem.domains.access.schemas import (
    EnterpriseChange,
    EnterpriseLine,
    EnterpriseMade,
    EnterpriseOut,
    KeyMade,
    Listing,
    MemberOut,
    Membership,
    Named,
    NewEnterprise,
    NewProject,
    NewRole,
    ProjectChange,
    ProjectOut,
    RoleOut,
    SolutionOut,
    UserOut,
    listing,
    told,
)
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.queue import NewJob, Queue
from claude_mem.ports.tenants import Tenants

router = APIRouter(tags=["Organisation"])
Operator = Annotated[Scope, require("enterprises:write")]
Reader = Annotated[Scope, require("organisation:read")]
Id = Annotated[str, Path(max_length=64)]


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


@router.get("/enterprises", summary="Every enterprise (operator)")
async def get_enterprises(
    request: Request, scope: Operator, pages: Pages
) -> Listing[EnterpriseLine]:
    """Names and ids; what an enterprise remembers is not the operator's to read."""
    wanted, encode = pages.of(scope, "enterprises")
    tenants: Tenants = request.app.state.tenants
    limit, after = wanted["limit"], wanted["after"]
    for _ in range(pages.page - 1):  # ids come page by page, whoever wants a later one
        passed = await tenants.ids(after, pages.limit)
        if not passed:
            return Listing[EnterpriseLine](data=[], next_cursor=None)
        after = passed[-1]
    ids = await tenants.ids(after, limit)
    shown = await founding.names(_database(request), ids[: pages.limit])
    cursor = encode(ids[pages.limit - 1]) if len(ids) > pages.limit else None
    return Listing[EnterpriseLine](
        data=[told(EnterpriseLine, row) for row in shown], next_cursor=cursor
    )


@router.post("/enterprises", status_code=201, summary="Make an enterprise (operator)")
async def post_enterprise(
    by: Annotated[Acting, acting("enterprises.create", "enterprises:write")], body: NewEnterprise
) -> EnterpriseMade:
    """With its first solution, an administrator and a key of theirs, which is shown this once."""
    made = await founding.found(by.database, by.origin, body.name, body.username, body.email)
    return EnterpriseMade(
        enterprise=told(EnterpriseOut, made.enterprise),
        solution_id=made.solution_id,
        user=told(UserOut, made.user),
        key=told(KeyMade, made.key_row, key=made.key),
    )


@router.post(
    "/enterprises/{enterprise_id}/keys",
    status_code=201,
    summary="A key for an enterprise that lost its own (operator)",
)
async def post_rescue(
    by: Annotated[Acting, acting("enterprises.rescue", "enterprises:write")], enterprise_id: Id
) -> KeyMade:
    """For its oldest active administrator; it is in the enterprise's audit log, for all its administrators to see."""
    row, key = await founding.rescue(by.database, by.origin, enterprise_id)
    return told(KeyMade, row, key=key)


@router.get("/enterprise", summary="One's own enterprise")
async def get_enterprise(request: Request, scope: Reader) -> EnterpriseOut:
    """Its name and settings."""
    row = await _database(request).read(scope, lambda tx: organisation.enterprise(scope, tx))
    return told(EnterpriseOut, row)


@router.patch("/enterprise", summary="Rename one's own enterprise, change its settings")
async def patch_enterprise(
    request: Request,
    by: Annotated[Acting, acting("enterprise.change", "enterprise:write")],
    body: EnterpriseChange,
) -> EnterpriseOut:
    """Settings are the enterprise's own notes for its tools: the program reads none of them.

    In its time zone (an IANA name) "yesterday" and "last week" are counted; after a change the search index is made
    anew in the background. null: the deployment's.
    """
    zone = (body.timezone or "") if "timezone" in body.model_fields_set else None
    queue: Queue = request.app.state.queue

    def work(tx: Tx) -> dict[str, Any]:
        was = organisation.enterprise(by.scope, tx)["timezone"]
        row = organisation.change_enterprise(
            by.scope, tx, by.origin, body.name, body.settings, zone
        )
        if row["timezone"] != was:
            queue.enqueue(by.scope, tx, [NewJob("index.rebuild", "all")])
        return row

    return told(EnterpriseOut, await by.write(work))


@router.get("/solutions", summary="Solutions")
async def get_solutions(request: Request, scope: Reader, pages: Pages) -> Listing[SolutionOut]:
    """In the order in which they were made."""
    wanted, encode = pages.of(scope, "solutions")
    rows = await _database(request).read(
        scope, lambda tx: organisation.solutions(scope, tx, **wanted)
    )
    return listing(SolutionOut, rows, pages.limit, encode)


@router.post("/solutions", status_code=201, summary="Make a solution")
async def post_solution(
    by: Annotated[Acting, acting("solutions.create", "solutions:write")], body: Named
) -> SolutionOut:
    """Its name is its own within the enterprise."""
    row = await by.write(lambda tx: organisation.make_solution(by.scope, tx, by.origin, body.name))
    return told(SolutionOut, row)


@router.get("/solutions/{solution_id}", summary="One solution")
async def get_solution(request: Request, scope: Reader, solution_id: Id) -> SolutionOut:
    """By its id."""
    row = await _database(request).read(
        scope, lambda tx: organisation.solution(scope, tx, solution_id)
    )
    return told(SolutionOut, row)


@router.patch("/solutions/{solution_id}", summary="Rename a solution")
async def patch_solution(
    by: Annotated[Acting, acting("solutions.change", "solutions:write")],
    solution_id: Id,
    body: Named,
) -> SolutionOut:
    """Its name is its own within the enterprise."""
    row = await by.write(
        lambda tx: organisation.rename_solution(by.scope, tx, by.origin, solution_id, body.name)
    )
    return told(SolutionOut, row)


@router.post("/projects", status_code=201, summary="Make a project")
async def post_project(
    by: Annotated[Acting, acting("projects.create", "projects:write")], body: NewProject
) -> ProjectOut:
    """Agents' projects make themselves; this is for one that is to be named, or placed, before."""
    row = await by.write(
        lambda tx: organisation.make_project(by.scope, tx, by.origin, body.name, body.solution_id)
    )
    return told(ProjectOut, row)


@router.get("/projects/{project_id}", summary="One project")
async def get_project(request: Request, scope: Reader, project_id: Id) -> ProjectOut:
    """By its id."""
    row = await _database(request).read(
        scope, lambda tx: organisation.project(scope, tx, project_id)
    )
    return told(ProjectOut, row)


@router.patch("/projects/{project_id}", summary="Rename a project, or place it")
async def patch_project(
    by: Annotated[Acting, acting("projects.change", "projects:write")],
    project_id: Id,
    body: ProjectChange,
) -> ProjectOut:
    """Its key stays: agents' work is known to be of it by that."""
    row = await by.write(
        lambda tx: organisation.change_project(
            by.scope, tx, by.origin, project_id, body.name, body.solution_id
        )
    )
    return told(ProjectOut, row)


@router.get("/projects/{project_id}/roles", summary="A project's roles")
async def get_roles(
    request: Request, scope: Reader, project_id: Id, pages: Pages
) -> Listing[RoleOut]:
    """In the order in which they were made."""
    wanted, encode = pages.of(scope, f"roles {project_id}")
    rows = await _database(request).read(
        scope, lambda tx: organisation.roles(scope, tx, project_id, **wanted)
    )
    return listing(RoleOut, rows, pages.limit, encode)


@router.post("/projects/{project_id}/roles", status_code=201, summary="Make a role of a project")
async def post_role(
    by: Annotated[Acting, acting("roles.create", "projects:write")], project_id: Id, body: NewRole
) -> RoleOut:
    """Its name is its own within the project."""
    row = await by.write(
        lambda tx: organisation.make_role(
            by.scope, tx, by.origin, project_id, body.name, is_supervisor=body.is_supervisor
        )
    )
    return told(RoleOut, row)


@router.delete(
    "/projects/{project_id}/roles/{role_id}", status_code=204, summary="Remove a role of a project"
)
async def delete_role(
    by: Annotated[Acting, acting("roles.remove", "projects:write")], project_id: Id, role_id: Id
) -> None:
    """Members who had it stay, without one."""
    await by.write(
        lambda tx: organisation.remove_role(by.scope, tx, by.origin, project_id, role_id)
    )


@router.get("/projects/{project_id}/members", summary="A project's members")
async def get_members(
    request: Request, scope: Reader, project_id: Id, pages: Pages
) -> Listing[MemberOut]:
    """In the order of their ids."""
    wanted, encode = pages.of(scope, f"members {project_id}")
    rows = await _database(request).read(
        scope, lambda tx: organisation.members(scope, tx, project_id, **wanted)
    )
    return listing(MemberOut, rows, pages.limit, encode, key="user_id")


@router.put("/projects/{project_id}/members/{user_id}", summary="Make a user a project's member")
async def put_member(
    by: Annotated[Acting, acting("members.put", "members:write")],
    project_id: Id,
    user_id: Id,
    body: Membership,
) -> MemberOut:
    """Or give a member another role. What they may do, their user's role says, and this does not change it."""
    row = await by.write(
        lambda tx: organisation.put_member(
            by.scope, tx, by.origin, project_id, user_id, body.role_id
        )
    )
    return told(MemberOut, row)


@router.delete(
    "/projects/{project_id}/members/{user_id}", status_code=204, summary="End a membership"
)
async def delete_member(
    by: Annotated[Acting, acting("members.remove", "members:write")], project_id: Id, user_id: Id
) -> None:
    """The user stays."""
    await by.write(
        lambda tx: organisation.remove_member(by.scope, tx, by.origin, project_id, user_id)
    )
