"""Foreign text on the screens is shown as it is: no markup is parsed, and no control character reaches the terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.segment import Segment
from textual.color import Color

from conself_local.home import Home
from conself_local.store.store import Store
from tests.fakes.tiny_model import write_tiny_model
from tests.tui.conftest import settle, text_of
from tui.app import ConselfApp
from tui.widgets.pick_file import GgufTree
from tui.widgets.plain import EscapeFilter

HOSTILE = "[/b] [@click=app.quit]x[/] EVIL\x1b]52;c;ZXZpbA==\x07\x1b]0;TITLE\x07\rforged\x9b2J\u202etxt.exe\x00\x08"
RAW = re.compile(rb"\x1b\]52|\x1b\]0;TITLE|\xc2\x9b|\xe2\x80\xae|\x00|\x08|EVIL[\r\x07]")


def _poison(home: Home) -> None:
    """Put hostile text wherever the store holds text that is shown."""
    with Store(home.database):  # brings the tables up to date
        pass
    with closing(sqlite3.connect(home.database)) as connection:
        for table, column in (
            ("problems", "statement"), ("programs", "code"), ("observations", "text"), ("samples", "text"),
            ("prompts", "text"), ("stages", "summary"), ("adapters", "name"), ("adapters", "path"),
            ("rounds", "model_path"), ("training_steps", "stage"),
        ):  # fmt: skip
            columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
            if column in columns:
                connection.execute(f"update {table} set {column} = ? || {column}", [HOSTILE])
        for key, result in connection.execute("select rowid, result from evaluations").fetchall():
            changed = json.loads(result)
            changed |= {"verdict": HOSTILE + changed["verdict"], "gained": [HOSTILE], "lost": [HOSTILE]}
            connection.execute("update evaluations set result = ? where rowid = ?", [json.dumps(changed), key])
        connection.execute(
            "insert into events (round_id, stage, kind, severity, text, at_utc) values (1, 's', 'k', 'warning', ?, '')",
            [HOSTILE],
        )
        for key, outputs in connection.execute("select id, outputs from behaviours").fetchall():
            changed = [[status, text and HOSTILE + text, HOSTILE] for status, text, _ in json.loads(outputs)]
            connection.execute("update behaviours set outputs = ? where id = ?", [json.dumps(changed), key])
        connection.commit()


def _drive(home: Path, keys: list[str], environment: dict[str, str]) -> bytes:
    """Run `conself tui` in a pseudo-terminal, press keys, and return all bytes that reached the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm-256color"} | environment)
        os.execv(sys.executable, [sys.executable, "-m", "conself_local", "--home", str(home), "tui"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    received = b""
    try:
        for key in ["", *keys]:
            os.write(terminal, key.encode())
            deadline, quiet = time.monotonic() + (4 if not key else 1.5), 4 if not key else 0.5
            while time.monotonic() < deadline and select.select([terminal], [], [], quiet)[0]:
                received += os.read(terminal, 65536)
    except OSError:
        received += b"THE SCREENS ENDED"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return received


@pytest.mark.screen
def test_a_hostile_store_sends_nothing_raw_to_the_terminal(real_home: Home) -> None:
    _poison(real_home)
    keys = ["2", "w", "\x1b", "3", "\r", "v", "]", "]", "]", "\x1b", "4", " ", "5", "6", "m", "7"]
    keys += ["8", "n", "\x1b", "e", "\x1b", "i", "\x1b", "9", "?", "\t", "\x1b", "1"]
    received = _drive(real_home.path, keys, {})
    assert b"EVIL" in received and b"\\x1b]52" in received and b"[@click" in received
    assert not RAW.search(received) and b"THE SCREENS ENDED" not in received
    assert b"Traceback" not in received


@pytest.mark.screen
async def test_a_model_whose_texts_are_markup_is_listed_as_it_is(
    empty_app: ConselfApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevent a regression: a licence with `[/b]` ended the screens, and `[@click=...]` ran an action."""
    folder = tmp_path / "user" / ".lmstudio" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    write_tiny_model(folder / "[@click=app.quit]m[bold]\x1b[2J.gguf")
    async with empty_app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        text = text_of(empty_app)
        assert "LM Studio: [@click=app.quit]m[bold]\\x1b[2J" in text, text
        await pilot.click("#models", offset=(15, 3))
        await settle(pilot)
        assert empty_app.return_code is None
    assert str(GgufTree(tmp_path).process_label("[/b]\x1b[2J.gguf")) == "[/b]\\x1b[2J.gguf"


def test_the_filter_escapes_what_a_widget_forgot_and_keeps_the_width() -> None:
    line = [Segment("ab\x1b[2J"), Segment("   c\u202e  ")]
    filtered = EscapeFilter("utf-8").apply(line, Color(0, 0, 0))
    text = "".join(segment.text for segment in filtered)
    assert text.startswith("ab\\x1b[2J") and "\x1b" not in text and "\u202e" not in text
    assert sum(s.cell_length for s in filtered) == sum(s.cell_length for s in line)
    assert EscapeFilter("latin-1").apply([Segment("─é       ")], Color(0, 0, 0))[0].text == "\\u2500é  "
    untouched = [Segment("plain ─")]
    assert EscapeFilter("utf-8").apply(untouched, Color(0, 0, 0)) is untouched


@pytest.mark.screen
@pytest.mark.parametrize(
    ("redirected", "environment"),
    [({"stdin": subprocess.DEVNULL}, {}), ({"stdout": subprocess.PIPE}, {}), ({}, {"TERM": "dumb"})],
)
def test_without_a_terminal_that_can_show_screens_one_line_says_so(
    redirected: dict[str, int], environment: dict[str, str], tmp_path: Path
) -> None:
    """Prevent a regression: with standard input closed, screens were written to a file for ever."""
    main, side = pty.openpty()
    streams: dict[str, int] = {"stdin": side, "stdout": side, "stderr": side} | redirected
    process = subprocess.Popen(
        [sys.executable, "-m", "conself_local", "--home", str(tmp_path), "tui"], **streams, env=os.environ | environment
    )  # type: ignore[call-overload]
    try:
        assert process.wait(timeout=30) == 2
        os.close(side)
        assert b"the screens need a terminal" in os.read(main, 4096)
    finally:
        process.kill()
        os.close(main)
