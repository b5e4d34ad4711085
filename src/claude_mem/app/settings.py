"""Settings: environment `CLAUDE_MEM_*`, then `config.toml` in the data folder, then defaults.

Only `app` (and the commands above it) read settings; everyone else is handed values. Every field is documented in
docs/settings.md, and a test holds the two together.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from claude_mem.app import embedding_settings as embedding
from claude_mem.app import rerank_settings as rerank
from claude_mem.app.machine_zone import machine_zone
from claude_mem.app.rerank_settings import ModelSettings
from claude_mem.hook.home import default_home
from claude_mem.kernel import zones
from claude_mem.kernel.errors import Detail, Invalid

DEFAULT_PORT = 37700
LEVELS = ("debug", "info", "warning", "error")
# What a word may be.
CHOICES = {"log_level": LEVELS, **embedding.CHOICES, **rerank.CHOICES}
# What a number may be: from, to.
RANGES = {
    "port": (1, 65_535),
    "max_store_mb": (16, 1_000_000_000),
    "max_rss_mb": (128, 1_000_000),
    "inbox_bound": (1_000, 100_000_000),
    "dead_letters_bound": (100, 100_000_000),
    "batch_size": (1, 10_000),
    "keep_output_chars": (1_000, 1_000_000),
    "context_budget": (200, 8_000),
    "prompt_budget": (200, 4_000),
    "processes": (1, 256),
    "workers": (-1, 255),
    "database_connections": (2, 200),
    "nats_replicas": (1, 5),
    "rate_requests": (1, 1_000_000),
    "rate_events": (1, 1_000_000),
    "rate_searches": (1, 1_000_000),
    "rate_enterprise_events": (1, 1_000_000),
    "rate_enterprise_searches": (1, 1_000_000),
    "rate_strangers": (1, 1_000_000),
    "proxies": (0, 10),
    **embedding.RANGES,
    **rerank.RANGES,
}


@dataclass(frozen=True, slots=True)
class Settings(ModelSettings):
    """What a worker and a command run with."""

    home: Path
    port: int = DEFAULT_PORT
    strict_port: bool = False  # refuse instead of taking the next free port
    log_level: str = "info"
    timezone: str = ""  # IANA name, in which "yesterday" is meant; empty: this machine's
    max_store_mb: int = 20_480  # size cap of the local store; warned about from 80 %
    max_rss_mb: int = 1_024  # the supervisor restarts a worker above this
    inbox_bound: int = 500_000  # events that may wait to be indexed
    batch_size: int = 500  # events a transaction
    catch_up: bool = True  # read the agent's own transcript for assistant texts and token counts
    keep_output_chars: int = 16_000  # of a tool's output: head and tail that are kept
    context: bool = True  # give a new session what is known of its project
    context_budget: int = 1_200  # tokens it may cost
    prompt_context: bool = True  # give a prompt what is remembered about it
    prompt_budget: int = 800  # tokens it may cost
    prompt_threshold: float = 0.35  # relevance from which something is given with a prompt

    @property
    def host(self) -> str:
        """The address the API listens on: never another than loopback, whose requests alone are let in."""
        return "127.0.0.1"

    @property
    def place(self) -> str:
        """The time zone that is meant: the one that is set, or this machine's."""
        return self.timezone or machine_zone(os.environ)

    @property
    def database(self) -> Path:
        """The main database file."""
        return self.home / "claude-mem.db"

    @property
    def inbox(self) -> Path:
        """The ingest log's file."""
        return self.home / "inbox.db"

    @property
    def spool(self) -> Path:
        """Where hooks leave events that no worker took."""
        return self.home / "spool"


def load(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises Invalid naming the setting, its source, and what is expected."""
    env = dict(os.environ if environ is None else environ)
    folder = default_home(env) if home is None else home.expanduser().absolute()
    known = {field.name: field.default for field in fields(Settings) if field.name != "home"}
    for name in embedding.SECRET | rerank.SECRET:
        from_file(name, env)
    settings = Settings(home=folder, **read(known, folder / "config.toml", env))
    check_models(settings)
    return settings


def read(known: Mapping[str, Any], file: Path | None, env: Mapping[str, str]) -> dict[str, Any]:
    """Values for settings with their defaults: of the environment, else of the file. Raises Invalid."""
    values: dict[str, Any] = {}
    for name, raw in (_file_values(file) if file is not None else {}).items():
        if name not in known:
            raise fault(name, str(file), f"unknown setting; known: {', '.join(sorted(known))}")
        values[name] = convert(name, raw, known[name], file.name if file is not None else "")
    for name, default in known.items():
        text = env.get(variable(name))
        if text is not None and text != "":
            values[name] = convert(name, text, default, variable(name))
    return values


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CLAUDE_MEM_{name.upper()}"


def _file_values(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fault("config.toml", str(path), f"not valid TOML: {error}") from error


def convert(name: str, raw: Any, default: Any, source: str) -> Any:
    """A raw value as the type of its default. Raises Invalid."""
    if isinstance(default, bool):
        if isinstance(raw, bool):
            return raw
        text = str(raw).strip().lower()
        if text in {"1", "true", "yes", "on"}:
            return True
        if text in {"0", "false", "no", "off"}:
            return False
        raise fault(name, source, f"expected true or false, got {raw!r}")
    if isinstance(default, int):
        return _whole_number(name, raw, source)
    if isinstance(default, float):
        return _share(name, raw, source)
    if not isinstance(raw, str):
        raise fault(name, source, f"expected text, got {raw!r}")
    if name in CHOICES and raw not in CHOICES[name]:
        raise fault(name, source, f"expected one of {', '.join(CHOICES[name])}, got {raw!r}")
    if name == "timezone" and raw and (wrong := zones.fault(raw)):
        raise fault(name, source, f"{wrong}, got {raw!r}")
    return raw


def _whole_number(name: str, raw: Any, source: str) -> int:
    low, high = RANGES[name]
    try:
        # A number of the file as it is; never 1.9 as 1, or true as 1.
        value = int(raw) if isinstance(raw, str) else raw
    except ValueError:
        value = None
    if type(value) is not int or not low <= value <= high:
        raise fault(name, source, f"expected a whole number from {low} to {high}, got {raw!r}")
    return value


def _share(name: str, raw: Any, source: str) -> float:
    try:
        value = float(raw) if not isinstance(raw, bool) else -1.0
    except (TypeError, ValueError):
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise fault(name, source, f"expected a number from 0 to 1, got {raw!r}")
    return value


def from_file(name: str, env: dict[str, str]) -> None:
    """A secret's value from the file that `…_FILE` names, where it is not given itself. Raises Invalid."""
    path = env.get(f"{variable(name)}_FILE")
    if not path or env.get(variable(name)):
        return
    try:
        env[variable(name)] = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise fault(name, f"{variable(name)}_FILE", f"cannot be read: {error}") from error


def check_models(settings: ModelSettings) -> None:
    """Raise Invalid for settings of vectors, or of what reranks, that do not go together."""
    found = embedding.wrong(settings) or rerank.wrong(settings)
    if found is not None:
        raise fault(found[0], variable(found[0]), found[1])


def fault(name: str, source: str, message: str) -> Invalid:
    """What is wrong with a setting, to be raised."""
    return Invalid(
        f"setting {name} ({source}): {message}", details=(Detail(name, f"{source}: {message}"),)
    )
