"""`make bench`: every benchmark, one after the other, each writing its own file under results/."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "redact",
    "hook",
    "search",
    "ingest",
    "importing",
    "mcp",
    "summaries",
    "usefulness",
    "context",
)


def main() -> int:
    """Run them; the first that fails ends it."""
    for name in BENCHMARKS:
        print(f"== bench.{name}", file=sys.stderr, flush=True)
        code = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
