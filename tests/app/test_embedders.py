"""Which embedder the settings choose, and what they refuse."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.app import server_settings, settings
from claude_mem.app.embedders import make_embedder, model_folder
from claude_mem.app.settings import Settings, load
from claude_mem.kernel.errors import Invalid
from claude_mem.ports.vectors import VectorModel
from embedding_endpoint import fake_endpoint

SERVER = {
    "CLAUDE_MEM_DATABASE_URL": "postgresql://app:pw1@db/claude_mem",
    "CLAUDE_MEM_NATS_URL": "nats://one:4222",
    "CLAUDE_MEM_REDIS_URL": "redis://cache",
}
ENDPOINT = {
    "CLAUDE_MEM_EMBEDDING_URL": "http://127.0.0.1:9/v1",
    "CLAUDE_MEM_EMBEDDING_MODEL": "bge-m3",
}


def both(home: Path, environ: dict[str, str]) -> list[Any]:
    return [load(home, environ), server_settings.load(None, SERVER | environ)]


def test_the_local_model_is_the_default(tmp_path: Path) -> None:
    for found in both(tmp_path, {}):
        embedder = make_embedder(found)
        assert embedder is not None
        state = embedder.state()
        assert state.model == VectorModel("all-MiniLM-L6-v2/int8", 384)
        assert not state.ready
        assert "claude-mem model install" in state.reason
    assert model_folder(Settings(home=tmp_path)).path == tmp_path / "models" / "all-MiniLM-L6-v2"


def test_the_folder_of_models_can_be_elsewhere(tmp_path: Path) -> None:
    for found in both(tmp_path, {"CLAUDE_MEM_EMBEDDING_FOLDER": "/srv/models"}):
        assert model_folder(found).path == Path("/srv/models/all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("provider", "url", "expected"),
    [
        ("auto", False, "all-MiniLM-L6-v2/int8"),
        ("auto", True, "bge-m3"),
        ("local", True, "all-MiniLM-L6-v2/int8"),
        ("endpoint", True, "bge-m3"),
        ("off", True, None),
    ],
)
def test_who_makes_vectors(tmp_path: Path, provider: str, url: bool, expected: str | None) -> None:
    environ = {"CLAUDE_MEM_EMBEDDING_PROVIDER": provider, "CLAUDE_MEM_EMBEDDING_DIMENSION": "1024"}
    for found in both(tmp_path, environ | (ENDPOINT if url else {})):
        embedder = make_embedder(found)
        model = None if embedder is None else embedder.state().model
        assert (model.name if model else None) == expected
        assert (embedder is None) == (provider == "off")


async def test_every_setting_of_an_endpoint_reaches_it(tmp_path: Path) -> None:
    with fake_endpoint() as server:
        environ = {
            "CLAUDE_MEM_EMBEDDING_URL": server.url,
            "CLAUDE_MEM_EMBEDDING_MODEL": "words",
            "CLAUDE_MEM_EMBEDDING_KEY": "k-123",
            "CLAUDE_MEM_EMBEDDING_KEY_HEADER": "api-key",
            "CLAUDE_MEM_EMBEDDING_DIMENSION": "16",
            "CLAUDE_MEM_EMBEDDING_QUERY_PREFIX": "query: ",
            "CLAUDE_MEM_EMBEDDING_DOCUMENT_PREFIX": "passage: ",
            "CLAUDE_MEM_EMBEDDING_BATCH": "2",
        }
        embedder = make_embedder(load(tmp_path, environ))
        assert embedder is not None
        await embedder.documents(["a", "b", "c"])
        await embedder.query("d")
        await embedder.query("d")
        await embedder.close()
    assert sorted(it["input"] for it in server.requests) == [
        ["passage: a", "passage: b"],
        ["passage: c"],
        ["query: d"],
    ]
    assert all(it["dimensions"] == 16 for it in server.requests)
    assert all(it["api-key"] == "k-123" for it in server.headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("embedding_provider", "cloud"),
        ("embedding_precision", "int4"),
        ("embedding_threads", "0"),
        ("embedding_dimension", "4000"),
        ("embedding_url", "127.0.0.1:11434"),
        ("embedding_url", "ftp://secret/v1"),
        ("embedding_url", "http://me:secret@host/v1"),
        ("embedding_url", "http://host:secret/v1"),
        ("embedding_model", ""),
        ("embedding_key_header", "api key: secret"),
        ("embedding_key", "two\nlines of a secret"),
        ("embedding_key", "schlüssel-secret"),
    ],
)
def test_what_cannot_be_is_refused_by_both_profiles(tmp_path: Path, name: str, value: str) -> None:
    environ = ENDPOINT | {
        "CLAUDE_MEM_EMBEDDING_URL": "http://host/v1",
        f"CLAUDE_MEM_{name.upper()}": value,
    }
    for read in (
        lambda: load(tmp_path, environ),
        lambda: server_settings.load(None, SERVER | environ),
    ):
        with pytest.raises(Invalid) as refused:
            read()
        assert refused.value.details[0].field == name
        assert "secret" not in refused.value.message


def test_an_endpoint_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="embedding_url"):
        load(tmp_path, {"CLAUDE_MEM_EMBEDDING_PROVIDER": "endpoint"})


def test_the_key_may_stand_in_a_file_and_is_never_printed(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("k-123456\n")
    secret.chmod(stat.S_IRUSR)
    environ = ENDPOINT | {"CLAUDE_MEM_EMBEDDING_KEY_FILE": str(secret)}
    for found in both(tmp_path, environ):
        assert found.embedding_key == "k-123456"
        assert "k-123456" not in repr(found)
    with pytest.raises(Invalid, match="EMBEDDING_KEY_FILE"):
        load(tmp_path, ENDPOINT | {"CLAUDE_MEM_EMBEDDING_KEY_FILE": str(tmp_path / "gone")})


def test_both_profiles_know_the_same_settings_of_vectors() -> None:
    for known in (settings.Settings, server_settings.ServerSettings):
        assert {"embedding_provider", "embedding_key"} <= {*known.__dataclass_fields__}


def test_building_and_asking_for_the_state_loads_no_library(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    program = f"""
import sys
from pathlib import Path
from claude_mem.app.build import build_local
from claude_mem.app.embedders import make_embedder
from claude_mem.app.settings import Settings
from claude_mem.cli.main import app
home = Path({str(model_folder.path.parents[1])!r})
settings = Settings(home=Path(sys.argv[1]), embedding_folder=str(home / "models"))
system = build_local(settings, make_embedder(settings))
assert system.parts.state["embedder"].state().ready
print([it for it in ("numpy", "onnx", "onnxruntime", "tokenizers", "safetensors") if it in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
