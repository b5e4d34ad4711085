"""The organisation by the API: enterprises, solutions, projects, roles, members, users, keys, the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

Row = dict[str, Any]
_PAGE = 200


class Caller(Protocol):
    """Whoever makes calls below the API root: the client."""

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One call. Raises ApiError or NotReachable."""
        ...


class Organisation:
    """What a client's key may see and change. Every call raises ApiError or NotReachable.

    Lists are read page by page, as far as they are iterated. Changes leave out what is None.
    """

    def __init__(self, client: Caller) -> None:
        self._client = client

    def enterprises(self) -> Iterator[Row]:
        """Every enterprise: id, name, created_at (operator)."""
        return self._pages("/enterprises")

    def make_enterprise(self, name: str, username: str = "admin", email: str | None = None) -> Row:
        """`enterprise`, `solution_id`, `user`, and a `key` of theirs, told this once (operator)."""
        body = {"name": name, "username": username, "email": email}
        return self._client.request("POST", "/enterprises", json=body)

    def rescue(self, enterprise_id: str) -> Row:
        """A key for the oldest active administrator of an enterprise that lost its own (operator)."""
        return self._client.request("POST", f"/enterprises/{_part(enterprise_id)}/keys")

    def enterprise(self) -> Row:
        """One's own enterprise."""
        return self._client.request("GET", "/enterprise")

    def change_timezone(self, timezone: str | None) -> Row:
        """Give one's own enterprise a time zone (an IANA name); None: the deployment's."""
        return self._client.request("PATCH", "/enterprise", json={"timezone": timezone})

    def change_enterprise(self, *, name: str | None = None, settings: Row | None = None) -> Row:
        """Another name; settings are put one by one, those that are None taken out."""
        return self._change("/enterprise", {"name": name, "settings": settings})

    def solutions(self) -> Iterator[Row]:
        """Every solution."""
        return self._pages("/solutions")

    def make_solution(self, name: str) -> Row:
        """A new solution."""
        return self._client.request("POST", "/solutions", json={"name": name})

    def rename_solution(self, solution_id: str, name: str) -> Row:
        """Another name for a solution."""
        return self._change(f"/solutions/{_part(solution_id)}", {"name": name})

    def projects(self) -> list[Row]:
        """Every project, by name."""
        found: list[Row] = self._client.request("GET", "/projects")["data"]
        return found

    def make_project(self, name: str, solution_id: str | None = None) -> Row:
        """A new project; without a solution it is the oldest one's."""
        body = {"name": name, "solution_id": solution_id}
        return self._client.request("POST", "/projects", json=body)

    def change_project(
        self, project_id: str, *, name: str | None = None, solution_id: str | None = None
    ) -> Row:
        """Another name, another solution."""
        body = {"name": name, "solution_id": solution_id}
        return self._change(f"/projects/{_part(project_id)}", body)

    def roles(self, project_id: str) -> Iterator[Row]:
        """A project's roles."""
        return self._pages(f"/projects/{_part(project_id)}/roles")

    def make_role(self, project_id: str, name: str, *, is_supervisor: bool = False) -> Row:
        """A new role of a project."""
        body = {"name": name, "is_supervisor": is_supervisor}
        return self._client.request("POST", f"/projects/{_part(project_id)}/roles", json=body)

    def remove_role(self, project_id: str, role_id: str) -> None:
        """Remove a role; members who had it stay."""
        path = f"/projects/{_part(project_id)}/roles/{_part(role_id)}"
        self._client.request("DELETE", path)

    def members(self, project_id: str) -> Iterator[Row]:
        """A project's members."""
        return self._pages(f"/projects/{_part(project_id)}/members")

    def put_member(self, project_id: str, user_id: str, role_id: str | None = None) -> Row:
        """Make a user a member, or give a member another role."""
        path = f"/projects/{_part(project_id)}/members/{_part(user_id)}"
        return self._client.request("PUT", path, json={"role_id": role_id})

    def remove_member(self, project_id: str, user_id: str) -> None:
        """End a membership."""
        path = f"/projects/{_part(project_id)}/members/{_part(user_id)}"
        self._client.request("DELETE", path)

    def users(self, *, active: bool | None = None) -> Iterator[Row]:
        """Every user; `active`: only those that are, or are not."""
        return self._pages("/users", active=active)

    def me(self) -> Row:
        """Whose key this is."""
        return self._client.request("GET", "/users/me")

    def make_user(self, username: str, role: str = "user", email: str | None = None) -> Row:
        """A new user: admin, user or viewer."""
        body = {"username": username, "role": role, "email": email}
        return self._client.request("POST", "/users", json=body)

    def change_user(self, user_id: str, **changes: Any) -> Row:
        """Change `username`, `email`, `role`, `is_active`."""
        return self._change(f"/users/{_part(user_id)}", changes)

    def keys(self, *, user_id: str | None = None) -> Iterator[Row]:
        """One's own keys; an administrator's are everybody's, or those of one user."""
        return self._pages("/keys", user=user_id)

    def make_key(self, name: str, **more: Any) -> Row:
        """A new key, told this once as `key`.

        `more`: `user_id`, `permissions` (a list), `rate_limit_rpm`, `expires_at` (ISO 8601).
        """
        body = {"name": name, **{key: value for key, value in more.items() if value is not None}}
        return self._client.request("POST", "/keys", json=body)

    def revoke_key(self, key_id: str) -> Row:
        """Let a key open nothing any more."""
        return self._client.request("DELETE", f"/keys/{_part(key_id)}")

    def audit(self) -> Iterator[Row]:
        """The audit log, newest first."""
        return self._pages("/audit")

    def _change(self, path: str, changes: Row) -> Row:
        given = {name: value for name, value in changes.items() if value is not None}
        return self._client.request("PATCH", path, json=given)

    def _pages(self, path: str, **filters: Any) -> Iterator[Row]:
        wanted = {name: value for name, value in filters.items() if value is not None}
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = self._client.request("GET", path, params={"limit": _PAGE, **wanted, **more})
            yield from page["data"]
            cursor = page["next_cursor"]


def _part(text: str) -> str:
    """One part of a path, whatever somebody typed."""
    return quote(text, safe="")
