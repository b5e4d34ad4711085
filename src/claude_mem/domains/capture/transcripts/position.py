"""Where to go on reading a transcript: a byte offset at the start of a turn, and what was known
there.

Positions outlive the process: the importer keeps them as JSON, the worker in a table. Must never put
a transcript's own words there unmasked.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from claude_mem.kernel.redact import mask_text

_SAMPLE = 4096  # bytes at the file's start, and before the offset, that must still be the same


@dataclass(frozen=True, slots=True)
class Known:
    """What the lines before an offset established: of the session, and of the turn that is going
    on.
    """

    session: str = ""
    project: str = ""
    prompt_id: str = ""
    asked: bool = False  # whether `prompt_id` has its prompt already
    # The fingerprint of the best title so far, which is only compared, and its rank; see `titles`.
    title_hash: str = ""
    title_rank: int = 0
    at: int = 0  # Unix milliseconds of the last dated line


@dataclass(frozen=True, slots=True)
class Position:
    """`offset` bytes are read for good, of `size` there were; `mark` tells whether the file is
    still that one.

    `complete` says that the file, as long as it has `size` bytes, has nothing more to give.
    """

    offset: int = 0
    size: int = 0
    mark: str = ""
    complete: bool = False
    known: Known = field(default_factory=Known)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object that may be stored: what masking would change is not in it.

        A project that is not kept is learnt again from the next line, which says its folder.
        """
        known = self.known
        safe = replace(
            known,
            session=mask_text(known.session),
            prompt_id=mask_text(known.prompt_id),
            project=known.project if mask_text(known.project) == known.project else "",
        )
        return asdict(replace(self, known=safe))

    @staticmethod
    def from_dict(value: object) -> Position | None:
        """The position in a JSON object; None when it is none of this version."""
        if not isinstance(value, dict) or not isinstance(value.get("known"), dict):
            return None
        try:
            position = Position(**(value | {"known": Known(**value["known"])}))
        except TypeError:  # fields that this version does not know
            return None
        return position if _types_fit(position) and _types_fit(position.known) else None


def _types_fit(value: Position | Known) -> bool:
    default = type(value)()
    return all(
        type(getattr(value, item.name)) is type(getattr(default, item.name))
        for item in fields(value)
    )


def mark_of(handle: int, offset: int) -> str:
    """A fingerprint of the first bytes of an open file and of those before `offset`."""
    digest = hashlib.sha256()
    for start in (0, max(offset - _SAMPLE, 0)):
        digest.update(os.pread(handle, min(_SAMPLE, offset - start), start))
    return digest.hexdigest()[:32]


def checked(handle: int, position: Position | None) -> Position:
    """`position` if the open file still begins with what was read there, else the very start."""
    size = os.fstat(handle).st_size
    if position is None or position.offset > size:
        return Position()
    if mark_of(handle, position.offset) != position.mark:
        return Position()
    return replace(position, complete=position.complete and position.size == size)


def is_read(path: Path, position: Position | None) -> bool:
    """Whether nothing came to the file since `position` was its end. Only a stat call; raises
    OSError.
    """
    if position is None or not position.complete:
        return False
    return path.stat().st_size == position.size
