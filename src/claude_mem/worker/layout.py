"""Where the files of a data folder are that its processes share.

Owns these names only; making and reading the files is each owner's own business.
"""

from __future__ import annotations

from pathlib import Path


class Layout:
    """The shared files of the data folder `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.logs = home / "logs"
        self.spool = home / "spool"
        self.worker_lock = home / "worker.lock"
        self.supervisor_lock = home / "supervisor.lock"
        self.worker_json = home / "worker.json"
        self.worker_failed = home / "worker.failed"
        self.door = home / "door"
        self.paused = home / "paused"
        self.database = home / "claude-mem.db"
        self.inbox = home / "inbox.db"
        self.worker_log = self.logs / "worker.jsonl"
        self.supervisor_log = self.logs / "supervisor.jsonl"
        self.worker_stderr = self.logs / "worker.err"
