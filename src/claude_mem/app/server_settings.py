"""Settings of the server profile: environment `CLAUDE_MEM_*`, then a TOML file, then defaults.

What holds a password may come from a file of its own: `CLAUDE_MEM_DATABASE_URL_FILE` names it, as orchestrators mount
secrets. Must never be printed: `database_url` and the like carry passwords, so the values' repr leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from claude_mem.app import embedding_settings as embedding
from claude_mem.app import rerank_settings as rerank
from claude_mem.app.rerank_settings import ModelSettings
from claude_mem.app.settings import (
    DEFAULT_PORT,
    check_models,
    fault,
    from_file,
    read,
    variable,
)
from claude_mem.kernel.errors import Invalid

# May be given as the path of a file that holds them.
SECRET: Final = (
    embedding.SECRET | rerank.SECRET | {"database_url", "redis_url", "nats_url", "operator_token"}
)
_SHORTEST_TOKEN = 32  # characters: somebody who finds it may make tenants


@dataclass(frozen=True, slots=True)
class ServerSettings(ModelSettings):
    """What a replica runs with."""

    database_url: str = field(default="", repr=False)  # of the runtime role, never of the owner
    nats_url: str = field(default="", repr=False)  # several, separated by commas, of one cluster
    redis_url: str = field(default="", repr=False)
    operator_token: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    hosts: str = ""  # names that a Host header may hold, separated by commas; empty: any
    processes: int = 1
    workers: int = -1  # of the processes, that record and run jobs and answer nobody; -1: half
    name: str = "claude-mem"  # of the deployment: what its streams, subjects and keys begin with
    log_level: str = "info"
    timezone: str = (
        "UTC"  # IANA name, in which "yesterday" is meant by enterprises that have none of their own
    )
    database_connections: int = 8  # of each process
    nats_replicas: int = 1
    rate_requests: int = 600  # a minute, of a key that says nothing of its own
    rate_events: int = 1_000  # a second, of a key
    rate_searches: int = 120  # a minute, of a user
    rate_enterprise_events: int = 5_000  # a second, of all keys of an enterprise together
    rate_enterprise_searches: int = 3_000  # a minute, of all people of an enterprise together
    rate_strangers: int = 100  # a quarter of an hour, of an address without a key
    proxies: int = 0  # of one's own, that every request comes through
    max_rss_mb: int = 1_024
    inbox_bound: int = 500_000
    dead_letters_bound: int = 100_000  # of an enterprise; with more it hands in nothing new
    batch_size: int = 500
    keep_output_chars: int = 16_000
    context: bool = True
    context_budget: int = 1_200
    prompt_context: bool = True
    prompt_budget: int = 800
    prompt_threshold: float = 0.35


def load(file: Path | None = None, environ: Mapping[str, str] | None = None) -> ServerSettings:
    """Read the settings; a `file` that is named has to be there.

    Raises Invalid naming the setting, its source and what is expected.
    """
    env = dict(os.environ if environ is None else environ)
    if file is not None and not file.is_file():
        raise fault("config", str(file), "there is no such file")
    for name in SECRET:
        from_file(name, env)
    known: dict[str, Any] = {it.name: it.default for it in fields(ServerSettings)}
    settings = ServerSettings(**read(known, file, env))
    _check(settings)
    check_models(settings)
    return settings


def _check(settings: ServerSettings) -> None:
    for name, schemes in (
        ("database_url", ("postgresql",)),
        ("nats_url", ("nats", "tls")),
        ("redis_url", ("redis", "rediss", "unix")),
    ):
        for address in (
            getattr(settings, name).split(",") if name == "nats_url" else [getattr(settings, name)]
        ):
            _check_address(name, address.strip(), schemes)
    if settings.operator_token and len(settings.operator_token) < _SHORTEST_TOKEN:
        raise fault(
            "operator_token",
            variable("operator_token"),
            f"at least {_SHORTEST_TOKEN} characters: `openssl rand -hex 32` makes some",
        )


def _check_address(name: str, address: str, schemes: tuple[str, ...]) -> None:
    """Never repeats the address: it holds a password."""
    wanted = f"expected {schemes[0]}://user:password@host:port"
    if not address:
        raise _missing(name, wanted)
    try:
        scheme = urlsplit(address).scheme.partition("+")[0]
    except ValueError:
        scheme = ""
    if scheme not in schemes:
        raise fault(name, variable(name), wanted)


def _missing(name: str, wanted: str) -> Invalid:
    return fault(name, variable(name), f"is needed by the server profile: {wanted}")
