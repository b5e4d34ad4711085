"""A prompt's hit does not bring along what its session was about besides."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mem.app.build import System
from claude_mem.domains.access import service as access
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.model import Ask, Options
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

SCOPE = local_scope()
PLACE = "/home/dev/pots"
TALK = (
    (
        "Write a haiku about pottery.",
        "Clay turns in the light, / a thumb remembers the wheel, / the bowl holds the rain.",
    ),
    (
        "Bump pnpm to 9.",
        "Done: packageManager is pnpm@9.12 now, because corepack refused version 8.",
    ),
    (
        "The refund bug: a voucher is refunded twice when the webhook is repeated.",
        "The cause is that refund_voucher has no idempotency key. The refund is now keyed by the event's id.",
    ),
    (
        "Which font has the poster?",
        "The poster uses Inter at 42 pt, and the margin is 12 mm on every side.",
    ),
    (
        "Rename the staging bucket.",
        "We decided on pots-staging-eu, because the old name was taken in that region.",
    ),
)


async def remember(system: System) -> None:
    events = []
    for number, (asked, replied) in enumerate(TALK):
        for kind, content in (("prompt.submitted", asked), ("assistant.replied", replied)):
            events.append(
                {
                    "id": new_id(),
                    "type": kind,
                    "occurred_at": to_iso(now_ms() - 60_000 * (len(TALK) - number)),
                    "agent": "claude-code",
                    "session": "mixed",
                    "project": PLACE,
                    "data": {"content": content},
                }
            )
    await system.parts.state["capture"].accept(SCOPE, events)
    await system.parts.state["capture"].drain_all()

    def distil(tx: Any) -> None:
        own = memory.get_session(SCOPE, tx, "mixed")["id"]
        intelligence.distil(SCOPE, tx, system.parts.state["indexing"], own)

    await system.parts.state["database"].write(SCOPE, distil)


async def told(system: System, prompt: str) -> str:
    search: SearchService = system.parts.state["search"]
    service = ContextService(Sources(search, intelligence.current_digest))

    def work(tx: Any) -> str:
        (project,) = access.projects(SCOPE, tx)
        options = Options()
        ask = Ask(
            project_id=project["id"],
            project=project["name"],
            query=prompt,
            budget=options.prompt_budget,
            threshold=options.threshold,
            now=now_ms(),
        )
        return service.assemble(SCOPE, tx, ask).text

    found: str = await system.parts.state["database"].read(SCOPE, work)
    return found


@pytest.mark.parametrize("prompt", ["The refund bug is back.", "Why is a voucher refunded twice?"])
async def test_what_a_session_was_about_besides_stays_out(system: System, prompt: str) -> None:
    await remember(system)
    given = await told(system, prompt)
    assert "refund_voucher" in given
    strays = ("Clay turns", "pnpm", "poster", "bucket", "pots-staging")
    assert [stray for stray in strays if stray in given] == []
    # but for the heading, which names the session
    assert given.count("haiku") <= given.count("\n## ")
