"""Hits: a ranking's entries with the rows they are of, and what a row of any kind is called and says.

Pure: the rows are read by who calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from claude_mem.domains.retrieval.highlight import Wanted, highlights
from claude_mem.domains.retrieval.model import Hit, Ranked

_MARKED: Final = (
    12  # words that are looked for in a result's text, those with the greatest shares first
)


def shown(
    ranked: Ranked,
    row: Mapping[str, Any],
    projects: Mapping[str, str],
    wanted: Wanted | None,
) -> Hit:
    """A hit as it is shown; `wanted` are the words whose passages are marked, None for no marks."""
    score = ranked.score
    in_fields = (("title", score.in_title), ("content", score.in_body))
    passages: Sequence[str] = ()
    if wanted is not None:
        translated = [word for it in score.translated for word in it.words]
        matched = [*(word for word, _ in score.parts), *translated][:_MARKED]
        if score.in_body or translated:
            passages = highlights(text_of(row), wanted, only=matched)
        if not passages and score.in_title:
            passages = highlights(title_of(row), wanted, only=matched)
    return Hit(
        ref=ranked.ref,
        row=row,
        project=projects.get(row.get("project_id") or "") or None,
        relevance=ranked.relevance,
        shares=score.parts,
        matched_fields=tuple(name for name, words in in_fields if words),
        highlights=tuple(passages),
        reasons=ranked.reasons,
        translated=score.translated,
    )


def title_of(row: Mapping[str, Any]) -> str:
    """What a result is called, whatever its kind: its own title, its file, or its session's title."""
    return str(row.get("title") or row.get("file_path") or row.get("session_title") or "")


def text_of(row: Mapping[str, Any]) -> str:
    """The text of a row, whatever its kind."""
    return str(row.get("content") or row.get("description") or row.get("diff") or "")
