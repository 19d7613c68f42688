"""Write and read single values of settings as text, as forms, the command line and tables show them.

Not covered: ranges (`check.py`).
"""

from __future__ import annotations

import re
from typing import Any

from conself_local.settings.schema import SettingField

NONE = "none"
"""How text says that a setting is off."""
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_CHARACTERS = 100


def format_value(value: Any) -> str:
    """Return the value as text that `parse_value` reads: `none`, `true`, `5e-6`, `min-max`."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return re.sub(r"e([+-])0*(?=[0-9])", r"e\1", repr(value)).replace("e+", "e")
    return str(value)


def parse_value(field: SettingField, text: str) -> Any:
    """Return the value that the text stands for, or the text itself if it stands for none of the field's type.

    The result is then checked by `check.verify_value`, which says what is allowed.
    """
    word = text.strip()
    if field.optional and word.lower() == NONE:
        return None
    if field.kind is bool:
        return _SWITCHES.get(word.lower(), text)
    if field.kind is int:
        return int(word) if _WHOLE.fullmatch(word) else text
    if field.kind is float:
        try:
            return float(word) if len(word) <= _MAX_CHARACTERS else text
        except ValueError:
            return text
    return word
