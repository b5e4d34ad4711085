"""The harness is shared with `make prove`; pytest alone would not find it from another folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
