"""The plugin's hook: find the data folder and let the hook that lies there do the work.

The plugin carries no copy of the recording hook: the one in the data folder is written by the
program that reads what it leaves, so the two are always of one version. This file owns the choice
of the folder, and the silence where the settings file has our hooks as well: nothing is to be
recorded or said twice. Like that hook it must never exit non-zero, and knows neither `os` nor
`json` on its fast path, because it is paid for at each event.
"""

import posix
import sys

OLDEST = (3, 11)
APPLICATION_ID = b"CMEM"  # bytes 68 to 71 of a database of ours
MOST_OF_SETTINGS = 4 << 20  # bytes of a settings file that are looked at


def variable(name: bytes) -> str:
    """An environment variable, "" without one; any bytes survive."""
    return posix.environ.get(name, b"").decode("utf-8", "surrogateescape")


def expanded(path: str) -> str:
    """A path made absolute, `~` replaced, as the program itself does it."""
    if path.startswith("~"):
        import os.path

        path = os.path.expanduser(path)
    return path if path.startswith("/") else posix.getcwd() + "/" + path


def start_of(path: str, size: int) -> bytes:
    """At most the first `size` bytes of a file; none of one that cannot be read."""
    try:
        handle = posix.open(path, posix.O_RDONLY)
    except OSError:
        return b""
    try:
        chunks = []
        while size > 0 and (chunk := posix.read(handle, size)):
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)
    except OSError:
        return b""
    finally:
        posix.close(handle)


def data_folder() -> str:
    """`CLAUDE_MEM_HOME`, else `~/.claude-mem`; its `v2` where another program's database lies there."""
    base = expanded(variable(b"CLAUDE_MEM_HOME") or "~/.claude-mem")
    if posix.access(base + "/v2/token", posix.F_OK):
        header = start_of(base + "/claude-mem.db", 100)
        if header and header[68:72] != APPLICATION_ID:
            return base + "/v2"
    return base


def in_settings() -> bool:
    """Whether `claude-mem install` put its hooks into settings that hold for this session."""
    paths = [expanded(variable(b"CLAUDE_CONFIG_DIR") or "~/.claude") + "/settings.json"]
    project = variable(b"CLAUDE_PROJECT_DIR")
    if project:
        paths += [project + "/.claude/settings.local.json", project + "/.claude/settings.json"]
    for path in paths:
        text = start_of(path, MOST_OF_SETTINGS)
        # Parsing costs more than all else here; no other program's handler has all of these.
        if b'/hook/hook.py"' in text and b'"-I"' in text and b'"-S"' in text:
            return True
    return False


def say(text: str) -> None:
    """Show one line to the person; the model does not see it."""
    import json

    posix.write(1, json.dumps({"systemMessage": "claude-mem: " + text}).encode())


def hand_over(hook: str, event: str) -> None:
    """Run the data folder's hook in this process, compiled as Python keeps any module."""
    from _frozen_importlib_external import SourceFileLoader

    code = SourceFileLoader("hook", hook).get_code("hook")
    sys.argv[1:] = [hook, event]
    exec(code or "", {"__name__": "hook"})  # noqa: S102 - the program's own file, in its private folder


def hand_to_newer(folder: str, hook: str, event: str) -> None:
    """Become the Python that the program runs with: this one is too old for its hook."""
    import json

    plan = json.loads(start_of(folder + "/hook/launch.json", 1 << 16))
    python = str(plan["argv"][0])
    posix.execv(python, [python, "-I", "-S", hook, event])


def run(event: str) -> None:
    """Deliver one event, or say when a session starts why that cannot be."""
    if in_settings():
        return
    folder = data_folder()
    hook = folder + "/hook/hook.py"
    why = f"the program has not been set up for {folder}. Install it (the plugin's README.md says how)"
    why += ", run `claude-mem start`, and start a new session."
    if posix.access(hook, posix.R_OK):
        if sys.version_info >= OLDEST:
            hand_over(hook, event)
            return
        try:
            hand_to_newer(folder, hook, event)
        except (OSError, ValueError, LookupError, TypeError):
            why = "`python3` is older than 3.11. Put a newer one first in PATH, or use"
            why += " `claude-mem install` instead of the plugin."
    if event == "SessionStart":
        say(f"nothing is recorded, because {why}")


def main(arguments: "list[str]") -> None:
    """Entry point; the arguments end with this file and the name of the hook event."""
    try:
        if b"CLAUDE_MEM_INTERNAL" not in posix.environ:
            run(arguments[-1])
    except BaseException as error:  # noqa: BLE001 - whatever happens, the agent must not notice
        posix.write(2, f"claude-mem: event not recorded: {error!r}\n".encode())
    finally:
        posix._exit(0)


if __name__ == "__main__":
    main(sys.argv)
