"""A network of its own, with loopback and nothing else, for the client, the model and the worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_KEEPER = Path(__file__).with_name("island_keeper.py")
_PATIENCE_S = 30.0


class IslandError(Exception):
    """This machine gives no network namespace, or one that is not cut off."""


class Island:
    """Commands run inside share one loopback; nothing of theirs survives `close`."""

    def __init__(self) -> None:
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            raise IslandError("unshare and nsenter (util-linux) are needed")
        self._as_root = os.geteuid() == 0
        self._keeper = subprocess.Popen(
            ["unshare", "-n" if self._as_root else "-rn", sys.executable, "-I", "-S", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is for the tests, not for the keeper
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"up\n":
            _, said = self._keeper.communicate()
            raise IslandError(f"no network namespace: {said.decode(errors='replace').strip()}")
        self._check_cut_off()

    def argv(self, command: list[str]) -> list[str]:
        """The command that runs `command` on the island."""
        target = ["nsenter", "-t", str(self._keeper.pid), "-n"]
        return [*target, *([] if self._as_root else ["-U", "--preserve-credentials"]), *command]

    def run(
        self, command: list[str], *, env: dict[str, str], cwd: Path, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, with an environment that starts from nothing."""
        return subprocess.run(
            self.argv(command),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def start(
        self, command: list[str], *, env: dict[str, str], cwd: Path
    ) -> subprocess.Popen[bytes]:
        """Run a command beside the tests; its first lines of stdout are the caller's to read."""
        return subprocess.Popen(
            self.argv(command),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """End every process on the island."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(_PATIENCE_S)

    def _check_cut_off(self) -> None:
        look = ["cat", "/proc/net/dev"]
        seen = self.run(look, env={"PATH": os.environ["PATH"]}, cwd=Path("/"))
        devices = [line.partition(b":")[0].strip() for line in seen.stdout.splitlines()[2:]]
        # tunnels that the kernel makes in every namespace are down and have no address
        if b"lo" not in devices or any(name.startswith((b"eth", b"en", b"wl")) for name in devices):
            self.close()
            raise IslandError(f"the namespace is not cut off: {devices} {seen.stderr!r}")
