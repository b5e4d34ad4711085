"""What can go wrong on the way to the API, for every client of it. Standard library only."""

from __future__ import annotations

from typing import Any

API = "/api/v1"


class ApiError(Exception):
    """The API refused: its status, code, message and details; `retry_after` in seconds where it said so."""

    def __init__(self, status: int, body: dict[str, Any], retry_after: float | None) -> None:
        self.status = status
        self.code = str(body.get("code", "UNKNOWN"))
        self.message = str(body.get("error", f"HTTP {status}"))
        self.details: list[dict[str, str]] = body.get("details") or []
        self.request_id = str(body.get("request_id", ""))
        self.retry_after = retry_after
        super().__init__(self.message)


class NotReachable(Exception):  # noqa: N818 - named for what happened
    """Nobody answers at the address."""
