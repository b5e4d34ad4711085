"""Why a line of a transcript gives no event of its own, as the summary of an import says it."""

from __future__ import annotations

DUPLICATE = "copy of an earlier line"
META = "meta line"
SIDECHAIN = "subagent inside a session's file"
NO_SESSION = "no session id"
NO_TIME = "no timestamp"
NO_MESSAGE = "no message"
API_ERROR = "error of the API"
OWN_TOOL = "our own tool"
NO_RESULT = "tool call without a result"
NO_CALL = "result of an unknown call"
UNFINISHED = "message without text"
EMPTY_SUMMARY = "empty compaction summary"
NO_TYPE = "no type"
SYSTEM = "system line"
NO_TEXT = "prompt without text"
