"""Name the kinds of data that can be removed; without imports, so that `conself --help` stays quick."""

from typing import Literal, get_args

Kind = Literal["training", "weights", "leftovers", "rounds", "tokens", "unused"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IN_STORE: tuple[Kind, ...] = ("rounds", "tokens", "unused")
"""The kinds that are inside the database."""
