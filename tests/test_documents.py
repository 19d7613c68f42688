"""The README glosses every file of the source, each in few words, and names none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
GLOSS = re.compile(r"^- `([\w/.-]+)`: (.+)$", re.MULTILINE)


def test_every_source_file_has_its_gloss() -> None:
    glossed = dict(GLOSS.findall((ROOT / "README.md").read_text()))
    folders = ("conself_local", "sandbox", "tui")
    files = {
        str(p.relative_to(ROOT))
        for f in folders
        for p in (ROOT / f).rglob("*")
        if p.suffix in (".py", ".tcss", ".jsonl")
    }
    wanted = {f for f in files if not f.endswith("__init__.py")}
    assert wanted == set(glossed), wanted ^ set(glossed)
    assert all(len(text.split()) <= 9 for text in glossed.values())
