"""A scriptable worker for the supervisor's tests: lock, pipe, door and exit codes of the real one,
nothing else.

    standin.py --home DIR

`DIR/script.json` (read at start; all optional): `exits`: exit codes of the first runs, in order;
`version`;
`ignore_term`: true; `leave_child`: start a sleeper and write its pid to `sleeper`; `port`: reported
in worker.json;
`fail`: {"code", "message", "exit"} said on stderr before leaving with that exit code.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from claude_mem.worker.child import SUPERVISOR_FD
from claude_mem.worker.launch import keep_supervised, launch
from claude_mem.worker.locks import ProcessLock

ANSWER = b'{"status": "healthy", "checks": {"inbox": {"pending": 0}}}'


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args().home
    script = (
        json.loads((home / "script.json").read_text()) if (home / "script.json").exists() else {}
    )
    run = count_run(home)
    if run < len(script.get("exits", [])) and script["exits"][run] is not None:
        print(f"leaving with {script['exits'][run]}", file=sys.stderr, flush=True)
        return int(script["exits"][run])
    if "fail" in script:
        return refuse(script["fail"])
    lock = ProcessLock(home / "worker.lock", "worker", script.get("version", "0.1.0"))
    if not lock.acquire():
        return 75
    return serve(home, script)


def count_run(home: Path) -> int:
    with (home / "runs").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len((home / "runs").read_text().splitlines()) - 1


def refuse(fault: dict[str, object]) -> int:
    line = {"level": "error", "code": fault["code"], "message": fault["message"]}
    print(json.dumps(line), file=sys.stderr)
    return int(str(fault["exit"]))


def serve(home: Path, script: dict[str, object]) -> int:
    stopping = threading.Event()
    if script.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if script.get("leave_child"):
        sleeper = subprocess.Popen(["sleep", "600"])
        (home / "sleeper").write_text(str(sleeper.pid))
    listener = socket.socket(socket.AF_UNIX)
    path = home / "worker.sock"
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(0.05)
    supervise_me(home, stopping)
    announce(home, script)
    while not stopping.is_set():
        answer_one(listener)
    (home / "door").unlink()
    (home / "worker.json").unlink()
    return 0


def supervise_me(home: Path, stopping: threading.Event) -> None:
    descriptor = os.environ.get(SUPERVISOR_FD)
    me = [sys.executable, __file__, "--home", str(home)]
    threading.Thread(
        target=keep_supervised,
        args=(home, stopping),
        kwargs={
            "supervisor_fd": int(descriptor) if descriptor else None,
            "start": lambda folder: launch(folder, worker=me),
        },
        daemon=True,
    ).start()


def announce(home: Path, script: dict[str, object]) -> None:
    told = {"pid": os.getpid(), "port": script.get("port", 0), "socket": str(home / "worker.sock")}
    for name in ("max_rss_mb",):
        if name in script:
            told[name] = script[name]
    (home / "worker.json").write_text(json.dumps(told))
    draft = home / "door.new"
    draft.write_text(f"unix:{home / 'worker.sock'}\ntoken\n")
    draft.rename(home / "door")


def answer_one(listener: socket.socket) -> None:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return
    with connection:
        connection.settimeout(2)
        connection.recv(65536)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + ANSWER)


if __name__ == "__main__":
    sys.exit(main())
