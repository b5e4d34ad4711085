"""Whether a project asked not to be recorded: `.claude-mem-off`. Part of the installed hook."""

import os

OFF_FILE = ".claude-mem-off"


def is_opted_out(path: str) -> bool:
    """Whether `path` or a folder above it, up to its git root, holds `.claude-mem-off`.

    Outside a repository every folder above counts. Only stat calls; a folder that cannot be looked
    into has no say.
    """
    folder = os.path.abspath(path)
    while True:
        if os.path.exists(os.path.join(folder, OFF_FILE)):
            return True
        above = os.path.dirname(folder)
        if above == folder or os.path.exists(os.path.join(folder, ".git")):
            return False
        folder = above
