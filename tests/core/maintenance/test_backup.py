"""A backup is one private file, made while a round may write; a restore gives a home that works, or changes nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.maintenance.archive import DATABASE
from conself_local.maintenance.backup import Backup, write_backup
from conself_local.maintenance.restore import restore_backup
from conself_local.model_files.bundled import bundled_model
from conself_local.round.verify import verify_store
from conself_local.store.reports import round_report
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import UNFINISHED, make_home
from tests.fakes.small_round import run_conself

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a finished, an abandoned and an unfinished round."""
    return make_home(tmp_path / "home")


def _backup(home: Home, target: Path) -> Backup:
    with Store(home.database) as store:
        return write_backup(store, home, target)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a backup that can be restored."""
    folder = tmp_path_factory.mktemp("whole")
    _backup(make_home(folder / "home"), folder / "b")
    return folder / "b"


def _content(home: Home) -> list[list[tuple[Any, ...]]]:
    """Return every row of every table, without the paths of adapters and the times of migrations."""
    with Store(home.database) as store:
        store.db.execute("update adapters set peft_path = '', path = ''")
        return [
            sorted(map(tuple, store.db.execute(f"select * from [{name}]")))
            for name in sorted(store.db.table_names())
            if name[0] != "_"
        ]


def test_a_restored_home_has_everything_and_its_own_paths(home: Home, tmp_path: Path) -> None:
    written = _backup(home, tmp_path / "b")
    assert (written.rounds, written.adapters, written.missing) == (3, 1, ())
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600 and not list(home.path.glob(".backup-*"))
    new = Home(tmp_path / "new")
    restored = restore_backup(new, tmp_path / "b")
    assert (restored.rounds, restored.adapters, restored.notes) == (3, 1, ())
    with Store(new.database) as store, Store(home.database) as old:
        assert (
            verify_store(store) == [] and round_report(store, 1)["evaluations"] == round_report(old, 1)["evaluations"]
        )
        row = store.adapter(1)
        assert Path(row["path"]) == new.adapter_folder("round-1") / "adapter.gguf" == store.adapter_file(1)
        assert sorted(p.name for p in Path(row["peft_path"]).iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
    assert not list(new.path.glob(".restore-*")) and all(p.stat().st_mode & 0o077 == 0 for p in new.path.rglob("*.*"))
    assert _content(new) == _content(home)


def test_presets_come_along_and_replace_none(home: Home, tmp_path: Path) -> None:
    home.presets.mkdir()
    for name in ("mine.toml", "other.toml", "Not a preset.toml"):
        (home.presets / name).write_text(f"# {name}")
    (home.presets / "link.toml").symlink_to("/etc/hostname")
    _backup(home, tmp_path / "b")
    new = Home(tmp_path / "new")
    new.presets.mkdir()
    (new.presets / "other.toml").write_text("# my own")
    restored = restore_backup(new, tmp_path / "b")
    assert {path.name: path.read_text() for path in new.presets.iterdir()} == {
        "mine.toml": "# mine.toml",
        "other.toml": "# my own",
    }
    assert restored.notes == ("the home keeps its own preset other, which differs from that of the backup",)


def test_a_backup_has_one_moment_while_a_round_writes(home: Home, tmp_path: Path) -> None:
    with Store(home.database) as writer:
        writer.db.execute("begin immediate")
        writer.ensure_prompt("not committed", [1])
        _backup(home, tmp_path / "b")
        writer.db.execute("commit")
    new = Home(tmp_path / "new")
    restore_backup(new, tmp_path / "b")
    with Store(new.database) as store:
        assert not store.value("select 1 from prompts where text = 'not committed'")
        assert store.value("pragma integrity_check") == "ok"


def test_a_backup_overwrites_nothing_and_leaves_nothing_if_it_fails(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "link"):
        with pytest.raises(ConselfError, match="already exists"):
            _backup(home, tmp_path / name)
    assert (tmp_path / "mine").read_text() == "precious" and not (tmp_path / "nowhere").exists()
    (home.adapter_folder("round-1") / "peft" / "adapter_config.json").chmod(0)
    before = sorted(path.name for path in tmp_path.iterdir())
    if os.getuid() != 0:
        with pytest.raises(OSError, match="denied"):
            _backup(home, tmp_path / "b")
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_adapter_that_changed_is_named_and_left_out(home: Home, tmp_path: Path) -> None:
    (home.adapter_folder("round-1") / "adapter.gguf").write_bytes(b"other")
    assert _backup(home, tmp_path / "b").missing == ("round-1",)
    new = Home(tmp_path / "new")
    assert restore_backup(new, tmp_path / "b").notes == ("the backup has no files of the adapter round-1",)
    with Store(new.database) as store:
        assert store.adapter(1)["path"].startswith(str(new.path)), "it names no file outside its home"


def test_the_adapters_of_a_home_that_was_moved_are_in_its_backup(home: Home, tmp_path: Path) -> None:
    moved = Home(Path(shutil.move(home.path, tmp_path / "moved")))
    assert _backup(moved, tmp_path / "b").adapters == 1


def test_models_are_found_where_they_are_now_or_named(home: Home, tmp_path: Path) -> None:
    with Store(home.database) as store:
        store.db.execute("update rounds set model_path = ? where id = 1", [str(home.models / "m.gguf")])
        store.db.execute("update rounds set model_path = '/other/venv/bundled.gguf' where id = 2")
        store.db.execute("update rounds set model_path = '/gone.gguf', model_sha256 = 'x' where id = 3")
        store.db.execute("update rounds set request = json_set(request, '$.problems', '/gone.jsonl')")
    _backup(home, tmp_path / "b")
    new = Home(tmp_path / "new")
    new.models.mkdir()
    (new.models / "m.gguf").write_bytes(b"")
    notes = restore_backup(new, tmp_path / "b").notes
    assert len(notes) == 2 and "/gone.gguf" in notes[0] and "/gone.jsonl" in notes[1]
    with Store(new.database) as store:
        assert [store.round(i).model_path for i in (1, 2, 3)] == [
            new.models / "m.gguf",
            bundled_model(),
            Path("/gone.gguf"),
        ]


@pytest.mark.round
def test_the_verbs_work_and_an_unfinished_round_is_continued(home: Home, tmp_path: Path) -> None:
    assert run_conself(home.path, "backup", str(tmp_path / "b")).returncode == 0
    shutil.rmtree(home.path)
    new = tmp_path / "new"
    restored = run_conself(new, "restore", str(tmp_path / "b"))
    assert restored.returncode == 0 and "rounds 3, adapters 1" in restored.stdout, restored.stderr
    continued = run_conself(new, "pairs", "--json")
    assert continued.returncode == 0, continued.stderr
    report = json.loads(continued.stdout)
    assert report["round"] == UNFINISHED and report["pairs"] == 3 and report["state"] == "running"
    for verb in (
        ["status"],
        ["adapters"],
        ["verify"],
        ["export", "1", "--as", "gguf-lora", "--to", str(tmp_path / "a")],
    ):
        done = run_conself(new, *verb)
        assert done.returncode == 0, done.stderr
    again = run_conself(new, "restore", str(tmp_path / "b"))
    assert again.returncode == 2 and "has data already" in again.stderr and "--home" in again.stderr


def test_a_home_with_data_or_a_running_round_is_refused_and_an_empty_one_is_not(home: Home, tmp_path: Path) -> None:
    _backup(home, tmp_path / "b")
    before = _content(home)
    with pytest.raises(ConselfError, match="has data already"):
        restore_backup(home, tmp_path / "b")
    assert _content(home) == before
    empty = Home(tmp_path / "empty")
    with Store(empty.database) as watching:  # as the screens have it open
        with empty.lock(), pytest.raises(ConselfError, match="is running"):
            restore_backup(empty, tmp_path / "b")
        restore_backup(empty, tmp_path / "b")
        assert watching.value("select count(*) from rounds") == 3
    other = Home(tmp_path / "other")
    other.adapter_folder("round-1").mkdir(parents=True)
    with pytest.raises(ConselfError, match="is there already"):
        restore_backup(other, tmp_path / "b")
    assert not other.database.exists() and list(other.adapters.iterdir()) == [other.adapter_folder("round-1")]


KILLED = """
import os, signal, sys
from pathlib import Path
import conself_local.maintenance.restore as module
from conself_local.home import Home
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "in the copy":
    copy = module.copy_into
    def copy_into(source, target):
        target.db.conn.set_trace_callback(lambda sql: die() if "copied.[training_steps]" in sql else None)
        copy(source, target)
    module.copy_into = copy_into
