"""A tool's arguments against its declaration, strictly: the faults, said so that a model can mend them.

Pure. Knows the part of JSON Schema that our declarations use, and refuses to run with any other: a keyword it did not
know would be a promise nobody keeps.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
KEYWORDS = frozenset(
    {
        "$schema",
        "type",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "default",
        "enum",
    }
)
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def checked(schema: Schema, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the arguments with defaults filled in, what is wrong with them). Null is taken as left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    properties = schema["properties"]
    faults = [_unknown(name, properties) for name in given if name not in properties]
    faults += [f"{name}: needed" for name in schema.get("required", ()) if name not in given]
    for name, value in given.items():
        if name in properties:
            faults += _faults(name, properties[name], value)
    defaults = {name: it["default"] for name, it in properties.items() if "default" in it}
    return {**defaults, **given}, faults


def unknown_keywords(schema: Schema) -> set[str]:
    """Keywords of a declaration that nobody here checks."""
    found = set(schema) - KEYWORDS
    items = [schema["items"]] if "items" in schema else []
    for inner in [*schema.get("properties", {}).values(), *items]:
        found |= unknown_keywords(inner)
    return found


def _unknown(name: str, properties: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(properties), 1)
    meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(properties)}"
    return f"{name[:80]}: no such argument; {meant}"


def _faults(name: str, schema: Schema, value: Any) -> Iterator[str]:
    kind = schema["type"]
    if not _is_a(kind, value):
        yield f"{name}: expected {kind}, got {_kind_of(value)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{name}: expected one of {', '.join(schema['enum'])}"
    yield from _out_of_bounds(name, schema, value)
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _faults(f"{name}[{index}]", schema["items"], each)


def _is_a(kind: str, value: Any) -> bool:
    return isinstance(value, _TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def _out_of_bounds(name: str, schema: Schema, value: Any) -> Iterator[str]:
    if isinstance(value, int):
        low, high, size, unit = schema.get("minimum"), schema.get("maximum"), value, ""
    elif isinstance(value, str):
        size, unit = len(value), " characters"
        low, high = schema.get("minLength"), schema.get("maxLength")
    else:
        low, high = schema.get("minItems"), schema.get("maxItems")
        size, unit = len(value), " items"
    if low is not None and size < low:
        yield f"{name}: at least {low}{unit}"
    if high is not None and size > high:
        yield f"{name}: at most {high}{unit}, got {size}"


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    return next((name for name, types in _TYPES.items() if isinstance(value, types)), "null")
