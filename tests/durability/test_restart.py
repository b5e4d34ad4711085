"""Stopping, upgrading, a poisoned event, a spool left behind: what was promised comes through each of them once."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlean
from bench.audit import audit
from bench.durability import Ledger, Site, eventually, marker
from bench.traffic import Hooks, Writer, event

from claude_mem import __version__
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_ENTERPRISE
from claude_mem.worker.control import start

pytestmark = pytest.mark.slow

# The real supervisor and worker, believing that they are of an older program.
OLD = """
import sys
from pathlib import Path
from claude_mem.worker import supervisor
supervisor.supervise(
    Path(sys.argv[1]), 1024, [sys.executable, "-c", sys.argv[2], sys.argv[1]], version="0.0.1"
)
"""
OLD_WORKER = """
import sys
import claude_mem
claude_mem.__version__ = "0.0.1"
from claude_mem.app.serve import main
sys.exit(main(["--home", sys.argv[1]]))
"""


def post(site: Site, ledger: Ledger, count: int, seed: int = 1) -> None:
    """Hand in `count` events, in batches."""
    rng = random.Random(seed)
    with site.client() as client:
        for at in range(0, count, 200):
            words = [marker(rng) for _ in range(min(200, count - at))]
            events = [event(rng, word) for word in words]
            client.post_events(events)
            ledger.acknowledge((one["id"], word) for one, word in zip(events, words, strict=True))


def run_hooks(site: Site, ledger: Ledger, count: int) -> None:
    hooks = Hooks(site, ledger, 5)
    for _ in range(count):
        hooks.one()
    assert ledger.notes == []


def test_stop_drains_what_was_acknowledged(site: Site) -> None:
    site.start()
    ledger = Ledger()
    post(site, ledger, 2000)
    site.stop()
    found = audit(site, ledger)
    assert found.problems == []
    assert found.rows == 2000
    assert not site.files.door.exists()


@pytest.fixture
def old(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """An older program's supervisor and worker on the site's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OLD, str(site.home), OLD_WORKER],
        env=site.environment,
        start_new_session=True,
    )
    yield process
    site.close()
    process.wait(timeout=60)


def test_an_upgrade_under_load_loses_nothing(
    site: Site, old: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    assert site.ready().version == "0.0.1"
    ledger = Ledger()
    load = [Writer(site, ledger, 1), Writer(site, ledger, 2), Hooks(site, ledger, 3)]
    for thread in load:
        thread.start()
    try:
        eventually(lambda: len(ledger.acknowledged) > 50 and ledger.kept, "load")
        upgraded = start(site.home, timeout=60)
        assert (upgraded.state, upgraded.replaced) == ("upgraded", "0.0.1")
        assert upgraded.version == __version__
        answered, kept = len(ledger.acknowledged), len(ledger.kept)
        eventually(
            lambda: len(ledger.acknowledged) > answered + 50 and len(ledger.kept) > kept,
            "the new worker at work",
        )
    finally:
        for thread in load:
            thread.finish()
    assert old.wait(timeout=60) == 0
    assert ledger.notes == []
    site.settle()
    site.stop()
    assert audit(site, ledger).problems == []


def poison(site: Site) -> list[str]:
    """Put entries into the inbox that no door would let in; their ids."""
    not_an_event = json.dumps({"id": new_id(), "type": "prompt.submitted"}).encode()
    unknown = event(random.Random(3), "mkunknown") | {"type": "nobody.knows"}
    bodies = [not_an_event, b"{ not json", json.dumps(unknown).encode()]
    ids = [new_id() for _ in bodies]
    with contextlib.closing(sqlean.connect(str(site.files.inbox))) as raw:
        raw.executemany(
            "INSERT INTO inbox (enterprise_id, event_id, body) VALUES (?, ?, ?)",
            [(LOCAL_ENTERPRISE, one, body) for one, body in zip(ids, bodies, strict=True)],
        )
        raw.commit()
    return ids


def test_a_poisoned_event_is_buried_and_holds_nothing_up(site: Site) -> None:
    site.start()
    ledger = Ledger()
    post(site, ledger, 300, seed=1)
    site.stop()
    poisoned = poison(site)
    # In the same batch as the poison: what hooks left while nobody ran.
    run_hooks(site, ledger, 3)
    site.start()
    post(site, ledger, 300, seed=2)
    site.settle()
    report = site.health()
    assert report is not None
    assert report["checks"]["inbox"]["dead_letters"] == len(poisoned)
    assert report["checks"]["inbox"]["pending"] == 0
    site.stop()
    with contextlib.closing(sqlean.connect(str(site.files.inbox))) as raw:
        buried = dict(raw.execute("SELECT event_id, reason FROM dead_letters"))
        raw.execute("DELETE FROM dead_letters")
        raw.commit()
    assert set(buried) == set(poisoned)
    assert all(buried.values()), "a reason stands beside each"
    assert audit(site, ledger).problems == []


def test_a_spool_left_while_nobody_ran_is_delivered_once(site: Site) -> None:
    ledger = Ledger()
    run_hooks(site, ledger, 12)
    assert not site.files.worker_json.exists()
    site.start()
    site.settle()
    site.stop()
    found = audit(site, ledger)
    assert found.problems == []
    assert found.rows == 12


@pytest.mark.parametrize("lost", ["file", "half"])
def test_a_worker_killed_before_it_deleted_the_spool_doubles_nothing(
    site: Site, tmp_path: Path, lost: str
) -> None:
    """The file is there again after its events became rows: all of it, or with more behind it."""
    ledger = Ledger()
    run_hooks(site, ledger, 6)
    spooled = site.files.spool / "active.jsonl"
    shutil.copy(spooled, tmp_path / "spooled")
    if lost == "half":
        run_hooks(site, ledger, 6)
        shutil.copy(spooled, tmp_path / "spooled")
        spooled.write_text("".join(spooled.open().readlines()[:6]))
    site.start()
    site.settle()
    site.stop()
    shutil.copy(tmp_path / "spooled", site.files.spool / "ready-1-1.jsonl")
    site.start()
    site.settle()
    site.stop()
    found = audit(site, ledger)
    assert found.problems == []
    assert found.rows == len(ledger.kept)


def test_a_stopped_worker_comes_back_with_the_next_session_only(site: Site) -> None:
    ledger = Ledger()
    site.start()
    site.stop()
    run_hooks(site, ledger, 3)
    assert site.processes() == [], "an event of a running session does not undo a person's stop"
    fields = {"session_id": "next", "cwd": "/srv/project-0", "source": "startup"}
    begun = site.hook("SessionStart", fields | {"hook_event_name": "SessionStart"})
    begun.communicate(timeout=60)
    site.ready()
    site.settle()
    site.stop()
    assert audit(site, ledger).problems == []
