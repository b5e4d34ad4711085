"""The commands about the organisation, against a server that listens, as an operator, an administrator and a user."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from access_support import OPERATOR, Server
from typer.testing import CliRunner, Result

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.tenants import SqliteTenants
from claude_mem.app import remote
from claude_mem.app.migrate import ensure_current
from claude_mem.cli.main import app
from claude_mem.kernel.errors import Invalid


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a port of its own, with the real gatekeeper, keys and endpoints."""
    path = tmp_path_factory.mktemp("server") / "claude-mem.db"
    ensure_current(path)
    started, ports = threading.Event(), []
    stop: list[Any] = []

    async def serve() -> None:
        database = SqliteDatabase(path)
        server = Server(database, SqliteTenants(database))
        config = uvicorn.Config(server.whole, port=0, log_config=None, lifespan="off")
        running = uvicorn.Server(config)
        running.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
        task = asyncio.create_task(running.serve())
        while not running.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        ports.append(running.servers[0].sockets[0].getsockname()[1])
        stop.append(running)
        started.set()
        await task
        await server.close()
        await database.close()

    # The server logs in this very process, whose standard output is the command's.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield f"http://127.0.0.1:{ports[0]}"
    stop[0].should_exit = True
    thread.join(60)
    structlog.reset_defaults()


