"""Take single fields from a record of a published format, and name the field that is missing or of the wrong type."""

from __future__ import annotations

import json
from typing import Any

from conself_local.foreign_files import reason


def text_of(record: dict[str, Any], name: str) -> str:
    """Return a field that is text. Raises ValueError that names the field."""
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"the field {name} is {'missing' if value is None else 'not text'}")
    return value


def id_of(record: dict[str, Any], *names: str) -> str:
    """Return the first of these fields that is neither missing nor empty; a whole number becomes text.

    `id_of({"id": 7.0}, "task_id", "id")` -> `"7"`. Raises ValueError that names the fields.
    """
    for name in names:
        value = record.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value not in (None, ""):
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"the field {name} is neither text nor a whole number")
            return str(value)
    raise ValueError(f"the field {' or '.join(names)} is missing")


def list_of(record: dict[str, Any], name: str, kind: type = object) -> list[Any]:
    """Return a field that is a list of values of one type. Raises ValueError that names the field."""
    value = record.get(name)
    if value is None:
        raise ValueError(f"the field {name} is missing")
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        what = " of texts" if kind is str else " of objects" if kind is dict else ""
        raise ValueError(f"the field {name} is not a list{what}")
    return value


def json_of(record: dict[str, Any], name: str) -> Any:
    """Return the value of a field that holds JSON as text, or that was parsed already. Raises ValueError."""
    value = record.get(name)
    if value is None:
        raise ValueError(f"the field {name} is missing")
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not valid JSON ({reason(error)})") from error


def error_text(error: BaseException) -> str:
    """Return in one short line why a record gives no problem, by the name of the field if one is missing."""
    return f"the field {error} is missing" if isinstance(error, KeyError) else reason(error)
