"""Entry of the resident supervisor: a file run by `python -S`, so its package is put on the path
here.

Owns nothing else. Arguments: data folder, memory limit in MB, the worker's command.
"""

from __future__ import annotations

import sys
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Supervise until the end; see `claude_mem.worker.supervisor.supervise`."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from claude_mem.worker.supervisor import supervise  # only importable from here on

    return supervise(Path(arguments[0]), int(arguments[1]), arguments[2:])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