class Person:
    """Somebody at a terminal with a key in the environment."""

    def __init__(self, address: str, key: str) -> None:
        self.environment = {"CLAUDE_MEM_SERVER": address, "CLAUDE_MEM_API_KEY": key}

    def run(self, *words: str, **more: Any) -> Result:
        environment = {**self.environment, "COLUMNS": "250"}
        return CliRunner().invoke(app, words, env=environment, **more)

    def told(self, *words: str) -> dict[str, Any]:
        """The JSON of a command that must succeed."""
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["ok"] is True
        return found

    def says(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, done.output
        return done.stdout

    def refused(self, *words: str, status: int = 1) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.exit_code == status, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        assert set(found) == {"ok", "error", "code", "next_step"}
        assert found["next_step"]
        return found


@pytest.fixture
def operator(address: str) -> Person:
    return Person(address, OPERATOR)


@pytest.fixture
def ada(address: str, operator: Person) -> Person:
    """The administrator of a new enterprise."""
    made = operator.told("enterprises", "create", "Acme", "--admin", "ada")
    return Person(address, made["key"]["key"])


def test_a_key_is_on_standard_output_alone(operator: Person, address: str) -> None:
    done = operator.run("enterprises", "create", "Piped")
    assert done.exit_code == 0, done.output
    [key] = done.stdout.split()
    assert key.startswith("cm_sk_")
    assert "shown this once" in done.stderr
    assert key not in done.stderr
    own = Person(address, key).told("org", "show")
    assert own["enterprise"]["name"] == "Piped"
    listed = operator.told("enterprises", "list")["data"]
    assert "Piped" in [row["name"] for row in listed]
    again = operator.run("enterprises", "rescue", own["enterprise"]["id"])
    assert Person(address, again.stdout.strip()).told("org", "show") == own


def test_people_and_keys(ada: Person, address: str) -> None:
    grace = ada.told("users", "create", "grace", "--role", "viewer")
    assert [it["username"] for it in ada.told("users", "list")["data"]] == ["ada", "grace"]
    assert "grace" in ada.says("users", "list")
    made = ada.told(
        *("keys", "create", "laptop", "--user", "grace", "--expires", "90d", "--rate", "30"),
        *("--permission", "search:read", "--permission", "keys:own"),
    )
    assert made["permissions"] == ["keys:own", "search:read"]
    assert (made["rate_limit_rpm"], made["user_id"]) == (30, grace["id"])
    assert len(ada.told("keys", "list")["data"]) == 2
    [listed] = ada.told("keys", "list", "--user", "grace")["data"]
    assert listed["user"] == "grace"
    assert "key" not in listed
    hers = Person(address, made["key"])
    refused = hers.refused("users", "create", "eve")
    assert refused["code"] == "FORBIDDEN"
    assert ada.told("keys", "revoke", made["key_prefix"])["is_revoked"] is True
    changed = ada.told("users", "change", "grace", "--role", "user", "--inactive")
    assert (changed["role"], changed["is_active"]) == ("user", False)
    assert ada.refused("users", "change", "ada", "--inactive")["code"] == "CONFLICT"
    assert ada.refused("users", "change", "nobody", "--inactive")["code"] == "RESOURCE_NOT_FOUND"
    assert ada.refused("users", "create", "grace")["code"] == "CONFLICT"
    assert ada.refused("users", "change", "grace")["code"] == "VALIDATION_ERROR"
    actions = [it["action"] for it in ada.told("org", "audit")["data"]]
    assert (
        actions[:3] == ["users.change", "keys.revoke", "users.create"] or "users.change" in actions
    )
    assert "users.change" in ada.says("org", "audit", "--limit", "5")


def test_the_time_zone_of_an_enterprise(ada: Person) -> None:
    assert ada.told("org", "timezone", "Asia/Shanghai")["timezone"] == "Asia/Shanghai"
    assert "Time zone: Asia/Shanghai" in ada.run("org", "show").stdout
    refused = ada.run("org", "timezone", "Mars/Base")
    assert refused.exit_code == 1
    assert "timezone: expected the IANA name" in refused.stderr
    assert ada.told("org", "timezone")["timezone"] is None
    assert "Time zone" not in ada.run("org", "show").stdout


def test_solutions_and_projects(ada: Person) -> None:
    assert ada.told("org", "rename", "Acme & Sons")["name"] == "Acme & Sons"
    shop = ada.told("org", "add-solution", "Shop")
    assert [it["name"] for it in ada.told("org", "solutions")["data"]] == ["Acme", "Shop"]
    web = ada.told("projects", "create", "web", "--solution", "Shop")
    assert web["solution_id"] == shop["id"]
    ada.told("projects", "change", "web", "--name", "site", "--solution", "Acme")
    assert [it["name"] for it in ada.told("projects", "list")["data"]] == ["site"]
    ada.told("projects", "add-role", "site", "reviewer", "--supervisor")
    [role] = ada.told("projects", "roles", "site")["data"]
    assert role["is_supervisor"] is True
    ada.told("users", "create", "grace")
    ada.told("projects", "join", "site", "grace", "--as", "reviewer")
    [member] = ada.told("projects", "members", "site")["data"]
    assert (member["user"], member["role"]) == ("grace", "reviewer")
    ada.told("projects", "remove-role", "site", "reviewer")
    [member] = ada.told("projects", "members", "site")["data"]
    assert member["role"] is None
    ada.told("projects", "leave", "site", "grace")
    assert ada.told("projects", "members", "site")["data"] == []
    assert ada.refused("projects", "join", "site", "nobody")["next_step"] == "claude-mem users list"


def test_a_key_in_a_file_or_from_standard_input(ada: Person, tmp_path: Path) -> None:
    key = ada.environment.pop("CLAUDE_MEM_API_KEY")
    path = tmp_path / "key"
    path.write_text(f"{key}\n")
    assert ada.told("org", "show", "--key-file", str(path))["user"]["username"] == "ada"
    done = ada.run("org", "show", "--key-file", "-", "--json", input=f"{key}\n")
    assert json.loads(done.stdout)["user"]["role"] == "admin"
    assert ada.refused("org", "show", status=2)["code"] == "VALIDATION_ERROR"
    ada.environment["CLAUDE_MEM_API_KEY_FILE"] = str(path)
    assert ada.told("org", "show")
    ada.environment["CLAUDE_MEM_API_KEY_FILE"] = str(tmp_path / "none")
    assert "cannot be read" in ada.refused("org", "show", status=2)["error"]


def test_a_wrong_key_and_a_server_that_is_not_there(ada: Person) -> None:
    wrong = Person(ada.environment["CLAUDE_MEM_SERVER"], "cm_sk_nonsense")
    assert wrong.refused("users", "list")["code"] == "AUTH_INVALID"
    gone = Person("http://127.0.0.1:9", ada.environment["CLAUDE_MEM_API_KEY"])
    assert gone.refused("users", "list")["code"] == "NOT_REACHABLE"


@pytest.mark.parametrize("when", ["soon", "0", "-5d", "99999-01-01", ""])
def test_an_end_that_is_none(ada: Person, when: str) -> None:
    done = ada.run("keys", "create", "x", f"--expires={when}", "--json")
    assert done.exit_code in {1, 2}, done.output
    assert json.loads(done.stdout)["code"] in {"USAGE", "VALIDATION_ERROR"}


@pytest.mark.parametrize(
    "url",
    [
        "memory.example.com",
        "ftp://memory.example.com",
        "https://",
        "https://user:secret@memory.example.com",
        "https://memory.example.com:99999",
        "https://memory.example.com/?a=b",
        "http://memory.example.com",
        "http://127.0.0.1.example.com",
    ],
)
def test_a_key_is_sent_to_no_doubtful_address(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        remote.find(url, None, {remote.KEY: "cm_sk_hidden"})
    assert "cm_sk_hidden" not in refused.value.message
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    "url", ["https://memory.example.com", "http://localhost:37700/", "http://[::1]:1"]
)
def test_a_key_is_sent_where_nobody_listens_in(url: str) -> None:
    found = remote.find(url, None, {remote.KEY: " cm_sk_x\n"})
    assert found == remote.Remote(url.rstrip("/"), "cm_sk_x")
    assert "cm_sk_x" not in repr(found)
    allowed = {remote.KEY: "cm_sk_x", remote.ALLOW_HTTP: "1"}
    assert remote.find("http://inside:8080", None, allowed) is not None


def test_without_a_server_it_is_this_machines_worker() -> None:
    assert remote.find(None, None, {}) is None
    with pytest.raises(Invalid):
        remote.find(None, "-", {})


@pytest.mark.parametrize("key", ["", "schlüssel", "a\tb", "a\nb"])
def test_what_cannot_be_a_key(key: str) -> None:
    with pytest.raises(Invalid):
        remote.find("https://memory.example.com", None, {remote.KEY: key})


def test_no_option_takes_a_key() -> None:
    """What stands on a command line, everybody on the machine can read."""
    from tools import docs

    for name, command in docs.commands().items():
        for parameter in command.params:
            assert not {"--key", "--api-key", "--token"} & set(parameter.opts), name
