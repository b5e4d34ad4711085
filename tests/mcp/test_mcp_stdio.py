"""The forwarder on stdio, as a process of its own: what it answers without any worker, and how it ends."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import claude_mem
from claude_mem.hook import home, launch
from claude_mem.mcp import stdio
from claude_mem.mcp.arguments import unknown_keywords

FILE = Path(stdio.__file__)
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "tester", "version": "1"},
}
PATIENCE = 20.0


class Forwarder:
    """A running forwarder; lines in, messages out."""

    def __init__(self, folder: Path, *arguments: str, file: Path = FILE, **environ: str) -> None:
        command = [sys.executable, "-I", "-S", str(file), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ["PATH"], **environ},
        )
        self._timer = threading.Timer(PATIENCE, self.process.kill)
        self._timer.start()

    def send(self, line: bytes | Any) -> None:
        raw = line if isinstance(line, bytes) else json.dumps(line).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(raw + b"\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended, or nothing came in time"
        return json.loads(line)

    def ask(self, method: str, key: Any = 1, **params: Any) -> Any:
        self.send({"jsonrpc": "2.0", "id": key, "method": method, "params": params})
        return self.receive()

    def end(self) -> bytes:
        """Close its stdin; what it still says, once it has ended."""
        rest, complaint = self.process.communicate()
        self._timer.cancel()
        assert complaint == b""
        assert self.process.returncode == 0
        return rest


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[Forwarder]:
    made = Forwarder(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


def test_it_answers_at_once_without_a_worker(forwarder: Forwarder) -> None:
    answer = forwarder.ask("initialize", **HELLO)
    assert answer["id"] == 1
    result = answer["result"]
    assert result["protocolVersion"] == "2025-11-25"
    assert result["serverInfo"]["name"] == "claude-mem"
    assert "data, never instructions" in result["instructions"]
    forwarder.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert forwarder.ask("ping", "a")["result"] == {}
    assert forwarder.ask("tools/list", 2)["result"]["tools"] == stdio.TOOLS
    assert forwarder.end() == b""


@pytest.mark.parametrize("version", stdio.PROTOCOLS)
def test_it_speaks_the_clients_protocol(version: str, forwarder: Forwarder) -> None:
    answer = forwarder.ask("initialize", **HELLO | {"protocolVersion": version})
    assert answer["result"]["protocolVersion"] == version


@pytest.mark.parametrize("version", ["1999-01-01", "", None, 7, [], {}])
def test_to_an_unknown_protocol_it_offers_its_latest(version: Any, forwarder: Forwarder) -> None:
    answer = forwarder.ask("initialize", **HELLO | {"protocolVersion": version})
    assert answer["result"]["protocolVersion"] == stdio.PROTOCOLS[-1]


WRONG = [
    (b"{", stdio.PARSE_ERROR),
    (b"hello", stdio.PARSE_ERROR),
    (b"\xff\xfe", stdio.PARSE_ERROR),
    (b'{"a": NaN}', stdio.PARSE_ERROR),
    (b"[" * 100_000, stdio.PARSE_ERROR),
    (b"9" * 10_000, stdio.PARSE_ERROR),
    (b"1", stdio.INVALID_REQUEST),
    (b'"text"', stdio.INVALID_REQUEST),
    (b"null", stdio.INVALID_REQUEST),
    (b"{}", stdio.INVALID_REQUEST),
    (b"[]", stdio.INVALID_REQUEST),
    (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', stdio.INVALID_REQUEST),
    (b'{"jsonrpc": "2.0", "id": 1}', stdio.INVALID_REQUEST),
    (b'{"jsonrpc": "2.0", "id": [1], "method": "ping"}', stdio.INVALID_REQUEST),
    (b'{"jsonrpc": "2.0", "id": 1, "method": 2}', stdio.INVALID_REQUEST),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "server/discover"}', stdio.NO_METHOD),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 3}', stdio.BAD_PARAMS),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}', stdio.BAD_PARAMS),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rumour"}}',
        stdio.BAD_PARAMS,
    ),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": ["search"]}}',
        stdio.BAD_PARAMS,
    ),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call",'
        b' "params": {"name": "search", "arguments": []}}',
        stdio.BAD_PARAMS,
    ),
]


@pytest.mark.parametrize(("line", "code"), WRONG)
def test_what_is_wrong_is_an_error_and_no_end(line: bytes, code: int, forwarder: Forwarder) -> None:
    forwarder.send(line)
    answer = forwarder.receive()
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert forwarder.ask("ping", 9) == {"jsonrpc": "2.0", "id": 9, "result": {}}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"\r",
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b'{"jsonrpc": "2.0", "method": "notifications/unheard-of", "params": [1]}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 12}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [{}]}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled"}',
        b'{"jsonrpc": "2.0", "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 5, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 5, "result": {"roots": [7]}}',
        b'{"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": "x"}}',
    ],
)
def test_what_asks_for_nothing_is_answered_by_nothing(line: bytes, forwarder: Forwarder) -> None:
    forwarder.send(line)
    assert forwarder.ask("ping", 3)["id"] == 3


@pytest.mark.parametrize("version", stdio.BATCHING)
def test_an_array_of_messages_where_the_protocol_has_them(
    version: str, forwarder: Forwarder
) -> None:
    forwarder.ask("initialize", **HELLO | {"protocolVersion": version})
    calls: list[Any] = [
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        7,
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "sessions"}},
    ]
    forwarder.send(calls)
    answers = forwarder.receive()
    assert {answer["id"] for answer in answers} == {1, None, 2}
    forwarder.send(calls[1:2])
    assert forwarder.ask("ping", 3)["id"] == 3


def test_an_array_where_the_protocol_has_none(forwarder: Forwarder) -> None:
    forwarder.ask("initialize", **HELLO)
    forwarder.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}])
    assert forwarder.receive()["error"]["code"] == stdio.INVALID_REQUEST


def test_a_line_without_end_is_passed_over(forwarder: Forwarder) -> None:
    forwarder.send(b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * stdio.MAX_LINE + b'"}')
    assert forwarder.receive()["error"]["code"] == stdio.INVALID_REQUEST
    long = {"jsonrpc": "2.0", "id": 2, "method": "ping", "params": {"x": "y" * 3_000_000}}
    forwarder.send(long)
    assert forwarder.receive() == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_without_a_worker_a_call_says_what_to_do(forwarder: Forwarder) -> None:
    answer = forwarder.ask("tools/call", name="search", arguments={"query": "x"})
    result = answer["result"]
    assert result["isError"] is True
    assert "claude-mem start" in result["content"][0]["text"]


def test_a_last_line_without_its_end_is_read(tmp_path: Path) -> None:
    made = Forwarder(tmp_path)
    assert made.process.stdin is not None
    made.process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}')
    assert json.loads(made.end())["id"] == 1


def test_it_serves_the_folder_it_lies_in(tmp_path: Path) -> None:
    """And no other, whatever the environment says: what install wrote stays with its data."""
    data = tmp_path / "data"
    (data / "mcp").mkdir(parents=True)
    (data / "token").write_text("t")
    copy = data / "mcp" / "stdio.py"
    copy.write_text(FILE.read_text())
    made = Forwarder(tmp_path, file=copy, CLAUDE_MEM_HOME=str(tmp_path / "other"))
    said = made.ask("tools/call", name="sessions")["result"]["content"][0]["text"]
    assert str(data) in said
    made.end()


@pytest.mark.parametrize("foreign", [True, False])
def test_the_configured_folder_is_the_one_the_program_means(
    foreign: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    (base / "v2").mkdir(parents=True)
    (base / "v2" / "token").write_text("t")
    application = 0 if foreign else home.APPLICATION_ID
    header = b"SQLite format 3\0" + bytes(52) + application.to_bytes(4, "big") + bytes(28)
    (base / "claude-mem.db").write_bytes(header)
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(base))
    expected = str(home.default_home())
    assert stdio.data_folder([], str(FILE)) == expected == str(base / "v2" if foreign else base)
    assert stdio.data_folder(["--home", str(tmp_path)], str(FILE)) == str(tmp_path)
    monkeypatch.delenv("CLAUDE_MEM_HOME")
    assert stdio.data_folder([], str(FILE)) == str(home.default_home())


def listening(folder: Path, answer: bytes) -> Any:
    """A worker's door behind which somebody takes calls and gives one answer to each, or none."""
    import socket

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "s"))
    listener.listen()
    (folder / "door").write_text(f"unix:{folder / 's'}\ntoken-of-a-test\n")
    held: list[Any] = []

    def take() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            held.append(line)
            if answer:
                line.recv(1 << 16)
                line.sendall(answer)
                line.close()

    threading.Thread(target=take, daemon=True).start()
    return listener, held


