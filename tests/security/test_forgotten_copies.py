"""What is kept of a session beside its tables goes when something of it is forgotten: its bytes, not just its name."""

from __future__ import annotations

from typing import Any

import pytest
from api_support import API, Api

from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.domains.context.working import WorkingMemory
from redis_servers import RedisServer, redis_server

pytestmark = pytest.mark.anyio

_SECRET = "clandestine"


def values(server: RedisServer) -> str:
    keys = [line for line in server.say("KEYS", "*").split("\r\n") if line.startswith("claude-mem")]
    return "".join(server.say("GET", key) for key in keys)


@pytest.mark.parametrize("what", ["last", "session", "prompt"])
async def test_forgetting_empties_the_cache_of_it(api: Api, what: str) -> None:
    with redis_server() as server:
        connection = Connection(server.url, patience_s=10)
        state: dict[str, Any] = api.system.parts.state
        state["context"].working = WorkingMemory(state["database"], RedisCache(connection))
        await api.take(api.event(data={"content": f"the {_SECRET} invoice"}))
        await api.take(api.event(session="session-two", data={"content": "another session"}))
        await api.take(api.event(data={"content": f"the {_SECRET} ledger", "prompt_id": "p"}))
        found = await api.get("/sessions/session-one/working")
        await api.get("/sessions/session-two/working")
        assert _SECRET in values(server)

        own = await api.get("/sessions/session-one")
        ids = {"last": None, "session": own["id"], "prompt": found["messages"][0]["id"]}
        body = {"what": what, "id": ids[what]}
        answer = await api.client.post(f"{API}/forget", json=body)
        assert answer.status_code == 200, answer.text
        kept = values(server)
        assert _SECRET not in kept
        assert "another session" in kept, "of others nothing is dropped"
        again = await api.client.get(f"{API}/sessions/session-one/working")
        if what == "session":
            assert again.status_code == 404
        else:
            assert len(again.json()["messages"]) == 1
        await connection.close()
