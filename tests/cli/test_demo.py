"""What `make run` tells to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from claude_mem.cli.demo import next_commands


def test_what_to_type_next_can_be_pasted() -> None:
    home, program = Path("/home/a person/it's .run"), Path("/opt/my tools/claude-mem")
    tried, _, following = next_commands(home, program)
    assert shlex.split(tried)[1:] == [
        f"CLAUDE_MEM_HOME={home}",
        str(program),
        *("search", "your", "words"),
    ]
    assert shlex.split(following)[1:3] == [str(program), "install"]
