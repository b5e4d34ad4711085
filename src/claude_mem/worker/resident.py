"""Entry of the resident supervisor: a file run by `python -S`, so its package is put on the path
here.

Owns nothing else. Arguments: data folder, memory limit in MB, the descriptor to close once
it is clear who has the lock, the worker's command.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Supervise until the end; see `claude_mem.worker.supervisor.supervise`."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from claude_mem.worker.supervisor import supervise  # only importable from here on

    home, max_rss_mb, settled_fd, *command = arguments
    return supervise(
        Path(home), int(max_rss_mb), command, settled=lambda: os.close(int(settled_fd))
    )


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
