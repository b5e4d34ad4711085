"""Pure rules of the organisation: what a key looks like, what a name may be, what a key lets its holder do.

A key is `cm_sk_<enterprise>_<secret>`: the enterprise's id in 32 hexadecimal digits, and 43 letters and digits drawn
at random (256 bits). Because a key names its enterprise, it is looked up among that tenant's rows and nowhere else. Of
a key only its SHA-256 is kept. A slow hash protects secrets that people think of; what is random cannot be guessed
however fast the hash, and a fast one is what every request can afford.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from claude_mem.kernel.errors import Detail, Invalid
from claude_mem.kernel.scope import NOBODY, ROLES, Scope

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_LENGTH = 43  # of 62 letters: 256.03 bits
ALL_OF_ROLE = "*"  # whatever the owner's role holds, also what it will
NAME_LENGTH, EMAIL_LENGTH = 200, 254
DEFAULT_RPM, MAX_RPM = 600, 1_000_000
_SHOWN = 4  # letters of a secret that help people tell keys apart; 232 bits remain
_KEY = re.compile(
    r"cm_sk_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_[0-9A-Za-z]{43}"
)
_EMAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\\x00-\x20\x7f]+@[^\s@<>,;:\"()\[\]\\\x00-\x20\x7f]+")
_NOT_IN_NAMES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # invisible, and needed to write Persian


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, for the audit log; `started` is a reading of `time.perf_counter`."""

    address: str | None
    agent: str | None
    started: float


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be."""

    username: str
    role: str
    email: str | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be; `permissions` None: all that its owner's role holds, as far as whoever makes it holds it too."""

    user_id: str
    name: str
    permissions: tuple[str, ...] | None = None
    rate_limit_rpm: int = DEFAULT_RPM
    expires_at: int | None = None


def make_key_text(enterprise_id: str, secret: str) -> str:
    """The text of a key."""
    return f"cm_sk_{enterprise_id.replace('-', '')}_{secret}"


def key_prefix(text: str) -> str:
    """What people see of a key: its enterprise and the secret's first letters."""
    return text[: len(text) - SECRET_LENGTH + _SHOWN]


def enterprise_of_key(text: str) -> str | None:
    """The enterprise a key names; None for what is no key. The program's own scope, which is nobody's, has none."""
    found = _KEY.fullmatch(text)
    named = None if found is None else "-".join(found.groups())
    return None if named == NOBODY else named


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal: all that is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def permissions_of(role: str, stored: Iterable[str]) -> frozenset[str]:
    """What a key lets its holder do: never more than its owner's role holds now."""
    held = ROLES.get(role, frozenset())
    wanted = frozenset(stored)
    return held if ALL_OF_ROLE in wanted else held & wanted


def scope_of_key(row: dict[str, Any]) -> Scope:
    """The scope behind a key's row that was read with its owner's role."""
    return Scope(
        enterprise_id=row["enterprise_id"],
        user_id=row["user_id"],
        permissions=permissions_of(row["role"], row["permissions_json"]),
        role=row["role"],
        key_id=row["id"],
        rate_limit_rpm=row["rate_limit_rpm"],
    )


def clean_name(field: str, text: str) -> str:
    """A name in its one spelling (NFC), without the spaces around it.

    Raises Invalid for an empty or long one, and for characters that steer what shows them or cannot be seen.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= NAME_LENGTH:
        raise _invalid(field, f"expected 1 to {NAME_LENGTH} characters")
    if any(unicodedata.category(it) in _NOT_IN_NAMES and it not in _JOINERS for it in name):
        raise _invalid(field, "control and invisible characters are no part of a name")
    return name


def clean_email(text: str | None) -> str | None:
    """An address without the spaces around it; what is not plainly one raises Invalid."""
    if text is None:
        return None
    address = text.strip()
    if len(address) > EMAIL_LENGTH or not _EMAIL.fullmatch(address):
        raise _invalid("email", "expected an address such as ada@example.com")
    return address


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", details=(Detail(field, message),))
