"""Who is asking, frozen.

Every service and repository method takes a `Scope` first: required, never global, never optional.
"""

from __future__ import annotations

from dataclasses import dataclass

# The local profile is the server profile with one of each, already made (fixed ids: version 7, time zero).
LOCAL_ENTERPRISE = "00000000-0000-7000-8000-000000000001"
LOCAL_SOLUTION = "00000000-0000-7000-8000-000000000002"
LOCAL_USER = "00000000-0000-7000-8000-000000000003"

# Of no tenant: row-level security shows whoever asks as this one nothing at all.
NOBODY = "00000000-0000-0000-0000-000000000000"

# What each role of an enterprise may do: the one place that says so, deny by default. Every endpoint asks for one of
# these (or for the operator's) by name.
_VIEWER = frozenset(
    {
        "observations:read",
        "sessions:read",
        "search:read",
        "export:read",
        "organisation:read",  # the enterprise, its solutions, projects, roles, members, users
        "keys:own",  # see, make and revoke one's own keys
    }
)
_USER = _VIEWER | {"events:write", "observations:write", "sessions:write", "forget:write"}
_ADMIN = _USER | {
    "admin",
    "admin:write",
    "enterprise:write",
    "solutions:write",
    "projects:write",  # and their roles
    "members:write",
    "users:write",
    "keys:write",  # everybody's
    "audit:read",
    "forget:any",  # also what others recorded
}
ROLES = {"viewer": _VIEWER, "user": _USER, "admin": _ADMIN}
ALL_PERMISSIONS = _ADMIN
# Whoever runs the installation makes enterprises, and reads nothing of what they remember.
OPERATOR_PERMISSIONS = frozenset({"enterprises:write"})


@dataclass(frozen=True, slots=True)
class Scope:
    """`enterprise_id` and `user_id` are UUIDs; `permissions` are names such as `events:write`.

    `role` is the user's; `key_id` the API key that was shown, with its limit of requests a minute; None where there is
    none.
    """

    enterprise_id: str
    user_id: str
    permissions: frozenset[str]
    role: str | None = None
    key_id: str | None = None
    rate_limit_rpm: int | None = None

    def allows(self, permission: str) -> bool:
        """Whether the permission is held; deny by default."""
        return permission in self.permissions


def local_scope() -> Scope:
    """The one person of the local profile."""
    return Scope(LOCAL_ENTERPRISE, LOCAL_USER, ALL_PERMISSIONS, role="admin")


def operator_scope() -> Scope:
    """Whoever runs the installation: of no tenant."""
    return Scope(NOBODY, NOBODY, OPERATOR_PERMISSIONS, role="operator")


def tenant_scope(enterprise_id: str) -> Scope:
    """The program itself at work inside one tenant's rows, on nobody's behalf and with nobody's permissions."""
    return Scope(enterprise_id, NOBODY, frozenset())


def nobody() -> Scope:
    """The program itself, of no tenant: reads and writes no row, and calls the few functions that need no tenant."""
    return tenant_scope(NOBODY)
