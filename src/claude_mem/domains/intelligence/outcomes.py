"""What commands came to: commits, test results, errors, and which later call ended an error. Pure.

Only reads what tools printed; nothing printed is ever taken for somebody's wish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from claude_mem.domains.intelligence.sentences import clip

Row = dict[str, Any]
_LINE: Final = 200
_COMMITTED = re.compile(r"^\[[^\]\n]*?\b([0-9a-f]{7,40})\] (.+)$", re.MULTILINE)
_LOGGED = re.compile(r"^([0-9a-f]{7,40}) (?:\([^)]*\) )?(\S.+)$", re.MULTILINE)
_MAKES_COMMIT = re.compile(r"\bgit\b[^\n;&|]*\b(?:commit|merge|cherry-pick|rebase|revert)\b")
_TESTED = re.compile(
    r"^.*?(?:\b\d+ (?:tests? )?(?:passed|failed|errors?|passing|failing)\b|\btest result: |^Tests:? "
    r"|\bBUILD (?:SUCCESS|FAIL)|"
    r"\b\d+ specs?\b|^ok\s+\S+\s+[\d.]+s|^FAIL\s).*$",
    re.MULTILINE,
)
_FRAME_CHARS = re.compile(r"^[=\-_#* ]+|[=\-_#* ]+$")
_ERROR = re.compile(
    r"\b\w*(?:Error|Exception|Violation|Warning|Timeout\w*|NotAvailable|Undefined\w+)\b(?::|$| )"
    r"|\b(?:error|fatal|panic|FAILED|denied|refused)\b|"
    r"\bNo (?:such|module)\b|\bnot found\b|\bcannot\b|\bcould not\b|does not exist|\bunexpected\b"
    r"|\bHTTP(?:/1\.1)? [45]\d\d\b|错误|失败|超时|异常",
    re.IGNORECASE,
)
_PYTEST_MARK = re.compile(r"^E\s+")
_DULL = re.compile(
    r"^(?:\$ |# |Exit code \d+|Traceback|\s*File \"|at |Caused by:?$|E\s*$)|short test summary"
)
_FIGURE = re.compile(
    r"\d\s?(?:ms|s|%|°C|rows?|processed|sessions?|requests?|[KMG]B)\b|\S+\s*(?:->|→|=>)\s*v?\d"
    r"|\bp(?:50|95|99)\b|"
    r"\b\d+ (?:passed|failed|errors?|updated|deleted|moved|sent|booked|affected|repaired)\b|\d+ ?(?:条"
    r"|个|次|秒|毫秒|行)"
)
_SOURCE = re.compile(
    r"^(?:[+\-|@<{}#]|\d+[:-]|INFO\b|DEBUG\b|def |class |import |from )|[{};]$|^\d{4}-\d\d-\d\d|^\w+-\d+ +\|"
)
_FIGURES: Final = 4  # lines of one call
_SEGMENT = re.compile(r"&&|\|\||;|\||\n")
_ASSIGNMENT = re.compile(r"^\w+=\S*$")
_RUNNERS: Final = frozenset(
    {
        "uv",
        "run",
        "npx",
        "pnpm",
        "npm",
        "yarn",
        "exec",
        "poetry",
        "sudo",
        "time",
        "python",
        "python3",
        "-m",
        "bundle",
    }
)
_NOTHING: Final = frozenset(
    {"cd", "echo", "export", "set", "source", "tail", "head", "grep", "sleep", "true", "cat", "sed"}
)
_SHELL: Final = frozenset(  # words of the shell's own grammar: no programs
    {
        "for",
        "while",
        "until",
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "do",
        "done",
        "case",
        "esac",
        "exit",
        "return",
        "{",
        "}",
    }
)
_BY_SUBCOMMAND: Final = frozenset(
    {"git", "docker", "cargo", "go", "kubectl", "make", "alembic", "terraform", "helm"}
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that a command of the session made."""

    short: str
    subject: str
    row: Row


@dataclass(frozen=True, slots=True)
class Mend:
    """A call that failed, and the later one that succeeded where it had not (None: nothing ended it)."""

    failed: Row
    error: str
    succeeded: Row | None


