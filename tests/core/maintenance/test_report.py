"""The file for a bug report says what is needed, and holds no prompt, no program, no problem and no path of the user."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.events import Notice, NoticeKind
from conself_local.home import Home
from conself_local.machine.log_files import LogFile
from conself_local.maintenance.report import write_report
from conself_local.store.events import store_notice
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import make_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home of three rounds below the folder of a user with a name that JSON would escape."""
    monkeypatch.setenv("HOME", str(tmp_path / "jo\u00e9"))
    home = make_home(tmp_path / "jo\u00e9" / "data")
    with Store(home.database) as store:
        store_notice(store, 1, "train", Notice("quotes /a/secret/text", NoticeKind.DISPLACEMENT))
        store.db.execute("update rounds set request = json_set(request, '$.problems', '/home/x/secret.jsonl')")
    log = LogFile(home.logs, "round")
    log.write_line(f"the adapter {home.adapters}/1 and {tmp_path}/jo\u00e9/models/m.gguf")
    return home


def _contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def test_the_report_has_versions_settings_kinds_of_events_and_logs(home: Home, tmp_path: Path) -> None:
    names = write_report(home, {"system": "Linux", "home": str(home.path)}, tmp_path / "r.zip")
    found = _contents(tmp_path / "r.zip")
    assert list(found) == names == ["README.txt", "doctor.json", "rounds.json", "logs/round-1.log"]
    assert json.loads(found["doctor.json"]) == {"system": "Linux", "home": "HOME"}
    first = json.loads(found["rounds.json"])[0]
    assert first["settings"]["preset"] == "laptop" and first["versions"] and "score" in first["stages"]
    assert first["events"][0]["kind"] == "displacement"
    assert found["logs/round-1.log"] == "the adapter HOME/adapters/1 and ~/models/m.gguf\n"
    assert (tmp_path / "r.zip").stat().st_mode & 0o777 == 0o600


def test_no_text_of_the_store_and_no_path_is_in_it(home: Home, tmp_path: Path) -> None:
    write_report(home, {"home": str(home.path)}, tmp_path / "r.zip")
    everything = "\n".join(_contents(tmp_path / "r.zip").values())
    assert "secret" not in everything and str(tmp_path) not in everything and "jo\u00e9" not in everything
    with Store(home.database) as store:
        for sql in (
            "select text from samples",
            "select code from programs",
            "select statement from problems",
            "select text from prompts",
        ):
            for row in store.rows(sql):
                (text,) = row.values()
                assert len(text) < 20 or text not in everything
                assert not any(line in everything for line in text.splitlines() if len(line) > 30)


def test_nothing_is_overwritten_and_nothing_half_is_left(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "link"):
        with pytest.raises(ConselfError, match="already exists"):
            write_report(home, {}, tmp_path / name)
    assert (tmp_path / "mine").read_text() == "precious" and not (tmp_path / "nowhere").exists()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        write_report(home, {}, tmp_path / "r.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_links_pipes_and_other_files_in_the_place_of_logs_are_left_out(home: Home, tmp_path: Path) -> None:
    import os

    (tmp_path / "secret").write_text("secret")
    (home.logs / "engine-1.log").symlink_to(tmp_path / "secret")
    (home.logs / "conself.log").symlink_to(tmp_path / "secret")
    (home.logs / "notes.log").write_text("secret")
    os.mkfifo(home.logs / "trainer-1.log")
    assert write_report(home, {}, tmp_path / "r.zip")[3:] == ["logs/round-1.log"]


def test_a_home_without_a_store_or_with_a_broken_one_still_gives_a_report(tmp_path: Path) -> None:
    """A bug report is needed most when something is broken."""
    home = Home(tmp_path / "home")
    write_report(home, {}, tmp_path / "empty.zip")
    assert json.loads(_contents(tmp_path / "empty.zip")["rounds.json"]) == []
    home.database.write_bytes(b"no database" * 100)
    write_report(home, {}, tmp_path / "broken.zip")
    assert "cannot be opened" in json.loads(_contents(tmp_path / "broken.zip")["rounds.json"])
