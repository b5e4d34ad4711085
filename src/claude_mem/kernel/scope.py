"""Who is asking, frozen.

Every service and repository method takes a `Scope` first: required, never global, never optional.
"""

from __future__ import annotations

from dataclasses import dataclass

# The local profile is the server profile with one of each, already made (fixed ids: version 7, time zero).
LOCAL_ENTERPRISE = "00000000-0000-7000-8000-000000000001"
LOCAL_SOLUTION = "00000000-0000-7000-8000-000000000002"
LOCAL_USER = "00000000-0000-7000-8000-000000000003"


@dataclass(frozen=True, slots=True)
class Scope:
    """`enterprise_id` and `user_id` are UUIDs; `permissions` are names such as `events:write`."""

    enterprise_id: str
    user_id: str
    permissions: frozenset[str]

    def allows(self, permission: str) -> bool:
        """Whether the permission is held; deny by default."""
        return permission in self.permissions


ALL_PERMISSIONS = frozenset(
    {
        "admin",
        "admin:write",
        "events:write",
        "observations:read",
        "observations:write",
        "search:read",
        "sessions:read",
        "sessions:write",
        "export:read",
        "forget:write",
    }
)


def local_scope() -> Scope:
    """The one person of the local profile."""
    return Scope(LOCAL_ENTERPRISE, LOCAL_USER, ALL_PERMISSIONS)
