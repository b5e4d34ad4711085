"""From nothing to a developer's key with the commands that docs/server.md names, against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from deployment import OPERATOR, Deployment, client, prompt, until

pytestmark = pytest.mark.slow


def told(port: int, key: str, *words: str) -> dict[str, Any]:
    """What a command prints with --json."""
    environment = {
        **os.environ,
        "CLAUDE_MEM_SERVER": f"http://127.0.0.1:{port}",
        "CLAUDE_MEM_API_KEY": key,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "claude_mem", *words, "--json"],
        env=environment,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert key not in done.stdout.decode(), "a key in use is never printed"
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["ok"] is True
    return found


def test_an_enterprise_a_user_a_key_and_its_end(deployed: Deployment) -> None:
    port = deployed.serve(processes=2).port
    ada = told(port, OPERATOR, "enterprises", "create", "Acme", "--admin", "ada")["key"]["key"]
    names = [it["name"] for it in told(port, OPERATOR, "enterprises", "list")["data"]]
    assert names == ["Acme"]
    told(port, ada, "users", "create", "grace")
    made = told(port, ada, "keys", "create", "laptop", "--user", "grace", "--expires", "90d")
    grace = made["key"]
    with client(port, grace) as api:
        body = {"events": [prompt("s-1", "Where do the invoices round?")]}
        assert api.post("/api/v1/events", json=body).status_code == 202
        assert api.get("/api/v1/audit").status_code == 403

        def recorded() -> bool:
            return len(api.get("/api/v1/sessions").json()["data"]) == 1

        until(recorded, "the session".__str__)
        [session] = api.get("/api/v1/sessions").json()["data"]
        assert session["user_id"] == made["user_id"], "a session is its recorder's"
    told(port, ada, "keys", "revoke", made["id"])

    def out() -> bool:
        """On every process: each request is a connection of its own."""
        with client(port, grace) as api:
            return {api.get("/api/v1/users/me").status_code for _ in range(8)} == {401}

    until(out, "the key still opens something".__str__)
    [first, *_] = told(port, ada, "org", "audit")["data"]
    assert (first["action"], first["resource_id"]) == ("keys.revoke", made["id"])
    assert first["ip_address"] == "127.0.0.1"
