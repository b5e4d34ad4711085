"""The bundled sample: rebuilt byte for byte, sound as transcripts, honest in its facts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "claude_mem" / "assets" / "sample"
Row = dict[str, Any]


@cache
def _files() -> dict[Path, list[Row]]:
    paths = sorted((SAMPLE / "transcripts").rglob("*.jsonl"))
    return {
        path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in paths
    }


@cache
def _facts() -> Row:
    document: Row = json.loads((SAMPLE / "facts.json").read_text(encoding="utf-8"))
    return document


def _main() -> dict[str, list[Row]]:
    return {p.stem: rows for p, rows in _files().items() if p.parent.name != "subagents"}


def _rows() -> Iterator[Row]:
    for rows in _files().values():
        yield from rows


def _blocks(row: Row) -> list[Row]:
    content = row.get("message", {}).get("content", [])
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _human(rows: list[Row]) -> list[str]:
    """What a person typed: not results, not companions, not what the client wrote."""
    return [row["message"]["content"] for row in rows if row.get("promptSource")]


def _text_of(kind: str, target: str) -> str:
    """Everything said at one piece of evidence."""
    found: list[str] = []
    for row in _rows():
        if kind == "message" and row.get("message", {}).get("id") == target:
            found += [block["text"] for block in _blocks(row) if block["type"] == "text"]
        if kind == "prompt" and row.get("promptId") == target and "toolUseResult" not in row:
            found += [block["text"] for block in _blocks(row) if block["type"] == "text"]
        for block in _blocks(row):
            if target in (block.get("tool_use_id"), block.get("id")):
                found.append(json.dumps(block, ensure_ascii=False).replace('\\"', '"'))
    return " ".join(found)


def test_committed_files_are_what_the_builder_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.sample.build", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {p.relative_to(SAMPLE): p.read_bytes() for p in SAMPLE.rglob("*") if p.is_file()}
    assert kept.keys() - made.keys() == {Path("README.md")}
    assert {path for path in made if made[path] != kept.get(path)} == set()


def test_size_and_number_stay_in_bounds() -> None:
    sizes = sum(path.stat().st_size for path in _files())
    assert 400_000 <= sizes <= 1_200_000
    assert 12 <= len(_main()) <= 16
    assert len(_files()) - len(_main()) == 2


def test_ids_are_unique_over_the_whole_sample() -> None:
    uuids = [row["uuid"] for row in _rows() if "uuid" in row]
    tools = [b["id"] for row in _rows() for b in _blocks(row) if b["type"] == "tool_use"]
    owners = {
        (row["message"]["id"], row["requestRef"]) for row in _rows() if "apiBlockIndex" in row
    }
    assert len(uuids) == len(set(uuids))
    assert len(tools) == len(set(tools))
    assert all(re.fullmatch(r"toolu_01[1-9A-HJ-NP-Za-km-z]{22}", tool) for tool in tools)
    assert len(owners) == len({message for message, _ in owners})


@pytest.mark.parametrize("path", sorted(_files()), ids=lambda path: path.stem)
def test_chain_and_tool_results_resolve(path: Path) -> None:
    rows = _files()[path]
    seen: set[str] = set()
    for row in (row for row in rows if "uuid" in row):
        assert row["parentUuid"] is None or row["parentUuid"] in seen
        seen.add(row["uuid"])
    asked = {b["id"] for row in rows for b in _blocks(row) if b["type"] == "tool_use"}
    answered = [b["tool_use_id"] for row in rows for b in _blocks(row) if "tool_use_id" in b]
    assert sorted(asked) == sorted(answered)
    roots = [row for row in rows if "uuid" in row and row["parentUuid"] is None]
    compactions = [row for row in rows if row.get("subtype") == "compact_boundary"]
    assert len(roots) == 1 + len(compactions)
    stamps = [row["timestamp"] for row in rows if "timestamp" in row]
    assert all(a <= b for a, b in pairwise(stamps))


def test_messages_per_session_are_those_of_real_work() -> None:
    for rows in _main().values():
        assert 3 <= len(_human(rows)) + sum("turnCompanion" in row for row in rows) <= 8
        assert 15 <= sum(row["type"] in ("user", "assistant") for row in rows) <= 60


def test_spans_three_weeks_and_two_projects() -> None:
    days = [datetime.fromisoformat(row["timestamp"]) for row in _rows() if "timestamp" in row]
    assert (max(days) - min(days)).days >= 19
    assert {row["cwd"] for row in _rows() if "cwd" in row} == {
        "/home/dev/slotwise",
        "/home/dev/kilnlog",
    }


def test_a_good_third_of_the_prompts_is_chinese() -> None:
    prompts = [prompt for rows in _main().values() for prompt in _human(rows)]
    chinese = [prompt for prompt in prompts if re.search(r"[\u4e00-\u9fff]{4}", prompt)]
    assert 0.2 <= len(chinese) / len(prompts) <= 0.5


def test_every_tool_and_line_kind_occurs() -> None:
    tools = {b["name"] for row in _rows() for b in _blocks(row) if b["type"] == "tool_use"}
    expected = {"Bash", "Read", "Edit", "Write", "Grep", "Glob", "TodoWrite", "Agent", "WebFetch"}
    assert expected <= tools
    assert any(tool.startswith("mcp__") for tool in tools)
    kinds = {row["type"] for row in _rows()}
    assert {"attachment", "queue-operation", "last-prompt", "api-request", "cost-state"} <= kinds
    failed = [row for row in _rows() if str(row.get("toolUseResult", "")).startswith("Error: Exit")]
    assert len(failed) >= 12
    assert sum("isCompactSummary" in row for row in _rows()) == 1


def test_edits_agree_with_the_files_they_change() -> None:
    for row in _rows():
        result = row.get("toolUseResult")
        if not (isinstance(result, dict) and "oldString" in result):
            continue
        lines = result["originalFile"].split("\n")
        for hunk in result["structuredPatch"]:
            old = [line[1:] for line in hunk["lines"] if line[0] in " -"]
            start = hunk["oldStart"] - 1
            assert lines[start : start + hunk["oldLines"]] == old


def test_what_masking_must_catch_is_there() -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in _rows())
    assert re.search(r"ghp_[A-Za-z0-9]{36}\b", text)
    assert re.search(r"postgres://\w+:[^@\s]+@", text)
    assert re.search(r"<private>.+?</private>", text)
    assert "13800138000" in text
    assert "wang.lina@example.cn" in text
    facts = json.dumps(_facts(), ensure_ascii=False)
    assert not re.search(r"ghp_\w{36}|postgres://|13800138000|wang\.lina|paper calendar", facts)


def test_every_fact_stands_in_its_session() -> None:
    for session in _facts()["sessions"]:
        rows = [r for p, rs in _files().items() if session["session_id"] in str(p) for r in rs]
        said = [row for row in rows if row["type"] in ("user", "assistant")]
        text = "\n".join(json.dumps(b, ensure_ascii=False) for row in said for b in _blocks(row))
        text = text.replace('\\"', '"').lower()
        assert 6 <= len(session["facts"]) <= 12
        missing = [w for f in session["facts"] for w in f["must"] if w.lower() not in text]
        assert (session["source"], missing) == (session["source"], [])


def _questions() -> list[Row]:
    questions: list[Row] = _facts()["questions"]
    return questions


def test_questions_are_many_in_both_languages_and_of_every_kind() -> None:
    asked = [question for question in _questions() if question["evidence"]]
    assert len(asked) >= 60
    assert sum(question["language"] == "zh" for question in asked) >= 20
    assert {"error", "file", "decision", "command", "person", "time"} <= {q["kind"] for q in asked}
    assert len({question["question"] for question in _questions()}) == len(_questions())


@pytest.mark.parametrize("question", _questions(), ids=lambda question: question["id"])
def test_evidence_exists_and_holds_what_is_needed(question: Row) -> None:
    texts = [_text_of(entry["kind"], entry["id"]) for entry in question["evidence"]]
    assert all(texts)
    everything = " ".join(texts).lower()
    assert [word for word in question["needed"] if word.lower() not in everything] == []


@pytest.mark.parametrize("question", _questions(), ids=lambda question: question["id"])
def test_no_question_quotes_its_evidence(question: Row) -> None:
    text = " ".join(_text_of(entry["kind"], entry["id"]) for entry in question["evidence"])
    pattern = r"[\u4e00-\u9fff]" if question["language"] == "zh" else r"\w+"
    size = 7 if question["language"] == "zh" else 4
    asked = re.findall(pattern, question["question"].lower())
    evidence = " " + " ".join(re.findall(pattern, text.lower())) + " "
    runs = (" ".join(asked[i : i + size]) for i in range(len(asked) - size + 1))
    assert [run for run in runs if f" {run} " in evidence] == []