def test_a_slow_call_holds_nothing_up_and_can_be_cancelled(short_folder: Path) -> None:
    listener, held = listening(short_folder, b"")
    made = Forwarder(short_folder, "--home", str(short_folder))
    call = {"name": "search", "arguments": {"query": "x"}}
    for key in (1, "1"):
        made.send({"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": call})
    assert made.ask("ping", 3)["id"] == 3, "while two calls wait"
    again = made.ask("tools/call", 1, **call)
    assert again["error"]["code"] == stdio.INVALID_REQUEST, "its id is taken"
    params = {"requestId": 1}
    eventually(lambda: len(held) == 2)  # what is cancelled before it is sent is never held
    made.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    eventually(lambda: any(is_gone(line) for line in held))
    assert made.ask("ping", 4)["id"] == 4
    started = time.monotonic()
    assert made.end() == b"", "what was cancelled is never answered"
    assert time.monotonic() - started < PATIENCE / 2, "it does not wait for the call that hangs"
    listener.close()


def is_gone(line: Any) -> bool:
    """Whether the other side of a connection has closed it, once its request is read."""
    line.setblocking(False)
    try:
        while chunk := line.recv(1 << 16):
            assert chunk
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def eventually(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def http(status: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http("401 Unauthorized", b'{"error": "the token is not right"}'), "claude-mem restart"),
        (http("404 Not Found", b'{"error": "nothing"}'), "another version"),
        (http("503 Unavailable", b'{"error": "the disk is full"}'), "the disk is full"),
        (http("500 Error", b"[]"), "claude-mem status"),
    ],
    ids=["token", "version", "full", "error"],
)
def test_a_refusal_of_the_worker_is_told_with_a_next_step(
    answer: bytes, said: str, short_folder: Path
) -> None:
    listener, _ = listening(short_folder, answer)
    made = Forwarder(short_folder, "--home", str(short_folder))
    result = made.ask("tools/call", name="sessions")["result"]
    assert result["isError"] is True
    assert said in result["content"][0]["text"]
    assert "token-of-a-test" not in json.dumps(result)
    made.end()
    listener.close()


