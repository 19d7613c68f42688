"""`conself prune` removes what nothing reads, and nothing else; whenever it is killed, the home is whole."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.home import Home
from conself_local.maintenance.kinds import KINDS
from conself_local.maintenance.prune import Prunable, find_prunable, prune
from conself_local.model_files.bundled import BUNDLED_SHA256, bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.round.verify import verify_store
from conself_local.round.views import latest_programs, pair_rows, problem_rows, tokens_since
from conself_local.stages.train import make_job
from conself_local.store.reports import progress, round_report
from conself_local.store.store import IMPORTED, TOKENS, Store
from tests.fakes.home_of_rounds import ABANDONED, UNFINISHED, add_own_programs, make_home
from tests.fakes.small_round import run_conself

HOUR = 3600.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the converted weights of this computer out of the tests, and return the folder that stands for them."""
    monkeypatch.setenv("CONSELF_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "running-copies"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a finished, an abandoned and an unfinished round."""
    return make_home(tmp_path / "home")


def _found(home: Home) -> dict[str, Prunable]:
    with Store(home.database) as store:
        return {one.kind: one for one in find_prunable(store, home)}


def _prune(home: Home) -> int:
    with Store(home.database) as store, home.lock():
        return prune(store, home, find_prunable(store, home))


def _leave(path: Path, *, age: float = 2 * HOUR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    changed = path.stat().st_mtime - age
    for one in (path, path.parent):
        os.utime(one, (changed, changed))
    return path


def test_nothing_that_is_read_changes_and_the_database_gets_smaller(home: Home) -> None:
    model = load_model_file(bundled_model())

    def shown(store: Store) -> list[object]:
        kept = (1, UNFINISHED)
        views = [
            (round_report(store, r), progress(store, r), pair_rows(store, r), problem_rows(store, r)) for r in kept
        ]
        jobs = [make_job(store, store.round(r), model, lambda _: None) for r in kept]
        return [views, jobs, latest_programs(store, UNFINISHED, 200)]

    with Store(home.database) as store:
        add_own_programs(store, ABANDONED, 500)
        store.db.execute("delete from samples where id like '2/own/1%'")
        before = shown(store)
    size = home.database.stat().st_size
    assert _prune(home) > 0
    with Store(home.database) as store:
        assert shown(store) == before and verify_store(store) == []
        assert store.value("select count(*) from programs where code like '%xxx%'") == 0
        assert store.value("select count(*) from behaviours where id not in (select behaviour_id from executions)") == 0
        assert round_report(store, ABANDONED)["samples"] == 0 and round_report(store, ABANDONED)["state"] == "abandoned"
        assert "removed" in (store.stage_summary(ABANDONED, "pruned") or "")
    assert home.database.stat().st_size < size - 500 * 400
    assert all(not one.is_something for one in _found(home).values()), "a second time finds nothing"


def test_token_ids_stay_for_pairs_and_unfinished_rounds_and_their_number_stays_for_all(home: Home) -> None:
    counts = f"select id, {TOKENS} as tokens from samples where round_id != {ABANDONED} order by id"
    with Store(home.database) as store:
        before = store.rows(counts)
        speed = tokens_since(store, 1, 0)[0]
    _prune(home)
    with Store(home.database) as store:
        assert store.rows(counts) == before and tokens_since(store, 1, 0)[0] == speed > 0
        empty = {r["id"] for r in store.rows("select id from samples where token_ids = '[]'")}
        paired = {r[side] for r in store.rows("select * from pairs") for side in ("chosen_id", "rejected_id")}
        others = {r["id"] for r in store.rows("select id from samples where round_id = 1")} - paired
        assert empty == others and others and paired


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ("update adapters set round_id = 2", True),
        ("update evaluations set round_id = 2 where benchmark = 'validation'", True),
        ("update rounds set state = 'running' where id = 2", True),
        ("select 1", False),
    ],
)
def test_a_round_with_an_adapter_or_a_result_stays(home: Home, change: str, stays: bool) -> None:
    with Store(home.database) as store:
        store.db.execute(change)
    assert (_found(home)["rounds"].rounds == ()) == stays


def test_the_last_pairs_stay_for_an_imported_adapter(home: Home) -> None:
    """A merged file of an imported adapter is measured on the pairs of any round."""
    with Store(home.database) as store:
        row = store.adapter(1)
        store.insert_adapter({k: v for k, v in row.items() if k != "id"} | {"name": "theirs", "round_id": IMPORTED})
        assert _found(home)["rounds"].rounds == (ABANDONED,)
        store.db.execute("delete from pairs where round_id != ?", [ABANDONED])
        assert _found(home)["rounds"].rounds == ()
        store.db.execute("update samples set tokens = null")
    _prune(home)
    with Store(home.database) as store:
        sides = "select chosen_id from pairs union select rejected_id from pairs"
        assert not store.value(f"select 1 from samples where id in ({sides}) and token_ids = '[]'")


def test_training_folders_and_weights_of_unfinished_rounds_stay(home: Home, cache: Path) -> None:
    own, other, used = (cache / f"{name[:32]}-bf16.gguf" for name in (BUNDLED_SHA256, "0" * 64, "1" * 64))
    for path in (own, other, used, cache / "mine.gguf"):
        path.write_bytes(b"x" * 5000)
    with used.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        _prune(home)
    assert own.exists() and (used.exists() or sys.platform != "linux") and not other.exists()
    assert (cache / "mine.gguf").exists(), "a file of another name is not ours"
    assert sorted(path.name for path in home.training.iterdir()) == [f"round-{UNFINISHED}"]


