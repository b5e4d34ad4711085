"""What tool calls become: titles, texts, exit statuses, file changes."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mem.domains.capture.diffs import file_changes
from claude_mem.domains.capture.observe import see_failure, see_success

PATCH = [
    {"oldStart": 3, "oldLines": 2, "newStart": 3, "newLines": 3, "lines": [" a", "-b", "+c", "+d"]}
]


def test_an_edit_is_a_change_with_its_diff_and_not_the_whole_file() -> None:
    seen = see_success(
        "Edit",
        {"file_path": "/p/a.py", "old_string": "b", "new_string": "c\nd"},
        {"filePath": "/p/a.py", "structuredPatch": PATCH, "userModified": False},
    )
    assert seen.title == "Edit /p/a.py (+2 -1)"
    assert seen.content == "edit /p/a.py\n@@ -3,2 +3,3 @@\n a\n-b\n+c\n+d"
    assert seen.files == ("/p/a.py",)
    [change] = seen.changes
    assert (change.operation, change.lines_added, change.lines_removed) == ("edit", 2, 1)


@pytest.mark.parametrize(
    ("tool", "given", "response", "expected"),
    [
        (
            "Write",
            {"file_path": "/n.py", "content": "x\ny\n"},
            {"type": "create"},
            [("/n.py", "create", 2, 0)],
        ),
        (
            "Write",
            {"file_path": "/n.py", "content": "x"},
            {"type": "update"},
            [("/n.py", "edit", 1, 0)],
        ),
        (
            "Edit",
            {"file_path": "/e.py", "old_string": "a\nb", "new_string": "a"},
            "done",
            [("/e.py", "edit", 0, 1)],
        ),
        (
            "MultiEdit",
            {
                "file_path": "/m.py",
                "edits": [
                    {"old_string": "a", "new_string": "b"},
                    {"old_string": "", "new_string": "c"},
                ],
            },
            None,
            [("/m.py", "edit", 2, 1)],
        ),
        (
            "NotebookEdit",
            {"notebook_path": "/n.ipynb", "new_source": "1\n2"},
            None,
            [("/n.ipynb", "edit", 2, 0)],
        ),
        (
            "apply_patch",
            {
                "patch": "*** Begin Patch\n*** Add File: a.py\n+x\n*** Delete File: b.py\n*** Update File: c.py\n@@\n-1\n+2\n*** End Patch"
            },
            None,
            [("a.py", "create", 1, 0), ("b.py", "delete", 0, 0), ("c.py", "edit", 1, 1)],
        ),
        ("Read", {"file_path": "/r.py"}, {}, []),
        ("Edit", {"file_path": 7}, {}, []),
        ("Edit", {}, [], []),
    ],
)
def test_file_changes(
    tool: str, given: dict[str, Any], response: Any, expected: list[tuple[str, str, int, int]]
) -> None:
    found = file_changes(tool, given, response)
    assert [(c.file_path, c.operation, c.lines_added, c.lines_removed) for c in found] == expected


def test_a_command_keeps_its_output_and_status() -> None:
    seen = see_success(
        "Bash",
        {"command": "make test", "description": "Run the tests"},
        {"stdout": "ok", "stderr": "warn"},
    )
    assert seen.title == "Bash: Run the tests"
    assert seen.content == "# Run the tests\n$ make test\nok\nwarn"
    assert (seen.command, seen.exit_status, seen.observation_type) == (
        "make test",
        0,
        "tool_result",
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [("Exit code 2\nboom", 2), ("Error: Exit code 127\nnot found", 127), ("killed", 1)],
)
def test_a_failed_command_is_an_error_with_its_status(error: str, status: int) -> None:
    seen = see_failure("Bash", {"command": "false"}, error)
    assert (seen.observation_type, seen.exit_status, seen.command) == ("error", status, "false")
    assert seen.content == f"$ false\n{error}"


def test_a_failed_edit_changed_nothing() -> None:
    seen = see_failure(
        "Edit", {"file_path": "/a", "old_string": "x", "new_string": "y"}, "String not found"
    )
    assert seen.changes == ()
    assert seen.exit_status is None


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"type": "text", "file": {"filePath": "/a", "content": "hello", "numLines": 1}}, "hello"),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "one\ntwo"),
        ({"status": "completed", "content": [{"type": "text", "text": "found it"}]}, "found it"),
        ("plain", "plain"),
        (None, ""),
        ({"odd": 1}, '{"odd":1}'),
        (12, "12"),
    ],
)
def test_the_readable_part_of_any_response(response: Any, expected: str) -> None:
    seen = see_success("mcp__x__y", {"query": "q"}, response)
    assert seen.content == f"query: q\n{expected}".strip()
