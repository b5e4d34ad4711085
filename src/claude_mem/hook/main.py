"""The hook's fast path: read stdin, hand the bytes to the worker, print its answer.

Owns the 250 ms an event may cost the agent. Must never exit non-zero, never print on an event
whose output would re-prompt the model, and never import what the fast path does not need: every
module and every line here is paid for at each call, which is why this file knows neither `os` nor
`json`. What is needed when the worker is away lives in `fallback` and is only loaded then.

`bundle` turns this file into the installed, self-contained `hook.py`; imported from the package it
works the same, with the slow path taken from the package.
"""

import posix
from time import monotonic, time

TYPE_CHECKING = False  # `typing` costs more than everything here together
if TYPE_CHECKING:
    from types import CodeType

VERSION = "source"
SLOW_PATH = ""  # the source text of the slow path, and the name of its compiled copy:
SLOW_NAME = ""  # both filled in by `bundle`

MAX_BODY = 32 << 20  # bytes of one payload; what is longer is spooled cut short, and says so
BUDGET = 0.25  # seconds for connect, send and reply together
PLUGIN_NAMES = (
    b"mcp__claude-mem__",
    b"mcp__plugin_memory_claude-mem__",
)  # of tools: ours, our plugin's
# Output on these is an error for the client (no hookSpecificOutput), or re-prompts the model.
SILENT = ("Stop", "SubagentStop", "StopFailure", "SessionEnd", "PreCompact", "PostCompact")


def is_paused(folder: str, now_ms: int) -> bool:
    """Whether the file `paused` is there: empty, or holding a moment still to come (epoch ms)."""
    try:
        handle = posix.open(folder + "/paused", posix.O_RDONLY)
    except OSError:
        return False
    until = posix.read(handle, 32).strip()
    posix.close(handle)
    return not until.isdigit() or int(until) > now_ms


def read_body() -> tuple[bytes, int]:
    """All of stdin, at most `MAX_BODY` bytes of it kept, and how many there were."""
    chunks, size = [], 0
    while chunk := posix.read(0, 1 << 16):
        if size < MAX_BODY:
            chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)[:MAX_BODY], size


def make_event_id(ms: int) -> str:
    """A UUIDv7 (RFC 9562, 5.7) without the cost of importing `uuid`."""
    random = int.from_bytes(posix.urandom(10), "big")
    number = ms << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def project_header() -> str:
    """The header line that names the session's project, which a `cd` does not change; "" without one."""
    place = posix.environ.get(b"CLAUDE_PROJECT_DIR", b"")
    if not place or len(place) > 4096:
        return ""
    # Percent-encoded but for what is plain: a path may hold any byte, a header may not.
    shown = "".join([chr(b) if 32 < b < 127 and b != 37 else f"%{b:02X}" for b in place])
    return f"X-Project-Dir: {shown}\r\n"


def forward(
    folder: str, event: str, event_id: str, ms: int, body: bytes, budget: float = BUDGET
) -> bytes:
    """Send the payload through the worker's door and return what it wants printed.

    Raises OSError or ValueError when anything but a whole `200` came back within `budget` seconds.
    """
    try:
        import _socket as socket  # the C half alone: `socket` costs as much as the interpreter
    except ImportError:
        import socket  # type: ignore[no-redef]
    deadline = monotonic() + budget
    handle = posix.open(folder + "/door", posix.O_RDONLY)
    address, token = posix.read(handle, 4096).decode().split("\n")[:2]
    posix.close(handle)
    kind, _, where = address.partition(":")
    if kind == "unix":
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: str | tuple[str, int] = where
    else:
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        host, _, port = where.partition(":")
        target = (host, int(port))
    line.settimeout(budget)
    line.connect(target)
    head = (
        "POST /api/v1/hooks/claude-code HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token.strip()}\r\nContent-Type: application/json\r\n"
        f"X-Event-Id: {event_id}\r\nX-Event-Time: {ms}\r\nX-Hook-Event: {event}\r\n"
        f"X-Hook-Version: {VERSION}\r\n{project_header()}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    line.sendall(head.encode() + body)
    reply, missing = b"", 1
    while missing > 0:
        line.settimeout(max(deadline - monotonic(), 0.001))
        chunk = line.recv(1 << 16)
        reply += chunk
        head_bytes, end, answer = reply.partition(b"\r\n\r\n")
        if end:
            fields = head_bytes.lower().split(b"\r\ncontent-length:")
            missing = int(fields[1].split(b"\r\n")[0]) - len(answer)
        if not chunk or monotonic() > deadline:
            break
    if missing > 0 or reply[9:12] != b"200":
        raise ValueError(reply[:12])
    return answer


def rescue(
    folder: str, event: str, event_id: str, ms: int, body: bytes, size: int, why: Exception | None
) -> None:
    """Load the slow path (masking, spool, the last context) and give it the event."""
    if SLOW_PATH:
        names: dict[str, object] = {"__name__": SLOW_NAME}
        exec(slow_code(folder), names)  # noqa: S102 - our own text, see bundle
        handle = names["handle"]
    else:
        from claude_mem.hook.fallback import handle

    def ask(budget: float) -> bytes:
        return forward(folder, event, event_id, ms, body, budget)

    handle(folder, event, event_id, ms, body, size, why, ask)  # type: ignore[operator]


def slow_code(folder: str) -> "CodeType":
    """The slow path, compiled: kept like any module's beside its copy, else made from our text."""
    from _frozen_importlib_external import SourceFileLoader  # what `import` itself uses: no cost

    try:
        code = SourceFileLoader(SLOW_NAME, f"{folder}/hook/{SLOW_NAME}.py").get_code(SLOW_NAME)
        if code:
            return code
    except Exception:  # noqa: BLE001, S110 - the copy is gone or damaged: it is but a cache
        pass
    return compile(SLOW_PATH, SLOW_NAME, "exec")


def print_answer(answer: bytes) -> None:
    """Print for the client. What our plugin adds to a session names the tools as the plugin has them."""
    if b"CLAUDE_PLUGIN_ROOT" in posix.environ:
        answer = answer.replace(*PLUGIN_NAMES)
    while answer:
        answer = answer[posix.write(1, answer) :]


def run(folder: str, event: str) -> None:
    """Deliver one event: to the worker, or else to the spool."""
    ms = int(time() * 1000)
    body, size = read_body()
    if not body or is_paused(folder, ms):
        return
    event_id = make_event_id(ms)
    why = None
    if size == len(body):
        try:
            answer = forward(folder, event, event_id, ms, body)
        except (OSError, ValueError, LookupError) as error:
            why = error
        else:
            if event in SILENT or answer[:1] != b"{":  # the client would take it for plain text
                return
            print_answer(answer)
            return
    rescue(folder, event, event_id, ms, body, size, why)


def main(arguments: list[str]) -> None:
    """Entry point of the installed file; its arguments end with `<data>/hook/hook.py <HookEvent>`.

    Ends the process with status 0, whatever happens.
    """
    try:
        if b"CLAUDE_MEM_INTERNAL" not in posix.environ:
            path = arguments[-2]
            run(path[: path.rindex("/hook/")], arguments[-1])
    except BaseException as error:  # noqa: BLE001 - whatever happens, the agent must not notice
        posix.write(2, f"claude-mem: event not recorded: {error!r}\n".encode())
    finally:
        posix._exit(0)
