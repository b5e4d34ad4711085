"""JSON logs: one object a line, with the field names of the operations guide, masked like everything else."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import structlog

from claude_mem.kernel.redact import mask_text

_MAX_BYTES = 10_000_000
_KEPT = 5


def configure(path: Path | None, level: str) -> None:
    """Send everything to `path` (rotated at 10 MB, five kept), or to stderr when it is None."""
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=_MAX_BYTES, backupCount=_KEPT, encoding="utf-8"
        )
        path.chmod(0o600)
    handler.setFormatter(_Foreign())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("alembic", "httpx", "httpcore"):  # one line a step, or a request
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True  # the gatekeeper notes requests
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.format_exc_info,
            _finish,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _finish(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    fields = {
        "timestamp": _now(),
        "level": event.pop("level", "info"),
        "message": event.pop("event", ""),
        **event,
    }
    return mask_text(orjson.dumps(fields, default=str).decode())


class _Foreign(logging.Formatter):
    """Lines of libraries get the same shape; ours come rendered."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if text.startswith('{"timestamp"'):
            return text
        fields = {
            "timestamp": _now(),
            "level": record.levelname.lower(),
            "message": text,
            "logger": record.name,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return mask_text(orjson.dumps(fields).decode())
