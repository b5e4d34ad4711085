"""Searching one project where most documents are of it: the index is not asked for the project, their rows tell.

Owns when that is enough. To have a label intersected that most documents have costs the engine more than the rest of a
search; but words go with projects, so what a word finds may be another project's all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from claude_mem.domains.retrieval.hybrid import allows
from claude_mem.domains.retrieval.model import Filters, StoredDocument
from claude_mem.ports.lexical import Candidates, LexicalPlan


def are_all(filters: Filters) -> bool:
    """Whether nothing but its project is required of a document: what its row tells as its labels do."""
    return filters.project_ids is not None and filters == Filters(project_ids=filters.project_ids)


def candidates(
    plans: Sequence[LexicalPlan],
    filters: Filters,
    find: Callable[[LexicalPlan], Candidates],
    load: Callable[[Sequence[int]], list[StoredDocument]],
    known: dict[int, StoredDocument],
) -> Iterator[Candidates]:
    """What each plan finds, of the projects alone; their rows are put into `known`.

    Where something was cut off, and of what was found too few are of them, the index is asked for them after all.
    """
    for plan in plans:
        found = find(replace(plan, loose=True))
        rows = {it.number: it for it in load(found.numbers)}
        left = tuple(it for it in found.numbers if it in rows and allows(filters, rows[it]))
        is_cut = found.total_is_estimate or found.total > len(found.numbers)
        if is_cut and len(left) < min(plan.limit, len(found.numbers)):
            yield find(plan)
            continue
        known.update((it, rows[it]) for it in left)
        total = max(found.total, len(left)) if is_cut else len(left)
        yield replace(found, numbers=left, total=total, total_is_estimate=is_cut)
