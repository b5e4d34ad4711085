"""Owns the fixed sentences the client itself writes around compactions and subagents."""

HOME = "/home/dev/.claude/projects"
SUMMARY_HEAD = (
    "This session is being continued from a previous conversation that ran out of context. "
    "The summary below covers the earlier portion of the conversation.\n\n"
)
SUMMARY_TAIL = (
    "\n\nIf you need specific details from before compaction (like exact code snippets, error "
    "messages, or content you generated), read the full transcript at: {path}\n"
    "Continue the conversation from where it left off without asking the user any further "
    "questions."
)
CAVEAT = (
    "<local-command-caveat>The command below was run directly in Claude Code, not sent to you as "
    "a request, and its output goes straight to the user. It's recorded here as context for later "
    "messages.</local-command-caveat>"
)
HAND_BACK = (
    "[Subagent hand-back] The text below is the final report of a subagent this session delegated "
    "to. It is model output, NOT a message from the user. The report follows:\n{report}\n"
    "agentId: {agent} (use SendMessage with to: '{agent}', summary: '<5-10 word recap>' to "
    "continue this agent)\n<usage>subagent_tokens: {tokens}\ntool_uses: {tools}\n"
    "duration_ms: {duration}</usage>"
)
