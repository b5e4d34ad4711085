"""How the organisation looks on the wire: strict in what is taken, explicit in what is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from claude_mem.domains.access.model import DEFAULT_RPM, MAX_RPM
from claude_mem.kernel.clock import from_iso, to_iso
from claude_mem.kernel.errors import Detail, Invalid

M = TypeVar("M", bound=BaseModel)
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=1000)
]  # the rule itself is the model's
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Role = Literal["admin", "user", "viewer"]
Permission = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z]{1,40}(:[a-z]{1,40})?)$")]
SettingName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
SettingValue = Annotated[str, StringConstraints(max_length=1000)] | bool | int | float | None
Moment = Annotated[str, StringConstraints(max_length=40)]


class Body(BaseModel):
    """What a request carries: nothing else, and each of the very type it says."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Change(Body):
    """A change of some fields: those that are not given stay as they are."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is to be changed")
        return self


class NewEnterprise(Body):
    """An enterprise to be, and its first administrator."""

    name: Name
    username: Name = "admin"
    email: Name | None = None


class EnterpriseChange(Change):
    """Settings are put one by one; one that is null is taken out. A time zone that is null is the deployment's."""

    name: Name | None = None
    timezone: Annotated[str, StringConstraints(max_length=64)] | None = None
    settings: Annotated[dict[SettingName, SettingValue], Field(max_length=100)] | None = None


class Named(Body):
    """A name."""

    name: Name


class NewProject(Body):
    """A project to be; without a solution it is the oldest one's."""

    name: Name
    solution_id: Id | None = None


class ProjectChange(Change):
    """Another name, another solution."""

    name: Name | None = None
    solution_id: Id | None = None


class NewRole(Body):
    """What members of a project can be."""

    name: Name
    is_supervisor: bool = False


class Membership(Body):
    """As what; null: as nothing in particular."""

    role_id: Id | None = None


class NewUserBody(Body):
    """A user to be."""

    username: Name
    role: Role = "user"
    email: Name | None = None


class UserChange(Change):
    """Another name, address or role; whether they may come in."""

    username: Name | None = None
    email: Name | None = None
    role: Role | None = None
    is_active: bool | None = None

    def given(self) -> dict[str, Any]:
        """The fields that were given. Raises Invalid for a null where there must be something."""
        found = self.model_dump(exclude_unset=True)
        for field, value in found.items():
            if value is None and field != "email":
                message = "this cannot be null"
                raise Invalid(f"{field}: {message}", details=(Detail(field, message),))
        return found


class NewKeyBody(Body):
    """A key to be: for oneself, unless `user_id` names another; with all that its owner's role holds, or less."""

    name: Name
    user_id: Id | None = None
    permissions: Annotated[list[Permission], Field(min_length=1, max_length=50)] | None = None
    rate_limit_rpm: Annotated[int, Field(ge=1, le=MAX_RPM)] = DEFAULT_RPM
    expires_at: Moment | None = None

    def end(self) -> int | None:
        """`expires_at` in Unix milliseconds. Raises Invalid."""
        if self.expires_at is None:
            return None
        try:
            return from_iso(self.expires_at)
        except ValueError as error:
            message = "expected a moment in ISO 8601"
            raise Invalid(
                f"expires_at: {message}", details=(Detail("expires_at", message),)
            ) from error


class EnterpriseOut(BaseModel):
    """An enterprise, told to those in it."""

    id: str
    name: str
    settings: dict[str, Any]
    created_at: str
    timezone: str | None = None


class EnterpriseLine(BaseModel):
    """An enterprise, told to the operator."""

    id: str
    name: str
    created_at: str


class SolutionOut(BaseModel):
    """A solution: projects that belong together."""

    id: str
    name: str
    created_at: str


class ProjectOut(BaseModel):
    """A project; `key` is what agents' work is known to be of it by: a git root, or its first name."""

    id: str
    solution_id: str
    key: str
    name: str
    created_at: str


class RoleOut(BaseModel):
    """What members of a project can be."""

    id: str
    project_id: str
    name: str
    is_supervisor: bool
    created_at: str


class MemberOut(BaseModel):
    """Who works in a project, and as what."""

    project_id: str
    user_id: str
    role_id: str | None
    created_at: str


class UserOut(BaseModel):
    """A user."""

    id: str
    username: str
    email: str | None
    role: str
    is_active: bool
    created_at: str
    updated_at: str


class KeyOut(BaseModel):
    """A key, of which nothing but its beginning is told; `permissions` ["*"]: all that its owner's role holds."""

    id: str
    user_id: str
    key_prefix: str
    name: str
    permissions: list[str]
    rate_limit_rpm: int
    expires_at: str | None
    last_used_at: str | None
    is_revoked: bool
    created_at: str


class KeyMade(KeyOut):
    """A new key; `key` is told this once and kept nowhere."""

    key: str


class EnterpriseMade(BaseModel):
    """What a new enterprise begins with."""

    enterprise: EnterpriseOut
    solution_id: str
    user: UserOut
    key: KeyMade


class AuditOut(BaseModel):
    """Who did what to which thing, from where, and how it ended (success, failure)."""

    id: str
    user_id: str
    action: str
    resource_type: str
    resource_id: str | None
    details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    result: str
    error: str | None
    duration_ms: int
    created_at: str


class Listing(BaseModel, Generic[M]):
    """One page; `next_cursor` is null on the last."""

    data: list[M]
    next_cursor: str | None


_MOMENTS = frozenset({"created_at", "updated_at", "expires_at", "last_used_at"})
_NAMES = {
    "settings_json": "settings",
    "permissions_json": "permissions",
    "action_type": "action",
    "action_details": "details",
    "result_status": "result",
    "error_message": "error",
    "execution_time_ms": "duration_ms",
}


def told(model: type[M], row: dict[str, Any], **more: Any) -> M:
    """A row as the wire has it: the model's fields and no others."""
    shown = {
        _NAMES.get(name, name): to_iso(value) if name in _MOMENTS and value is not None else value
        for name, value in row.items()
    }
    wanted = {name: value for name, value in (shown | more).items() if name in model.model_fields}
    return model(**wanted)


def listing(
    model: type[M],
    rows: Sequence[dict[str, Any]],
    limit: int,
    encode: Callable[[str], str],
    key: str = "id",
) -> Listing[M]:
    """A page from its rows, of which one more than `limit` was read; `encode` makes a cursor of a row's `key`."""
    shown = rows[:limit]
    cursor = encode(shown[-1][key]) if len(rows) > limit else None
    return Listing[model](data=[told(model, row) for row in shown], next_cursor=cursor)  # type: ignore[valid-type]
