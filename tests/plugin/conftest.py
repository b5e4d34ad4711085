"""The plugin's tests use the repository's programs; pytest alone would not find them from here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
