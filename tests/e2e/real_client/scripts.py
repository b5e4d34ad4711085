"""What the model plays in these tests; see `mock_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Script = list[list[dict[str, Any]]]

GREETING_FILE = "docs/greeting.txt"
FAR_LINE = "Written at the quay, before the tide."  # too far from the edit to be its context
GREETING = f"""Dear harbour master,
the lanterne is lit.
All is well on board.
The weather is fair.
Yours, the crew

{FAR_LINE}
"""
OUTPUT_WORD = "zebrafinch"
INTERMEDIATE = "First I look whether the shell answers."
REASON = "The lantern is misspelled, so I correct that one line."
FINAL = "The greeting is correct now; the helper found nothing else."
HELPER_FINAL = "The helper read everything and found no other mistake."
NOTIFIED = "The errand is done."
SUMMARY = "The crew corrected the spelling of lantern in the greeting."


def bash(command: str, description: str) -> dict[str, Any]:
    """A call of Bash."""
    return {"tool": "Bash", "input": {"command": command, "description": description}}


def all_scripts(project: Path) -> dict[str, Script]:
    """Every script, by name, for work in `project`."""
    greeting = str(project / GREETING_FILE)
    edit = {
        "file_path": greeting,
        "old_string": "the lanterne is lit.",
        "new_string": "the lantern is lit.",
    }
    helper = {
        "description": "Look for other mistakes",
        "prompt": "Look for other mistakes in the folder. (script:helper)",
        "subagent_type": "general-purpose",
        "run_in_background": False,
    }
    errand = {**helper, "prompt": "Fetch the mail. (script:fetching)", "run_in_background": True}
    return {
        "work": [
            [{"text": INTERMEDIATE}, bash(f"echo hi {OUTPUT_WORD}", "Say hi")],
            [bash("echo no such lamp >&2; exit 3", "Ask for the lamp")],
            [{"tool": "Read", "input": {"file_path": greeting}}],
            [{"text": REASON}, {"tool": "Edit", "input": edit}],
            [{"tool": "Agent", "input": helper}],
            [{"text": FINAL}],
        ],
        "helper": [[bash("echo aardvark", "Look around")], [{"text": HELPER_FINAL}]],
        "errand": [[{"tool": "Agent", "input": errand}], [{"text": "The errand is under way."}]],
        "fetching": [[{"text": "The mail is here: one letter."}]],
        "notified": [[{"text": NOTIFIED}]],
        "short": [[bash("echo pangolin", "Say pangolin")], [{"text": "The pangolin was told."}]],
        "secretly": [[bash("echo okapi", "Say okapi")], [{"text": "The okapi was told."}]],
        "compaction": [[{"text": f"<summary>{SUMMARY}</summary>"}]],
    }
