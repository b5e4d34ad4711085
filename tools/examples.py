"""`python -m tools.examples`: writes docs/examples.md; `--check` only compares.

Five summaries and three contexts, as the program makes them of the bundled sample: taken in by the import and
distilled by a worker in a folder of its own. The clock of the contexts stands still, for what is recent counts more. A
test compares the page with what the program makes now. Must never shorten or mend what was made: what reads badly is to be seen.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import sample

from claude_mem.app.build import build_local
from claude_mem.app.settings import load
from claude_mem.domains.access import service as access
from claude_mem.domains.context.model import Ask, Context
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.context.tokens import estimate
from claude_mem.domains.memory import service as memory
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Database, Tx

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/examples.md")
NOW = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)  # the Monday after the sample ends
# The agent's ids of five sessions: two in English, two in Chinese, and the one of another project.
SESSIONS = (
    "72b9fdb9-712c-4b38-95d8-bfc085e58d3a",
    "cc1aa100-3616-4f25-921b-249fc88974a3",
    "47321933-ec51-4942-a370-f626ff6a16b3",
    "2b5d50fc-b072-4df1-acd5-fee2c3cc9113",
    "2f969e26-8828-40b7-b5b6-7d70668a11ca",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a context is given: a new session in a project, or a prompt in one."""

    project: str
    prompt: str | None = None

    def asked(self, project: dict[str, Any], settings: Any) -> Ask:
        """What the hook's answer asks for, with the default settings."""
        at_start = self.prompt is None
        return Ask(
            project_id=project["id"],
            project=project["name"],
            query=self.prompt,
            budget=settings.context_budget if at_start else settings.prompt_budget,
            threshold=0.0 if at_start else settings.prompt_threshold,
            now=int(NOW.timestamp() * 1000),
        )


MOMENTS = (
    Moment("slotwise"),
    Moment(
        "slotwise",
        "The waitlist promotes somebody and the class is over capacity again. Can't we just take a lock?",
    ),
    Moment("slotwise", "退款金额又对不上了，先看看之前是怎么处理的"),
)


@dataclass(slots=True)
class Made:
    """What the page shows."""

    summaries: list[tuple[dict[str, Any], dict[str, Any]]]  # (session, summary)
    contexts: list[tuple[Moment, Context]]


def make() -> Made:
    """Let a worker take the sample in and distil it, then read what became of it."""
    with sample.loaded() as site:
        site.stop()
        return asyncio.run(_read(site.home))


async def _read(home: Path) -> Made:
    settings = load(home)
    system = build_local(settings)
    database: Database = system.parts.state["database"]
    service: ContextService = system.parts.state["assembling"]
    scope = local_scope()

    def work(tx: Tx) -> Made:
        projects = {row["name"]: row for row in access.projects(scope, tx)}
        contexts = [
            (moment, service.assemble(scope, tx, moment.asked(projects[moment.project], settings)))
            for moment in MOMENTS
        ]
        return Made([_summary(scope, tx, session) for session in SESSIONS], contexts)

    try:
        return await database.read(scope, work)
    finally:
        await system.inbox.close()
        await database.close()


def _summary(scope: Scope, tx: Tx, agent_session: str) -> tuple[dict[str, Any], dict[str, Any]]:
    session = memory.get_session(scope, tx, agent_session)
    summary = memory.summary_of(scope, tx, session["id"])
    if summary is None:
        raise LookupError(f"no summary of session {agent_session}")
    return session, summary


def page(made: Made) -> str:
    """The page, in Markdown."""
    return "\n".join([*_head(), *_summaries(made), *_contexts(made)])


def _head() -> Iterator[str]:
    yield "# Examples"
    yield ""
    yield "<!-- Made by `python -m tools.examples`. Change the code or that program, not this page. -->"
    yield ""
    yield (
        "What Claude-Mem makes of the [bundled sample](../src/claude_mem/assets/sample/README.md), as it is: nothing is"
        " shortened, mended or left out. Summaries are extractive: every sentence was said or printed in the session, and no"
        " model wrote them."
    )
    yield ""


def _summaries(made: Made) -> Iterator[str]:
    yield "## Five summaries"
    yield ""
    for session, summary in made.summaries:
        day = datetime.fromtimestamp(session["started_at"] / 1000, UTC).strftime("%d %B %Y")
        yield f"### {summary['title']}"
        yield ""
        yield f"{day}, about {estimate(summary['content'])} tokens"
        yield ""
        yield from _fenced(summary["content"])


def _contexts(made: Made) -> Iterator[str]:
    yield "## Three injected contexts"
    yield ""
    yield f"As of {NOW:%d %B %Y}, with the default settings. This is what the hook hands to the client, word for word."
    yield ""
    for moment, context in made.contexts:
        if moment.prompt is None:
            yield f"### A new session in {moment.project}"
        else:
            yield f"### A prompt in {moment.project}: “{moment.prompt}”"
        yield ""
        yield f"About {context.tokens} tokens, {len(context.text)} characters."
        yield ""
        yield from _fenced(context.text)


def _fenced(text: str) -> Iterator[str]:
    """A text as it is, whatever fences it holds itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    yield f"{fence}text"
    yield text.rstrip("\n")
    yield fence
    yield ""


def comparable(text: str) -> str:
    """A page without what differs each time: ids are made at random, and cost a little more or less."""
    return re.sub(
        r"\[[0-9a-f]{12}\]", "[id]", re.sub(r"about \d+ tokens", "about n tokens", text, flags=re.I)
    )


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    text = page(make())
    target = ROOT / PAGE
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    if "--check" in arguments:
        stale = comparable(text) != comparable(before)
        print("stale: run python -m tools.examples" if stale else "up to date")
        return int(stale)
    if comparable(text) == comparable(before):
        print(f"{PAGE} is up to date")
        return 0
    target.write_text(text, encoding="utf-8")
    print(f"{PAGE} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
