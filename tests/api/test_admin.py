"""Looking after a running worker's store over the API."""

from __future__ import annotations

import pytest
from api_support import API, Api, refusal

from claude_mem.api import middleware
from claude_mem.domains.access.service import LocalTokens
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope, local_scope
from claude_mem.ports.queue import NewJob

pytestmark = pytest.mark.anyio

pytestmark = pytest.mark.local

WAYS = (
    ("GET", "/admin/jobs"),
    ("POST", "/admin/jobs/retry"),
    ("POST", "/admin/spool/take"),
    ("POST", "/admin/db/checkpoint"),
    ("POST", "/admin/db/rebuild"),
)


@pytest.mark.parametrize(("method", "path"), WAYS)
async def test_who_may_not_look_after_it_is_refused(
    api: Api, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = local_scope()
    less = Scope(mine.enterprise_id, mine.user_id, ALL_PERMISSIONS - {"admin:write"})
    monkeypatch.setattr(LocalTokens, "authenticate", lambda *_: less)
    gate = api.client._transport.app  # type: ignore[attr-defined]
    assert isinstance(gate, middleware.Gatekeeper)
    monkeypatch.setattr(gate, "_authenticate", lambda _: less)
    refusal(await api.client.request(method, f"{API}{path}"), 403, "FORBIDDEN")


async def test_checkpoint_empties_the_log(api: Api) -> None:
    await api.take(api.event())
    log = api.home / "claude-mem.db-wal"
    assert log.stat().st_size > 0
    for _ in range(10):  # what works in the background may write between the answer and the look
        answer = await api.client.post(f"{API}/admin/db/checkpoint")
        assert answer.json() == {"done": True}
        if log.stat().st_size == 0:
            return
    pytest.fail("the log was never empty")


async def test_rebuild_asks_for_the_jobs_that_make_it_anew(api: Api) -> None:
    await api.take(api.event())
    answer = await api.client.post(f"{API}/admin/db/rebuild")
    assert answer.status_code == 202
    body = answer.json()
    assert body["jobs"][0] == "index.rebuild"
    kinds = api.system.parts.state["job_kinds"]
    assert body["sessions"] == (1 if "session.summarise" in kinds else 0)


async def test_dead_jobs_are_told_and_tried_again(api: Api) -> None:
    state = api.system.parts.state
    database, queue = state["database"], state["queue"]
    scope = local_scope()
    later = 9_999_999_999_999
    job = NewJob("transcript.catch_up", "/x.jsonl", {"path": "/x.jsonl"}, run_at=later)
    await database.write(scope, lambda tx: queue.enqueue(scope, tx, [job]))
    await database.write(
        scope,
        lambda tx: tx.exec_driver_sql(
            "UPDATE task_queue SET status = 'dead', error_message = 'no', completed_at = 5, retry_count = 5"
            " WHERE task_key = '/x.jsonl'"
        ),
    )
    [dead] = (await api.get("/admin/jobs"))["dead"]
    assert (dead["kind"], dead["error"], dead["attempts"]) == ("transcript.catch_up", "no", 5)
    assert dead["at"] == "1970-01-01T00:00:00.005Z"
    answer = await api.client.post(f"{API}/admin/jobs/retry")
    assert answer.json() == {"retried": 1}
    assert (await api.get("/admin/jobs"))["dead"] == []
