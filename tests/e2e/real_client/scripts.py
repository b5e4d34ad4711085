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

PLUGIN_TOOLS = "mcp__plugin_memory_claude-mem__"
BERTHS_FILE = "docs/berths.cfg"
BERTHS = "# berths of the harbour\norder = draught\ntidewater = 4\nunits = metric\n"
BERTHS_DONE = "The key is tide_table now, and the berths are in the order of their draught."
PELICAN = "The pelican moors at berth seven."
HERON = "The heron moors at nine."


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
    berths = str(project / BERTHS_FILE)
    renamed = {"file_path": berths, "old_string": "tidewater = 4", "new_string": "tide_table = 4"}
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
        "berths": [
            [{"text": "I count the berths first."}, bash("echo otterdraught 3.2", "Count them")],
            [bash("echo berths.cfg: unknown key tidewater >&2; exit 4", "Check the file")],
            [{"tool": "Read", "input": {"file_path": berths}}],
            [{"text": "The key was renamed."}, {"tool": "Edit", "input": renamed}],
            [{"text": BERTHS_DONE}],
        ],
        "answer": [[{"text": "That is how it stands."}]],
        "look-back": [
            [{"tool": "ToolSearch", "input": {"query": "select:mcp__claude-mem__search"}}],
            [{"tool": "mcp__claude-mem__search", "input": {"query": "tidewater"}}],
            [{"text": "It was the tide table."}],
        ],
        "thanks": [[{"text": "You are welcome."}]],
        "again": [[{"text": "As I said."}]],
        "pelican": [[bash("echo pelican at seven", "Ask")], [{"text": PELICAN}]],
        "heron": [[bash("echo heron at nine", "Ask")], [{"text": HERON}]],
        "delegate": [[{"tool": "Agent", "input": helper}], [{"text": "It was looked into."}]],
        "helper": [[bash("echo aardvark", "Look around")], [{"text": HELPER_FINAL}]],
        "errand": [[{"tool": "Agent", "input": errand}], [{"text": "The errand is under way."}]],
        "fetching": [[{"text": "The mail is here: one letter."}]],
        "notified": [[{"text": NOTIFIED}]],
        "lookup": [
            [{"tool": "ToolSearch", "input": {"query": f"select:{PLUGIN_TOOLS}search"}}],
            [{"tool": f"{PLUGIN_TOOLS}search", "input": {"query": "pangolin"}}],
            [{"text": "It is all there."}],
        ],
        "short": [[bash("echo pangolin", "Say pangolin")], [{"text": "The pangolin was told."}]],
        "secretly": [[bash("echo okapi", "Say okapi")], [{"text": "The okapi was told."}]],
        "compaction": [[{"text": f"<summary>{SUMMARY}</summary>"}]],
    }
