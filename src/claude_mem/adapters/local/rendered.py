"""Rendered contexts as files, for the hook to print when no worker is there to ask.

Owns `<home>/context`: one file a place, mode 0600, replaced atomically; and the notes in which hooks say what they
gave. Must never hold a context that was begun before something was forgotten: `generation` sees to that.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from claude_mem.hook.home import make_private_folder
from claude_mem.hook.optout import is_opted_out
from claude_mem.kernel.scope import LOCAL_ENTERPRISE, Scope

FORMAT = 1
_LARGEST = 256 << 10  # bytes of a note that are read


class RenderedFiles:
    """Implements `context.model.Rendered` on a data folder, which is one enterprise's.

    Files are named for places, and two enterprises may have the same folder: `/app` in a container. So of another
    enterprise than the folder's nothing is kept, and nothing told to it.
    """

    def __init__(self, home: Path, enterprise_id: str = LOCAL_ENTERPRISE) -> None:
        self._enterprise = enterprise_id
        self._folder = home / "context"
        self._lock = threading.Lock()
        self._generation = 0

    @property
    def generation(self) -> int:
        """See the protocol."""
        return self._generation

    def save(self, scope: Scope, record: Mapping[str, Any], generation: int) -> None:
        """See the protocol. Not forced to the disk: it is but a copy of what can be made anew."""
        if scope.enterprise_id != self._enterprise:
            return
        body = json.dumps({"v": FORMAT, **record}, ensure_ascii=False).encode("utf-8", "replace")
        with self._lock:
            if generation != self._generation:
                return
            make_private_folder(self._folder)
            path = self._folder / f"{_digest(record['place'])}.json"
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".")  # 0600 as it is made
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(body)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def load(self, scope: Scope, place: str) -> Mapping[str, Any] | None:
        """See the protocol."""
        if scope.enterprise_id != self._enterprise:
            return None
        try:
            record = json.loads((self._folder / f"{_digest(place)}.json").read_bytes())
            same = record["v"] == FORMAT and record["place"] == place and record["text"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return record if same else None

    def places(self, scope: Scope, project_id: str) -> Sequence[str]:
        """See the protocol."""
        found: list[str] = []
        if scope.enterprise_id != self._enterprise:
            return found
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                record = json.loads(path.read_bytes())
                if record["project_id"] == project_id:
                    found.append(str(record["place"]))
        return found

    def drop_all(self) -> None:
        """See the protocol."""
        with self._lock:
            self._generation += 1
            if self._folder.is_dir():
                for path in list(self._folder.iterdir()):
                    path.unlink(missing_ok=True)

    def given(self, scope: Scope, session: str) -> Sequence[Sequence[str]]:
        """See the protocol."""
        if scope.enterprise_id != self._enterprise:
            return []
        path = self._folder / f"{_digest(session)}.given"
        try:
            if path.stat().st_size > _LARGEST:
                return []
            note = json.loads(path.read_bytes())
            units = [[str(part) for part in unit] for unit in note["units"]]
            path.unlink(missing_ok=True)
        except (OSError, ValueError, LookupError, TypeError):
            return []
        return [unit for unit in units if len(unit) == 3] if note.get("session") == session else []


def drop_opted_out(home: Path) -> None:
    """Delete what is kept for places whose project asked not to be recorded since."""
    for path in (home / "context").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            if is_opted_out(str(json.loads(path.read_bytes())["place"])):
                path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    """As the hook names the files: of the bytes of a path."""
    return sha256(os.fsencode(text)).hexdigest()[:32]
