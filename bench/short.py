"""Short prompts of every day: is memory there where it has something to say, and silent where it has not?

    python -m bench.short

A worker takes in the bundled sample; each prompt of short.txt is then asked as the hook of a new session asks it, with
default settings. One that memory bears on must get one of the words that it needs, one that it does not nothing. Those
above the line of dashes in short.txt were looked at while the rules were made, those below it were not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from bench.sample import loaded
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.domains.access import service as access
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.model import Ask, Options
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Database, Tx

PROMPTS: Final = Path(__file__).with_suffix(".txt")
_LINE: Final = "# ---"
_NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Short:
    """A prompt in a project; `needs` are words of which memory must hold one, none where it must be silent."""

    project: str
    prompt: str
    needs: tuple[str, ...]
    judges: bool  # was not looked at while the rules were made

    def is_met(self, text: str) -> bool:
        """Whether a context is as it should be."""
        folded = text.casefold()
        return any(it.casefold() in folded for it in self.needs) if self.needs else not text


def read(path: Path = PROMPTS) -> Iterator[Short]:
    """The prompts of the file."""
    judges = False
    for line in path.read_text(encoding="utf-8").splitlines():
        judges = judges or line.startswith(_LINE)
        if line and not line.startswith("#"):
            head, prompt = line.split(" | ", 1)
            _, project, needs = head.split(" ", 2)
            yield Short(
                project, prompt, () if needs == _NOTHING else tuple(needs.split(";")), judges
            )


def ask_all(prompts: Sequence[Short]) -> Iterator[tuple[Short, str]]:
    """Each prompt with what a new session would be given for it."""
    search = SearchService(cast(Database, None), SqliteLexicalIndex(), memory.get_many)
    service = ContextService(Sources(search, intelligence.current_digest))
    with loaded() as site:
        engine = make_engine(site.home / "claude-mem.db", writer=False)
        with engine.connect() as tx:
            for one in prompts:
                yield one, _answer(service, tx, one)
        engine.dispose()


def _answer(service: ContextService, tx: Tx, one: Short) -> str:
    scope, options = local_scope(), Options()
    project = next(row for row in access.projects(scope, tx) if row["name"] == one.project)
    ask = Ask(
        project_id=project["id"],
        project=project["name"],
        query=one.prompt,
        budget=options.prompt_budget,
        threshold=options.threshold,
        now=now_ms(),
    )
    return service.assemble(scope, tx, ask).text


def main() -> int:
    """Ask, print what is not as it should be, and the counts."""
    counts: dict[tuple[str, str], list[bool]] = {}
    for one, text in ask_all(list(read())):
        kind = ("held out" if one.judges else "dev", "related" if one.needs else "unrelated")
        counts.setdefault(kind, []).append(one.is_met(text))
        if not one.is_met(text):
            print(*kind, "-", one.prompt, "-", "something" if text else "nothing")
    for kind, met in sorted(counts.items()):
        print(*kind, f"{sum(met)} of {len(met)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
