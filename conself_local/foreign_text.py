"""Decide how foreign text is shown: text from a model, a file, a store or a program never reaches a terminal raw.

A terminal obeys escape sequences (they set the clipboard, move the cursor, forge a line), and controls of direction
hide what a text says. The command line, the screens and the printing of errors show all text through this module.
"""

from __future__ import annotations

import unicodedata


def shown(text: str, *, lines: bool = True) -> str:
    """Return `text` as it may be shown: everything that is not printable as its escape.

    Spaces of every kind stay, and with `lines` also line feeds and tabs. `shown("a\\\\x1b[2J")` -> `"a\\\\\\\\x1b[2J"`.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_harmless(c, lines) else _escape(c) for c in text)


def is_one_line(text: str) -> bool:
    """Return whether a name is one line that can be shown as it is: no control character and no lone surrogate."""
    return shown(text, lines=False) == text


def is_encodable(text: str) -> bool:
    """Return whether a text has no lone surrogates, so that a file or a database can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encodable(text: str, encoding: str | None) -> str:
    """Return `text` with an escape for every character that the terminal's encoding lacks."""
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def _is_harmless(character: str, lines: bool) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs" or (lines and character in "\n\t")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
