"""Paths of transcripts that events name: what is kept of them, and which of them is read.

Whoever can hand in an event can name any path, so a path alone opens nothing: what is read must be a transcript by
its place, its kind and its owner. Must never block, and never write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_mem.domains.capture.transcripts.discover import projects_folder
from claude_mem.kernel.redact import mask_text_counted

_FIELD = "transcript_path"
_PERSONAL = frozenset({"email", "phone", "id-card", "bank-card"})  # kinds of `redact`


def with_usable_path(event: dict[str, Any], masked: dict[str, Any]) -> dict[str, Any]:
    """`masked`, with the transcript's true path of `event` if nothing but personal data was masked in it.

    `/home/jane@corp.com/...` is where that home is: half of it opens nothing. A secret in a path stays masked.
    """
    path = event["data"].get(_FIELD)
    if not isinstance(path, str) or path == masked["data"].get(_FIELD):
        return masked
    if not _PERSONAL.issuperset(mask_text_counted(path)[1]):
        return masked
    return {**masked, "data": {**masked["data"], _FIELD: path}}


def transcript_at(named: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The transcript that `named` leads to, links followed; None when there is none that may be read.

    It is a regular `.jsonl` file of this user below the agent's `projects` folder: that of the environment
    (`$CLAUDE_CONFIG_DIR`, else `~/.claude`), or, since agents may be started with another one than the worker was,
    `projects/<project>/<session>.jsonl` or `projects/<project>/<session>/subagents/<agent>.jsonl` of any. The rule
    holds for where the links end.
    """
    try:
        path = Path(os.path.realpath(named, strict=True))
        found = path.stat()
    except (OSError, ValueError):  # gone, a loop of links, or a NUL in the path: nothing to read
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or path.suffix != ".jsonl":
        return None
    if path.is_relative_to(os.path.realpath(projects_folder(environ))) or _has_the_shape(path):
        return path
    return None


def _has_the_shape(path: Path) -> bool:
    folders = path.parts[:-1]
    if folders[-1:] == ("subagents",):
        folders = folders[:-2]
    return folders[-2:-1] == ("projects",)
