"""Generated events for the benchmarks: sizes like real ones (median 400 bytes, p95 4 KB), Zipf words, three scripts.

Deterministic by seed. Nothing here is anybody's data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id

T0 = 1_791_000_000_000
_TURN = 20  # events a turn: a prompt, tool calls, a reply
_SESSION = 400
_CHINESE = (
    "修复错误数据库连接超时重试迁移索引缓存登录会话权限测试部署回滚支付订单日历提醒性能分页事务锁"
)


class Generator:
    """Makes events of one project; `fresh_ids` dates them now instead of in the past."""

    def __init__(self, seed: int = 1, *, fresh_ids: bool = True) -> None:
        self._random = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        make = self._random.choices
        self._words = ["".join(make(letters, k=self._random.randint(2, 10))) for _ in range(30_000)]
        self._cumulative: list[float] = []
        total = 0.0
        for rank in range(len(self._words)):
            total += 1 / (rank + 10) ** 0.95
            self._cumulative.append(total)
        self._fresh = fresh_ids

    def events(self, count: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """`count` events, numbered from `start`."""
        for number in range(start, start + count):
            yield self._event(number)

    def text(self, size: int) -> str:
        """About `size` characters of words; now and then Chinese, identifiers, paths."""
        words = self._random.choices(self._words, cum_weights=self._cumulative, k=max(1, size // 7))
        for at in range(0, len(words), 17):
            kind = self._random.random()
            if kind < 0.3:
                words[at] = f"{words[at]}_{words[at - 1]}"
            elif kind < 0.5:
                words[at] = f"src/{words[at]}/{words[at - 1]}.py"
            elif kind < 0.6:
                begin = self._random.randrange(len(_CHINESE) - 6)
                words[at] = _CHINESE[begin : begin + 6]
        return " ".join(words)

    def _size(self) -> int:
        # Log-normal body; with the envelope the median event is about 400 bytes, p95 about 4 KB.
        return min(int(self._random.lognormvariate(4.0, 2.5)), 24_000)

    def _event(self, number: int) -> dict[str, Any]:
        at = T0 + number * 50
        place = number % _TURN
        prompt_id = f"p{number // _TURN}"
        data: dict[str, Any] = {"prompt_id": prompt_id}
        if place == 0:
            kind = "prompt.submitted"
            data["content"] = self.text(self._size())
        elif place == _TURN - 1:
            kind = "assistant.replied"
            data |= {"content": self.text(self._size()), "message_id": f"m{number}"}
        else:
            kind = "tool.used"
            data |= {"tool_use_id": f"t{number}", **self._tool()}
        return {
            "id": new_id() if self._fresh else new_id(at),
            "type": kind,
            "occurred_at": to_iso(at),
            "agent": "claude-code",
            "session": f"s{number // _SESSION}",
            "project": "/nowhere/bench",
            "data": data,
        }

    def _tool(self) -> dict[str, Any]:
        kind = self._random.random()
        path = f"/nowhere/bench/src/{self._words[self._random.randrange(800)]}.py"
        if kind < 0.5:
            output = {"stdout": self.text(self._size()), "stderr": ""}
            return {
                "tool": "Bash",
                "input": {"command": "make " + self.text(20)},
                "response": output,
            }
        if kind < 0.8:
            file = {"filePath": path, "content": self.text(self._size())}
            return {
                "tool": "Read",
                "input": {"file_path": path},
                "response": {"type": "text", "file": file},
            }
        given = {"file_path": path, "old_string": self.text(60), "new_string": self.text(90)}
        return {"tool": "Edit", "input": given, "response": {}}
