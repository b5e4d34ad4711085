"""The plugin's MCP server: `stdio.py` beside it, without tools where the client has them already.

`claude-mem install` registers the same server in the client's own configuration; two of them would
show every tool twice. Owns that decision and the choice of a Python that is new enough; all else is
`stdio.py`'s. Standard library only, no package of ours.
"""

import json
import os
import sys
from importlib.machinery import SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST = (3, 11)
NAME = "claude-mem"


def registered() -> bool:
    """Whether the client's configuration names our server, for the person or for this project."""
    folder = os.environ.get("CLAUDE_CONFIG_DIR") or "~"
    try:
        with open(os.path.expanduser(folder + "/.claude.json"), encoding="utf-8") as file:
            settings = json.load(file)
        projects = settings.get("projects") or {}
        project = projects.get(os.environ.get("CLAUDE_PROJECT_DIR") or os.getcwd()) or {}
        return is_ours(settings) or is_ours(project)
    except (OSError, ValueError, AttributeError):
        return False


def is_ours(settings: "dict[str, Any]") -> bool:
    """Whether an object's `mcpServers` hold our server, however it is started."""
    entry = (settings.get("mcpServers") or {}).get(NAME) or {}
    words = [str(entry.get("command", "")), *map(str, entry.get("args") or [])]
    return any(word.endswith("/mcp/stdio.py") for word in words) or words[-1:] == ["mcp"]


def become_newer() -> None:
    """Run this file with the Python that the program was set up with."""
    base = os.path.expanduser(os.environ.get("CLAUDE_MEM_HOME") or "~/.claude-mem")
    for folder in (base + "/v2", base):
        try:
            with open(folder + "/hook/launch.json", encoding="utf-8") as file:
                python = str(json.load(file)["argv"][0])
            os.execv(python, [python, "-I", "-S", *sys.argv])  # noqa: S606 - no shell
        except (OSError, ValueError, LookupError, TypeError):
            continue
    sys.exit("claude-mem: `python3` is older than 3.11: put a newer one first in PATH")


def main() -> None:
    """Serve stdin until it ends."""
    if sys.version_info < OLDEST:
        become_newer()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stdio.py")
    stdio: dict[str, Any] = {"__name__": "stdio", "__file__": path}
    exec(SourceFileLoader("stdio", path).get_code("stdio") or "", stdio)  # noqa: S102 - it lies beside this
    if registered():
        stdio["TOOLS"].clear()
        stdio["INSTRUCTIONS"] = ""
    stdio["main"](sys.argv[1:], path)


if __name__ == "__main__":
    main()
