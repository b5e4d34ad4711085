"""What every benchmark says of where it ran, and where results go."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlean

RESULTS = Path(__file__).parent / "results"


def facts() -> dict[str, Any]:
    """The machine, as far as it matters for reading ratios."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlean.sqlite_version,
    }


def write(name: str, result: dict[str, Any], *, as_json: bool) -> None:
    """Keep the result as bench/results/NAME.json and print it."""
    keep(name, result, as_json=as_json)
    if not as_json:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def keep(name: str, result: dict[str, Any], *, as_json: bool) -> None:
    """Keep the result as bench/results/NAME.json; print it only as JSON."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
