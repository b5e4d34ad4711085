"""`claude-mem model`, what `make run` does about the model, and the doctor's look at it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import WEIGHTS
from claude_mem.app.doctor import fixes, vectors
from claude_mem.app.doctor.model import Case, Level
from claude_mem.app.settings import load
from claude_mem.cli import demo
from claude_mem.cli.main import app
from claude_mem.worker.status import status as worker_status


@pytest.fixture
def home(private_home: Path) -> Path:
    return private_home / ".claude-mem"


@pytest.fixture
def files(model_folder: ModelFolder) -> Path:
    if not (model_folder.path / WEIGHTS.name).exists():
        pytest.skip("the model was installed without --keep (make test brings it)")
    return model_folder.path


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["model", *arguments, "--json"])
    assert done.exit_code == code, done.output
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["ok"] is (code == 0)
    return found


def shown(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["model", *arguments])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_brought_looked_at_and_removed(home: Path, files: Path) -> None:
    assert "claude-mem model install" in run("status", code=1)["fault"]
    made = run("install", "--from", str(files))
    assert (made["source"], made["sound"], made["precisions"]) == (str(files), True, ["int8"])
    assert made["path"] == str(home / "models" / "all-MiniLM-L6-v2")
    assert 20_000_000 < made["bytes"] < 30_000_000
    assert run("status")["sound"] is True
    assert run("install")["source"] is None
    assert run("remove", "--yes") == {"ok": True, "removed": True, "path": made["path"]}
    assert run("remove")["removed"] is False
    assert run("status", code=1)["installed"] is False


def test_for_a_person(home: Path, files: Path, model_folder: ModelFolder) -> None:
    assert "Not ready" in shown("status", code=1)
    assert "Installed all-MiniLM-L6-v2 (int8)" in shown("install", "--from", str(files))
    assert "there already" in shown("install")
    assert "Sound" in shown("status")
    assert "nothing was removed" in shown("remove", code=1)
    assert "Removed" in shown("remove", "--yes")


def test_without_a_network_it_says_what_was_tried_and_what_else_there_is(home: Path) -> None:
    refused = run("install", code=1)
    assert refused["code"] == "UNAVAILABLE"
    assert "pip: " in refused["error"]
    assert "HF_HUB_OFFLINE" in refused["error"]
    assert "--from FOLDER" in refused["next_step"]
    assert "search finds words" in refused["next_step"]


def test_a_folder_without_the_files(home: Path, tmp_path: Path) -> None:
    assert (
        str(tmp_path / "model.safetensors")
        in run("install", "--from", str(tmp_path), code=1)["error"]
    )


def test_a_place_that_cannot_be_written_is_said_to_be_so(
    home: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "models").touch()
    assert "models" in run("install", "--from", str(files), code=1)["error"]


def test_status_is_well_where_the_settings_use_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")
    assert run("status")["provider"] == "off"
    assert "Not used" in shown("status")


def test_a_wrong_setting_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PRECISION", "int3")
    assert "embedding_precision" in run("status", code=1)["error"]


def test_a_model_that_may_not_be_removed_is_not_called_removed(home: Path) -> None:
    kept = home / "models" / "all-MiniLM-L6-v2"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(home, target_is_directory=True)  # rmtree refuses a link, whoever asks
    done = CliRunner().invoke(app, ["model", "remove", "--yes"])
    assert done.exit_code == 1
    assert "cannot be removed" in done.stderr
    assert kept.is_symlink()


# -- make run ---------------------------------------------------------------------------------


def test_make_run_goes_on_without_a_model_and_says_how_to_get_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo._bring_model(home)
    said = " ".join(capsys.readouterr().out.split())
    assert "search finds words, not meanings" in said
    assert f"CLAUDE_MEM_HOME={home}" in said
    assert "model install" in said


def test_make_run_brings_nothing_that_is_there_or_not_wanted(
    home: Path,
    model_folder: ModelFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("CLAUDE_MEM_EMBEDDING_FOLDER", str(model_folder.path.parent))
        demo._bring_model(home)
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")
    demo._bring_model(home)
    assert capsys.readouterr().out == ""


# -- the doctor -------------------------------------------------------------------------------


def case(home: Path) -> Case:
    home.mkdir(exist_ok=True)
    return Case(home, load(home), None, worker_status(home, cap_bytes=1), {}, home)


def test_the_doctor_names_a_model_that_is_missing_and_says_what_is_lost(home: Path) -> None:
    (found,) = vectors.embedding(case(home))
    assert (found.status, found.mend) == (Level.WARN, "model")
    assert "finds words" in found.found
    assert str(found.fix).startswith("claude-mem model install")
    with pytest.raises(fixes.NotMended, match="could not be brought"):
        fixes.mend("model", case(home))


def test_the_doctor_mends_a_damaged_model(home: Path, files: Path) -> None:
    run("install", "--from", str(files), "--keep")
    assert vectors.embedding(case(home))[0].status is Level.OK
    graph = home / "models" / "all-MiniLM-L6-v2" / "model-int8.onnx"
    with graph.open("r+b") as file:
        file.write(b"\0")
    (found,) = vectors.embedding(case(home))
    assert (found.status, found.mend) == (Level.FAIL, "model")
    assert "damaged" in found.found
    assert "installed the model" in fixes.mend("model", case(home))
    assert vectors.embedding(case(home))[0].status is Level.OK
    shutil.rmtree(home / "models")


def test_the_doctor_names_an_endpoint_without_its_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"URL": "http://127.0.0.1:9/v1", "MODEL": "bge-m3", "KEY": "k-1"}.items():
        monkeypatch.setenv(f"CLAUDE_MEM_EMBEDDING_{name}", value)
    (found,) = vectors.embedding(case(home))
    assert found.status is Level.OK
    assert found.found == "bge-m3 at 127.0.0.1:9"


def test_the_doctor_says_that_it_is_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")
    (found,) = vectors.embedding(case(home))
    assert found.status is Level.OK
    assert "off" in found.found
