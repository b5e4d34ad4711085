"""Query parameters that an endpoint does not know are errors: a filter that is misspelt would be no filter at all.

Of all endpoints but `/health`, which answers whoever probes, and however.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from fastapi import Request
from pydantic import BaseModel

from claude_mem.kernel.errors import Detail, Invalid

_SHOWN: Final = 40  # characters of a name that nobody knows
_known: Final[dict[str, tuple[str, ...]]] = {}  # by endpoint, of which there are some hundred


async def only_known(request: Request) -> None:
    """Raise Invalid for the parameters of a request that its endpoint does not declare."""
    if not request.query_params:
        return
    route = request.scope["route"]
    known = _known.get(route.unique_id)
    if known is None:
        known = _known[route.unique_id] = tuple(dict.fromkeys(_declared(route.dependant)))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        details = tuple(Detail(name[:_SHOWN], _meant(name, known)) for name in unknown[:20])
        raise Invalid(f"{details[0].field}: {details[0].message}", details=details)


def _meant(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name[:_SHOWN], known, 1)
    if close:
        return f"there is no such parameter; did you mean {close[0]}?"
    return f"there is no such parameter; known here: {', '.join(known) or 'none'}"


def _declared(dependant: Any) -> Iterator[str]:
    """By the endpoint and by all that it depends on."""
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):  # all in one
            yield from (field.alias or name for name, field in model.model_fields.items())
        else:
            yield parameter.alias
    for each in dependant.dependencies:
        yield from _declared(each)