def output_of(row: Row) -> str:
    """What a call printed, without the command itself."""
    text = str(row["head"]) + ("\n" + row["tail"] if row["tail"] else "")
    command = row["command"]
    if command and (at := text.find(f"$ {command}"[:400])) >= 0:
        text = text[at + 2 + len(command) :]
    return text


def commits(rows: Sequence[Row]) -> list[Commit]:
    """The commits of a session in order, each once."""
    found: dict[str, Commit] = {}
    for row in rows:
        command = row["command"]
        if row["observation_type"] == "error" or not command or not _MAKES_COMMIT.search(command):
            continue
        printed = output_of(row)
        for short, subject in [*_COMMITTED.findall(printed), *_LOGGED.findall(printed)]:
            if any(char.isdigit() for char in short) and short[:7] not in found:
                found[short[:7]] = Commit(short[:10], clip(subject.strip(), 140), row)
    return list(found.values())


def figures(row: Row) -> list[str]:
    """Lines with figures that a command printed: a measure, a count of what happened, a version that changed."""
    if not row["command"]:
        return []
    lines = (" ".join(line.split()) for line in output_of(row)[-6_000:].splitlines())
    found = [
        line
        for line in lines
        if 16 <= len(line) <= _LINE
        and not _TESTED.search(line)
        and _FIGURE.search(line)
        and not _SOURCE.search(line)
    ]
    return list(dict.fromkeys(found))[-_FIGURES:]


def test_result(row: Row) -> str | None:
    """The last line in which a call counted its tests."""
    found = _TESTED.findall(output_of(row)[-4_000:])
    if not found:
        return None
    line = _FRAME_CHARS.sub("", found[-1].strip())
    return clip(line, _LINE) or None


def error_lines(row: Row, limit: int = 2) -> list[str]:
    """What went wrong, as the call printed it: the lines that name an error, most telling first."""
    lines = [
        _FRAME_CHARS.sub("", _PYTEST_MARK.sub("", line.strip()))
        for line in output_of(row).splitlines()
        if line.strip() and not _DULL.search(line)
    ]
    told = [
        line for line in lines if _ERROR.search(line) and not line.startswith(("FAILED", "ERROR "))
    ]
    picked = list(dict.fromkeys(told or lines[-1:]))
    return [clip(line, _LINE) for line in sorted(picked, key=_telling)[:limit]]


def names_error(line: str) -> bool:
    """Whether a line names what went wrong, rather than only being the last one printed."""
    return _ERROR.search(line) is not None


def _telling(line: str) -> int:
    """An exception with its message says most, a bare count least."""
    if re.search(r"\w(?:Error|Exception|Violation|NotAvailable|Undefined\w+)\b.*: \S", line):
        return 0
    return 1 if re.search(r":\s", line) else 2


def mends(rows: Sequence[Row]) -> list[Mend]:
    """Every command that failed, once an error, with the call that ended it."""
    found: dict[tuple[frozenset[str], str], Mend] = {}
    for index, row in enumerate(rows):
        if row["observation_type"] != "error" or not row["command"]:
            continue
        lines = error_lines(row)
        if not lines:
            continue
        key = (programs(row["command"]), lines[0])
        if key not in found:
            found[key] = Mend(row, lines[0], _ended_by(row, rows[index + 1 :]))
    return list(found.values())


def _ended_by(failed: Row, later: Sequence[Row]) -> Row | None:
    wanted = programs(failed["command"])
    for row in later:
        if row["observation_type"] != "tool_result" or not row["command"]:
            continue
        if row["command"] == failed["command"] or wanted & programs(row["command"]):
            return row
    return None


def programs(command: str) -> frozenset[str]:
    """What a command line runs: `uv run pytest -q x && git commit` -> {pytest, git commit}."""
    return frozenset(_programs(command[:2_000]))


def _programs(command: str) -> Iterator[str]:
    for segment in _SEGMENT.split(command):
        words = [word for word in segment.split() if not _ASSIGNMENT.match(word)]
        if words and words[0] in ("for", "case", "exit", "return"):
            continue  # what follows is a variable or a number, no program
        names = [
            word
            for word in words[:8]
            if word not in _RUNNERS and word not in _SHELL and not word.startswith("-")
        ]
        if not names or names[0] in _NOTHING:
            continue
        name = names[0].rsplit("/", 1)[-1]
        yield f"{name} {names[1]}" if name in _BY_SUBCOMMAND and len(names) > 1 else name