else:
    setattr(module, sys.argv[3], die)
module.restore_backup(Home(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.round
@pytest.mark.parametrize("point", ["open_copy", "copy_into", "in the copy"])
def test_a_killed_restore_gives_no_data_and_is_repeated(home: Home, tmp_path: Path, point: str) -> None:
    _backup(home, tmp_path / "b")
    new = tmp_path / "new"
    arguments = [sys.executable, "-c", KILLED, str(new), str(tmp_path / "b"), point]
    killed = subprocess.run(arguments, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    if (new / DATABASE).exists():
        with Store(new / DATABASE) as store:
            assert store.latest_round() is None
    restore_backup(Home(new), tmp_path / "b")
    assert not list(new.glob(".restore-*"))
    assert _content(Home(new)) == _content(home)


# -- hostile backups ----------------------------------------------------------------------------------------


def _members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member, file.read()))
        return found


def _write(path: Path, members: Members) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))


def _plain(name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, content


def _listed(members: Members, **changes: Any) -> Members:
    """Return the members with other values in the list of files; a name that is None is taken out of the list."""
    manifest = json.loads(members[0][1])
    for name, value in changes.items():
        if name == "files":
            manifest["files"] |= value
        else:
            manifest[name] = value
    return [(members[0][0], json.dumps(manifest).encode()), *members[1:]]


def _database(members: Members, *statements: str) -> Members:
    """Return the members with a changed database, whose hash the list has."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(members[1][1])
        file.flush()
        with closing(sqlite3.connect(file.name)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        content = Path(file.name).read_bytes()
    entry = {DATABASE: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    return _listed([members[0], (members[1][0], content), *members[2:]], files=entry)


def _renamed(members: Members, index: int, name: str) -> Members:
    changed = list(members)
    changed[index] = _plain(name, members[index][1])
    manifest = json.loads(members[0][1])
    old = members[index][0].name
    manifest["files"] = {name if known == old else known: value for known, value in manifest["files"].items()}
    changed[0] = (members[0][0], json.dumps(manifest).encode())
    return changed


HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a link in the place of a file": (
        lambda m: [m[0], m[1], _plain(m[2][0].name, b"", tarfile.SYMTYPE, "/etc/passwd"), *m[3:]],
        "not a plain file",
    ),
    "a hard link": (
        lambda m: [m[0], _plain(DATABASE, b"", tarfile.LNKTYPE, "backup.json"), *m[2:]],
        "not a plain file",
    ),
    "a device": (lambda m: [m[0], _plain(DATABASE, b"", tarfile.CHRTYPE), *m[2:]], "not a plain file"),
    "a folder": (lambda m: [_plain("x", b"", tarfile.DIRTYPE), *m], "not a plain file"),
    "a long name": (lambda m: [m[0], _plain("a" * 300, b"x"), *m[1:]], "not a plain file"),
    "an absolute path": (lambda m: _renamed(m, 2, "/tmp/adapter.gguf"), "unknown name"),
    "a path upwards": (lambda m: _renamed(m, 2, "adapters/../adapter.gguf"), "unknown name"),
    "a name of another kind": (lambda m: _renamed(m, 2, "adapters/1/adapter.py"), "unknown name"),
    "a control character": (lambda m: _renamed(m, 2, "adapters/1/\x1b[2J"), "unknown name"),
    "an adapter of no row": (lambda m: _renamed(m, 2, "adapters/7/adapter.gguf"), "no adapter of its store"),
    "an unlisted member": (lambda m: [*m, _plain("adapters/2/adapter.gguf", b"x" * 9)], "more than its list says"),
    "a member missing": (lambda m: m[:-1], "is damaged"),
    "another order": (lambda m: [m[0], m[2], m[1], *m[3:]], "not where its list has it"),
    "changed content": (lambda m: [m[0], m[1], (m[2][0], b"x" * len(m[2][1])), *m[3:]], "is damaged"),
    "no list": (lambda m: m[1:], "not a backup"),
    "a list that is no table": (lambda m: [(m[0][0], b"[1]"), *m[1:]], "not a backup"),
    "a list that is too long": (lambda m: [(m[0][0], b" " * 5_000_000), *m[1:]], "not a backup"),
    "a deep list": (lambda m: [(m[0][0], b"[" * 200_000), *m[1:]], "nested too deeply"),
    "a newer format": (lambda m: _listed(m, format=2), "newer version"),
    "a negative size": (lambda m: _listed(m, files={DATABASE: {"bytes": -1, "sha256": "0" * 64}}), "is damaged"),
    "a size beyond the disk": (
        lambda m: _listed(m, files={DATABASE: {"bytes": 2**60, "sha256": "0" * 64}}),
        "MiB are free",
    ),
    "a bomb": (
        lambda m: _listed(
            [m[0], _plain(DATABASE, bytes(60_000_000))], files={DATABASE: {"bytes": 60_000_000, "sha256": "0" * 64}}
        ),
        "times its size",
    ),
    "an adapter that the store does not name": (
        lambda m: _database(m, "update adapters set sha256 = 'abc'"),
        "not the one that the store names",
    ),
    "a trigger": (
        lambda m: _database(m, "create trigger t after insert on rounds begin delete from rounds; end"),
        "a trigger",
    ),
    "a table that lacks a column": (lambda m: _database(m, "alter table pairs drop column weight"), "no column weight"),
    "another program's database": (lambda m: _database(m, "pragma application_id = 7"), "another program"),
    "settings of another type": (lambda m: _database(m, "update rounds set settings = '[]'"), "damaged"),
    "a path that is no text": (lambda m: _database(m, "update adapters set path = x'00'"), "cannot be restored"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_backup_is_refused_and_changes_nothing(whole: Path, tmp_path: Path, name: str) -> None:
    change, says = HOSTILE[name]
    _write(tmp_path / "hostile", change(_members(whole)))
    new = Home(tmp_path / "new")
    with pytest.raises(ConselfError, match=says):
        restore_backup(new, tmp_path / "hostile")
    assert [path.name for path in new.path.iterdir() if path.name != "round.lock"] == []


def test_the_control_of_the_hostile_backups_is_restored(whole: Path, tmp_path: Path) -> None:
    """Written anew by the test, the same members are taken."""
    _write(tmp_path / "same", _database(_members(whole)))
    assert restore_backup(Home(tmp_path / "new"), tmp_path / "same").adapters == 1


def test_what_a_table_would_compute_is_not_restored(whole: Path, tmp_path: Path) -> None:
    """A column that is computed, or an index over an expression, would run at every later query."""
    changed = _database(
        _members(whole),
        "alter table samples add column more text as (printf('%.*c', 1000, 'x'))",
        "create index heavy on samples(length(text) + 1)",
        "create table extra (x)",
    )
    _write(tmp_path / "hostile", changed)
    new = Home(tmp_path / "new")
    restore_backup(new, tmp_path / "hostile")
    with Store(new.database) as store:
        assert "more" not in store.row("select * from samples limit 1") and verify_store(store) == []
        assert not store.value("select 1 from sqlite_master where name in ('heavy', 'extra')")


@pytest.mark.parametrize("keep", [0, 10, 600, -600, -8])
def test_a_file_that_was_cut_short_is_refused(whole: Path, tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(ConselfError, match="cannot be restored"):
        restore_backup(Home(tmp_path / "new"), tmp_path / "cut")


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "packed").write_bytes(gzip.compress(b"hello" * 1000))
    os.mkfifo(tmp_path / "pipe")
    for name in ("text", "packed", "pipe", "nothing", "."):
        with pytest.raises(ConselfError, match="cannot be restored"):
            restore_backup(Home(tmp_path / "new"), tmp_path / name)