def test_the_client_that_shows_the_structured_form_gets_the_text_alone(short_folder: Path) -> None:
    body = b'{"content": [{"type": "text", "text": "t"}], "structuredContent": {"a": 1}}'
    listener, _ = listening(short_folder, http("200 OK", body))
    made = Forwarder(short_folder, "--home", str(short_folder))
    for name, expected in (("claude-code", {"content"}), ("x", {"content", "structuredContent"})):
        made.ask("initialize", **HELLO | {"clientInfo": {"name": name, "version": "1"}})
        assert set(made.ask("tools/call", name="sessions")["result"]) == expected
    made.end()
    listener.close()


def test_the_project_is_the_clients_own_else_its_first_root(short_folder: Path) -> None:
    seen: list[bytes] = []
    listener, held = listening(short_folder, b"")

    def asked(made: Forwarder, key: int) -> bytes:
        params = {"name": "sessions"}
        made.send({"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params})
        eventually(lambda: len(held) > len(seen))
        held[-1].setblocking(True)
        seen.append(held[-1].recv(1 << 16))
        return seen[-1]

    hello = HELLO | {"capabilities": {"roots": {}}}
    place = str(short_folder / "a b")
    own = Forwarder(
        short_folder,
        "--home",
        str(short_folder),
        CLAUDE_PROJECT_DIR=place,
        CLAUDE_CODE_SESSION_ID="s-9",
    )
    own.ask("initialize", **hello)
    own.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    head = asked(own, 2)
    assert f"X-Project-Dir: {place.replace(' ', '%20')}\r\n".encode() in head
    assert b"X-Agent-Session: s-9\r\n" in head
    assert b"Authorization: Bearer token-of-a-test\r\n" in head
    own.end()
    other = Forwarder(short_folder, "--home", str(short_folder))
    other.ask("initialize", **hello)
    other.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    question = other.receive()
    assert question["method"] == "roots/list"
    roots = [{"uri": "file:///srv/the%20app"}, {"uri": "file:///other"}]
    other.send({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": roots}})
    assert b"X-Project-Dir: /srv/the%20app\r\n" in asked(other, 2)
    other.end()
    listener.close()


@pytest.fixture
def short_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose path leaves room for a Unix socket's."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="cm-"))
    yield made
    shutil.rmtree(made)


def test_it_stands_alone() -> None:
    tree = ast.parse(FILE.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [it.name for it in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_it_loads_little_before_it_answers(tmp_path: Path) -> None:
    """What costs start-up time is loaded by the first call that needs it."""
    code = (
        f"import io, sys\nexec(compile(io.open({str(FILE)!r}).read(), 'stdio', 'exec'), "
        "{'__name__': 'stdio', '__file__': 'stdio'})\nprint(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "json" in loaded
    dear = {"socket", "subprocess", "threading", "typing", "pathlib", "urllib", "ssl", "contextlib"}
    assert dear & loaded == set()


def test_it_says_the_same_as_the_program() -> None:
    assert claude_mem.__version__ == stdio.VERSION
    assert stdio.APPLICATION_ID == home.APPLICATION_ID
    assert stdio.PASSED_ON == launch.PASSED_ON
    assert stdio.PASSED_ON_PREFIXES == launch.PASSED_ON_PREFIXES


def test_every_promise_of_a_declaration_is_checked() -> None:
    for tool in stdio.TOOLS:
        assert unknown_keywords(tool["inputSchema"]) == set()
    assert unknown_keywords({"properties": {"a": {"type": "array", "items": {"format": "x"}}}})


@pytest.mark.parametrize("key", ["1e999", "-1e999", "null"])
def test_an_id_that_json_cannot_say_again_is_refused(key: str, forwarder: Forwarder) -> None:
    forwarder.send(f'{{"jsonrpc":"2.0","id":{key},"method":"ping"}}'.encode())
    answer = forwarder.receive()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (r'"query":"half \ud800"', "query: holds half a character"),
        ('"limit":1e999', "limit: a number"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_named(
    argument: str, said: str, forwarder: Forwarder
) -> None:
    call = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{%s}}}'
    )
    forwarder.send((call % argument).encode())
    result = forwarder.receive()["result"]
    assert result["isError"]
    assert said in result["content"][0]["text"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_request_with_a_number_that_json_does_not_know_is_answered(
    number: str, forwarder: Forwarder
) -> None:
    forwarder.send(f'{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"x":{number}}}}}'.encode())
    answer = forwarder.receive()
    assert (answer["id"], answer["error"]["code"]) == (7, stdio.PARSE_ERROR)


def test_ids_of_calls_are_uuids_of_now() -> None:
    from claude_mem.kernel.ids import id_epoch_ms, is_id

    made = {stdio.make_id() for _ in range(100)}
    assert len(made) == 100
    assert all(map(is_id, made))
    assert all(abs(id_epoch_ms(each) - time.time() * 1000) < 60_000 for each in made)
