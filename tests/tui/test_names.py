"""No screen or widget keeps its own state under a name that Textual uses: such a collision breaks what Textual does."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from pathlib import Path

from textual.app import App
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.scroll_view import ScrollView
from textual.widget import Widget

ROOT = Path(__file__).parents[2]


def _assigned_names(source: type) -> set[str]:
    """Return the names that the methods of a class assign on `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_no_state_hides_an_attribute_of_textual() -> None:
    """Prevent a regression: a screen's own `_running` stopped the keys at the bottom from following the focus."""
    private = {
        name
        for base in (Widget, ScrollView, Screen, ModalScreen)
        for name in (*dir(base), *vars(base()))
        if name.startswith("_")
    }
    private |= {name for name in dir(App) if name.startswith("_")}
    assert "_running" in private
    found = []
    for path in (ROOT / "tui").rglob("*.py"):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name, one in inspect.getmembers(module, inspect.isclass):
            if one.__module__ == module.__name__ and issubclass(one, DOMNode):
                found += [f"{name}.{taken}" for taken in _assigned_names(one) & private]
    assert not found