def test_only_old_leftovers_go(home: Home, cache: Path) -> None:
    running = _leave(cache / f"{'0' * 32}-f16.part{os.getpid()}", age=0)
    gone = [
        _leave(cache / f"{'0' * 32}-f16.part{2**22 + 1}"),
        _leave(home.models / ".cache" / "model.gguf.incomplete"),
        _leave(home.adapters / ".mine.abcd" / "adapter.gguf"),
        _leave(home.adapters / "not-stored" / "adapter.gguf"),
        _leave(home.path / ".backup-abcd" / "conself.db"),
        _leave(home.path / "conself.db.part"),
    ]
    kept = [
        running,
        _leave(home.adapters / ".new.abcd" / "adapter.gguf", age=0),
        _leave(home.models / "model.gguf"),
        _leave(home.path / "mine.txt"),
        home.adapter_folder("round-1") / "adapter.gguf",
    ]
    outside = _leave(home.path.parent / "outside" / "precious")
    (home.adapters / "link").symlink_to(outside.parent)
    _prune(home)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in (*kept, outside) if not path.exists()] == []


def test_the_adapters_of_a_home_that_was_moved_stay(home: Home) -> None:
    """The store has the old paths, so the files look as if no adapter named them."""
    moved = Home(Path(shutil.move(home.path, home.path.with_name("moved"))))
    _leave(moved.adapter_folder("round-1") / "adapter.gguf")
    _prune(moved)
    assert (moved.adapter_folder("round-1") / "adapter.gguf").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import conself_local.maintenance.prune as module
from conself_local.home import Home
from conself_local.store import pruning
from conself_local.store.store import Store
home, point = Home(Path(sys.argv[1])), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
with Store(home.database) as store, home.lock():
    found = module.find_prunable(store, home)
    if point == "in a transaction":
        pruning.UNUSED_ROWS = (*pruning.UNUSED_ROWS, "select die()")
        store.db.conn.create_function("die", 0, die)
    elif point == "while the file is made smaller":
        store.db.conn.set_trace_callback(lambda sql: sql == "vacuum" and store.db.conn.set_progress_handler(die, 500))
    else:
        setattr(module.shutil if point == "rmtree" else pruning, point, die)
    module.prune(store, home, found)
"""


@pytest.mark.round
@pytest.mark.parametrize(
    "point", ["rmtree", "empty_rounds", "in a transaction", "remove_token_ids", "while the file is made smaller"]
)
def test_a_killed_prune_leaves_a_whole_home_and_is_repeated(home: Home, point: str) -> None:
    with Store(home.database) as store:
        before = round_report(store, 1)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(home.path), point], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    with Store(home.database) as store:
        assert store.value("pragma integrity_check") == "ok" and verify_store(store) == []
        assert round_report(store, 1) == before
    _prune(home)
    assert not any(one.is_something for one in _found(home).values())
    with Store(home.database) as store:
        assert verify_store(store) == [] and round_report(store, 1) == before


@pytest.mark.round
def test_the_verb_asks_shows_and_refuses(home: Home) -> None:
    done = run_conself(home.path, "prune")
    assert done.returncode == 2 and "--yes" in done.stderr and home.training_folder(1).exists()
    shown = json.loads(run_conself(home.path, "prune", "--dry-run", "--json").stdout)
    assert [one["kind"] for one in shown["found"]] == list(KINDS) and shown["freed_bytes"] is None
    with home.lock():
        refused = run_conself(home.path, "prune", "--yes")
        assert refused.returncode == 2 and f"process {os.getpid()}" in refused.stderr
        assert run_conself(home.path, "prune", "--dry-run").returncode == 0
    assert home.training_folder(1).exists()
    only = run_conself(home.path, "prune", "--yes", "--only", "training")
    assert only.returncode == 0 and not home.training_folder(1).exists() and _found(home)["tokens"].size_bytes
    last = json.loads(run_conself(home.path, "prune", "--yes", "--json").stdout)
    assert last["freed_bytes"] > 0 and not any(one.is_something for one in _found(home).values())
    assert "there is nothing to remove" in run_conself(home.path, "prune", "--yes").stdout
    doctor = json.loads(run_conself(home.path, "doctor", "--json").stdout)
    assert doctor["disk"]["store"] == home.database.stat().st_size and set(doctor["prunable"].values()) == {0}


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted disk of 4 MiB; skip the test if none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.round
def test_a_full_disk_is_freed(full_disk: Path) -> None:
    """SQLite itself needs space to open a store, so that nothing could be removed when it was needed most."""
    home = make_home(full_disk / "home")
    (home.training_folder(1) / "big").write_bytes(bytes(2_000_000))
    subprocess.run(["dd", "if=/dev/zero", f"of={full_disk / 'filler'}", "bs=4096"], capture_output=True, check=False)
    assert shutil.disk_usage(full_disk).free == 0
    refused = run_conself(home.path, "status")
    assert refused.returncode == 2 and "conself prune" in refused.stderr
    done = run_conself(home.path, "prune", "--yes")
    assert done.returncode == 0, done.stderr
    assert shutil.disk_usage(full_disk).free > 2_000_000
    with Store(home.database) as store:
        assert verify_store(store) == []
