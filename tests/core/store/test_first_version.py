"""A home of the first version is migrated when it is opened, shows all that it has, and its next round begins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlite_utils import Database

from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.model_files.bundled import BUNDLED_SHA256, bundled_model
from conself_local.round.start import Request, open_round
from conself_local.round.verify import verify_store
from conself_local.round.views import adapter_rows, pair_rows, problem_rows, problem_view
from conself_local.stages.score import build_round_pairs, score_problems
from conself_local.store.migrations import migrations
from conself_local.store.reports import progress, round_report
from conself_local.store.store import Row, Store
from sandbox import Limits, Sandbox
from tests.fakes.home_of_rounds import REAL_ROUND
from tests.fakes.small_round import run_conself

LATER_SETTINGS = (
    "grown_inputs", "ask_for_inputs", "min_share", "constant_chosen", "pairing", "pair_weight", "max_displacement",
    "vote_weights", "min_vote_share", "min_vote_margin", "max_cluster_share", "chosen_programs", "prompt",
)  # fmt: skip
"""Settings that the first version did not have."""
LATER_STAGES = ("grow", "running copy", "problems left out")


def _no_sandbox(_: Limits) -> Sandbox:
    raise AssertionError("no program runs before the round begins")


@pytest.fixture(params=["done", "running"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    """Return a home whose database has the schema of the first version, with the rows of a real round."""
    home = Home(tmp_path / "home")
    shutil.copy(REAL_ROUND, tmp_path / "today.db")
    gguf = home.adapter_folder("round-1") / "adapter.gguf"
    gguf.parent.mkdir(parents=True)
    gguf.write_bytes(b"weights")
    with Store(tmp_path / "today.db") as today:
        settings = json.loads(today.value("select settings from rounds"))
        kept = {name: value for name, value in settings.items() if name not in LATER_SETTINGS}
        today.db.table("rounds").update(1, {"settings": json.dumps(kept), "state": request.param})
        today.db.table("rounds").update(1, {"model_path": str(bundled_model()), "model_sha256": BUNDLED_SHA256})
        today.db.execute("update rounds set request = json_set(request, '$.problems', null)")
        today.db.table("adapters").update(1, {"path": str(gguf), "sha256": file_sha256(gguf)})
        for stage in (score_problems, build_round_pairs):
            stage(today, today.round(1), lambda _: None)
        _write_first_version(today, home.database)
    return home


def _write_first_version(today: Store, path: Path) -> None:
    """Write the rows of `today` under the first schema, as far as it has their tables and columns."""
    db = Database(path)
    migrations.apply(db, stop_before="0002_adapters_name_their_model")
    db.execute("alter table rounds add column report text")  # the first commit had it; it was never filled
    for table in db.table_names():
        if table == migrations.migrations_table:
            continue
        columns = set(db.table(table).columns_dict)
        rows = [
            {k: v for k, v in (row | _first_names(row)).items() if k in columns}
            for row in today.rows(f"select * from {table}")
        ]
        db.table(table).insert_all([row for row in rows if row.get("stage") not in LATER_STAGES])
    db.close()


def _first_names(row: Row) -> Row:
    """Return the values of columns that had other names in the first version."""
    return {f"gguf_{name}": row[name] for name in ("path", "sha256") if name in row}


@pytest.mark.parametrize("home", ["done"], indirect=True)
def test_everything_is_shown_and_nothing_differs(home: Home) -> None:
    with Store(home.database) as store:
        assert not migrations.pending(store.db)
        report = round_report(store, 1)
        assert (
            report["samples"] == 60 and report["pairs"] > 0 and set(report["evaluations"]) == {"validation", "held-out"}
        )
        assert {row["stage"]: row["done"] for row in progress(store, 1)}["evaluate"] == 60
        (adapter,) = adapter_rows(store)
        assert adapter["model_sha256"] == BUNDLED_SHA256 and set(adapter["verdicts"]) == set(report["evaluations"])
        assert len(pair_rows(store, 1)) == report["pairs"]
        assert [len(problem_view(store, 1, row.id).completions) for row in problem_rows(store, 1)] == [15] * 4
        assert verify_store(store) == []


@pytest.mark.parametrize("home", ["done"], indirect=True)
def test_the_next_round_begins_with_the_adapter(home: Home) -> None:
    """The problems of the starter pack have the hashes that the first version gave them."""
    with Store(home.database) as store:
        store.set_adapter_state(1, "accepted")
        round_, model, benchmarks = open_round(store, Request(limit=2, seed=1), _no_sandbox)
        assert (round_.id, round_.base_adapter_id, round_.state) == (2, 1, "running")
        assert model.sha256 == BUNDLED_SHA256 and [b.name for b in benchmarks] == ["validation", "held-out"]
        assert len(store.round_problems(2)) == 2 and verify_store(store) == []


@pytest.mark.parametrize("home", ["running"], indirect=True)
def test_an_unfinished_round_is_opened_again(home: Home) -> None:
    with Store(home.database) as store:
        round_, _, _ = open_round(store, Request(), _no_sandbox)
        assert (
            round_.id == 1
            and round_.settings.augmentation.max_inputs == 0
            and not round_.settings.augmentation.ask_model
        )


@pytest.mark.round
@pytest.mark.parametrize("home", ["done"], indirect=True)
def test_the_verbs_answer(home: Home) -> None:
    for verb in ("status", "adapters", "verify", "prune --dry-run"):
        done = run_conself(home.path, *verb.split())
        assert done.returncode == 0 and done.stdout, done.stderr
