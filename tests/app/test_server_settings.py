"""Settings of the server profile: sources, secrets from files, and what a wrong one says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from claude_mem.app.server_settings import SECRET, ServerSettings, load
from claude_mem.kernel.errors import Invalid

NEEDED = {
    "CLAUDE_MEM_DATABASE_URL": "postgresql://app:pw1@db/claude_mem",
    "CLAUDE_MEM_NATS_URL": "nats://app:pw2@one:4222,nats://app:pw2@two:4222",
    "CLAUDE_MEM_REDIS_URL": "rediss://:pw3@cache:6380/0",
}


def refusal(environ: dict[str, str], file: Path | None = None) -> Invalid:
    with pytest.raises(Invalid) as refused:
        load(file, environ)
    return refused.value


def test_three_addresses_are_enough() -> None:
    settings = load(None, NEEDED)
    assert settings.database_url == NEEDED["CLAUDE_MEM_DATABASE_URL"]
    assert (settings.port, settings.processes, settings.host) == (37700, 1, "127.0.0.1")


@pytest.mark.parametrize("name", ["database_url", "nats_url", "redis_url"])
def test_an_address_that_is_missing_is_named(name: str) -> None:
    environ = {key: value for key, value in NEEDED.items() if name.upper() not in key}
    error = refusal(environ)
    assert error.details[0].field == name
    assert "://" in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://me:secret@db/x"),
        ("database_url", "secret"),
        ("nats_url", "nats://a:4222,http://me:secret@b"),
        ("redis_url", "http://me:secret@cache"),
        ("redis_url", "redis://[me:secret@cache"),
        ("operator_token", "secret"),
    ],
)
def test_a_wrong_one_is_refused_without_being_repeated(name: str, value: str) -> None:
    error = refusal(NEEDED | {f"CLAUDE_MEM_{name.upper()}": value})
    assert error.details[0].field == name
    assert "secret" not in error.message


def test_a_file_of_settings_and_the_environment_over_it(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('processes = 4\nhosts = "memory.example"\n')
    settings = load(file, NEEDED | {"CLAUDE_MEM_PROCESSES": "2"})
    assert (settings.processes, settings.hosts) == (2, "memory.example")
    file.write_text("proceses = 4\n")
    assert refusal(NEEDED, file).details[0].field == "proceses"
    assert refusal(NEEDED, tmp_path / "nowhere.toml").details[0].field == "config"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    for name in sorted(SECRET):
        file = tmp_path / name
        value = NEEDED.get(f"CLAUDE_MEM_{name.upper()}", "x" * 40)
        file.write_text(f"{value}\n")
        environ = {key: text for key, text in NEEDED.items() if name.upper() not in key}
        settings = load(None, environ | {f"CLAUDE_MEM_{name.upper()}_FILE": str(file)})
        assert getattr(settings, name) == value
    error = refusal({"CLAUDE_MEM_DATABASE_URL_FILE": str(tmp_path / "nowhere")})
    assert error.details[0].field == "database_url"


def test_what_is_secret_is_never_shown() -> None:
    settings = load(None, NEEDED | {"CLAUDE_MEM_OPERATOR_TOKEN": "o" * 40})
    shown = repr(settings)
    for secret in ("pw1", "pw2", "pw3", "ooo"):
        assert secret not in shown
    assert {it.name for it in fields(ServerSettings) if not it.repr} == SECRET
