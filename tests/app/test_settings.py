"""Settings: which source wins, and what a wrong one says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from claude_mem.app.settings import DEFAULT_PORT, Settings, default_home, load
from claude_mem.kernel.errors import Invalid

OTHERS = {
    "port": "40001",
    "strict_port": "true",
    "log_level": "debug",
    "timezone": "Asia/Shanghai",
    "max_store_mb": "100",
    "max_rss_mb": "300",
    "inbox_bound": "2000",
    "batch_size": "7",
    "catch_up": "off",
    "keep_output_chars": "2000",
    "context": "off",
    "context_budget": "900",
    "prompt_context": "off",
    "prompt_budget": "300",
    "prompt_threshold": "0.5",
    "embedding_provider": "endpoint",
    "embedding_precision": "fp32",
    "embedding_threads": "2",
    "embedding_folder": "/srv/models",
    "embedding_url": "https://models.example/v1",
    "embedding_model": "bge-m3",
    "embedding_key": "k1",
    "embedding_key_header": "api-key",
    "embedding_dimension": "256",
    "embedding_query_prefix": "query: ",
    "embedding_document_prefix": "passage: ",
    "embedding_batch": "8",
    "embedding_concurrency": "3",
    "embedding_timeout": "9",
    "rerank": "endpoint",
    "rerank_folder": "/srv/rerank",
    "rerank_url": "https://models.example/rerank",
    "rerank_model": "bge",
    "rerank_key": "k2",
    "rerank_deadline_ms": "700",
}


def config(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")


def refusal(home: Path, environ: dict[str, str] | None = None) -> Invalid:
    with pytest.raises(Invalid) as refused:
        load(home, environ or {})
    return refused.value


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, {})
    assert settings == Settings(home=tmp_path)
    assert settings.port == DEFAULT_PORT
    assert settings.host == "127.0.0.1"
    assert settings.database == tmp_path / "claude-mem.db"


def test_the_file_wins_over_the_default_and_the_environment_over_the_file(tmp_path: Path) -> None:
    config(tmp_path, 'port = 40000\nlog_level = "error"\n')
    assert load(tmp_path, {}).port == 40000
    settings = load(tmp_path, {"CLAUDE_MEM_PORT": "40001"})
    assert (settings.port, settings.log_level) == (40001, "error")


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    config(tmp_path, "port = 40000\n")
    assert load(tmp_path, {"CLAUDE_MEM_PORT": ""}).port == 40000


def test_every_setting_can_come_from_either_source(tmp_path: Path) -> None:
    names = {field.name for field in fields(Settings)} - {"home"}
    assert names == set(OTHERS), "a new setting needs a value here"
    from_environment = load(
        tmp_path, {f"CLAUDE_MEM_{name.upper()}": value for name, value in OTHERS.items()}
    )
    lines = [f'{name} = "{value}"' for name, value in OTHERS.items()]
    config(tmp_path, "\n".join(lines))
    assert load(tmp_path, {}) == from_environment
    default = Settings(home=tmp_path)
    for name in names:
        assert getattr(from_environment, name) != getattr(default, name), name
        assert type(getattr(from_environment, name)) is type(getattr(default, name)), name


def test_the_files_own_types_are_taken(tmp_path: Path) -> None:
    config(tmp_path, "strict_port = true\ncatch_up = false\nbatch_size = 9\n")
    settings = load(tmp_path, {})
    assert (settings.strict_port, settings.catch_up, settings.batch_size) == (True, False, 9)


def test_the_home_comes_from_the_caller_then_the_environment_then_the_person(
    tmp_path: Path, private_home: Path
) -> None:
    environ = {"CLAUDE_MEM_HOME": str(tmp_path / "there")}
    assert load(tmp_path, environ).home == tmp_path
    assert load(None, environ).home == tmp_path / "there"
    assert default_home({}) == private_home / ".claude-mem"
    assert default_home({"CLAUDE_MEM_HOME": "~/x"}) == private_home / "x"
    assert default_home({"CLAUDE_MEM_HOME": "relative"}).is_absolute()


def test_an_unknown_key_of_the_file_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    config(tmp_path, "prot = 1\n")
    error = refusal(tmp_path)
    assert "prot" in error.message
    assert "config.toml" in error.message
    assert "known: " in error.message
    assert "port" in error.message
    assert error.details[0].field == "prot"


def test_the_api_listens_on_loopback_and_nowhere_else(tmp_path: Path) -> None:
    assert load(tmp_path, {"CLAUDE_MEM_HOST": "0.0.0.0"}).host == "127.0.0.1"
    config(tmp_path, 'host = "0.0.0.0"\n')
    assert "unknown setting" in refusal(tmp_path).message


def test_a_section_of_the_file_is_an_unknown_key(tmp_path: Path) -> None:
    config(tmp_path, "[worker]\nport = 1\n")
    assert "worker" in refusal(tmp_path).message


@pytest.mark.parametrize("text", ["port = ", "port 1", "=\n", '"'])
def test_bad_toml_names_file_and_place(text: str, tmp_path: Path) -> None:
    config(tmp_path, text)
    error = refusal(tmp_path)
    assert str(tmp_path / "config.toml") in error.message
    assert "not valid TOML" in error.message
    assert "line 1" in error.message or "end of document" in error.message


def test_a_file_that_is_no_text_is_bad_toml(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in refusal(tmp_path).message


WRONG = {
    "port": ["0", "65536", "-1", "http", "1.5"],
    "strict_port": ["maybe", "2"],
    "catch_up": ["ja"],
    "log_level": ["loud", "DEBUG"],
    "timezone": ["Berlin", "Europe", "UTC+2", "../UTC", "/usr/share/zoneinfo/UTC", "昨天"],
    "max_store_mb": ["15", "many"],
    "max_rss_mb": ["127"],
    "inbox_bound": ["999", "100000001"],
    "batch_size": ["0", "10001"],
    "keep_output_chars": ["999", "1000001"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_names_setting_source_and_way_out(
    name: str, value: str, tmp_path: Path
) -> None:
    variable = f"CLAUDE_MEM_{name.upper()}"
    from_environment = refusal(tmp_path, {variable: value})
    assert f"setting {name} ({variable})" in from_environment.message
    assert "expected" in from_environment.message
    assert from_environment.details[0].field == name
    config(tmp_path, f'{name} = "{value}"\n')
    from_file = refusal(tmp_path)
    assert f"setting {name} (config.toml)" in from_file.message
    assert "expected" in from_file.message


@pytest.mark.parametrize("line", ["port = 1.9", "port = true", "strict_port = 5", "log_level = []"])
def test_a_wrong_type_in_the_file_is_not_bent(line: str, tmp_path: Path) -> None:
    config(tmp_path, line + "\n")
    error = refusal(tmp_path)
    assert f"setting {line.split()[0]} (config.toml)" in error.message
    assert "expected" in error.message


@pytest.mark.parametrize(
    ("environ", "field"),
    [
        ({"CLAUDE_MEM_RERANK": "local"}, "rerank_folder"),
        ({"CLAUDE_MEM_RERANK": "endpoint"}, "rerank_url"),
        (
            {"CLAUDE_MEM_RERANK": "endpoint", "CLAUDE_MEM_RERANK_URL": "http://u:p@h/"},
            "rerank_url",
        ),
        ({"CLAUDE_MEM_RERANK": "always"}, "rerank"),
        ({"CLAUDE_MEM_RERANK_DEADLINE_MS": "1"}, "rerank_deadline_ms"),
        ({"CLAUDE_MEM_RERANK_KEY": "a\nb"}, "rerank_key"),
    ],
)
def test_what_reranks_is_named_whole(tmp_path: Path, environ: dict[str, str], field: str) -> None:
    assert refusal(tmp_path, environ).details[0].field == field
    assert "u:p" not in str(refusal(tmp_path, environ))
