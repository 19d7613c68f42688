"""The rows of round_by_round show the base model once and each judged round, with its part of the first one's time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conself_local.settings import LAPTOP
from conself_local.store.store import Store
from tests.benchmarks.round_by_round import report_lines
from tests.fakes.scripted_round import start_round


def _arm(rate: float) -> dict[str, Any]:
    return {"greedy_pass_at_1": rate, "pass_at": {"1": rate, "2": 2 * rate}, "mean_tokens": 30.4}


def _judge(store: Store, began: str, judged: str, rate: float, state: str) -> None:
    round_ = start_round(store, LAPTOP, [])
    store.db.table("rounds").update(round_.id, {"state": "done", "created_at_utc": began})
    result = json.dumps({"base": _arm(0.1), "adapter": _arm(rate)})
    row = {"round_id": round_.id, "benchmark": "validation", "result": result, "created_at_utc": judged}
    store.db.table("evaluations").insert(row)
    name = f"round-{round_.id}"
    files = {"peft_path": name, "path": name, "sha256": "s", "parent_id": None}
    store.set_adapter_state(store.insert_adapter({"name": name, "round_id": round_.id} | files), state)


def test_rounds_stand_beside_the_base_and_the_time_of_the_first(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        assert report_lines(store, [2]) == []
        _judge(store, "2026-01-01T10:00:00+00:00", "2026-01-01T10:40:00+00:00", 0.2, "accepted")
        _judge(store, "2026-01-01T11:00:00+00:00", "2026-01-01T11:24:00+00:00", 0.15, "rejected")
        lines = report_lines(store, [2, 3])
        assert report_lines(store, [2], "held-out") == [], "no round was judged on it"
    assert lines[2:5] == [
        "| base | | | 10.0 | 10.0 | 20.0 | - | 30 | | |",
        "| round 1 | accepted | 0 | 20.0 | 20.0 | 40.0 | - | 30 | 40.0 | 1.00 |",
        "| round 2 | rejected | 0 | 15.0 | 15.0 | 30.0 | - | 30 | 24.0 | 0.60 |",
    ]
    assert lines[6].startswith("- Round 1: the guard cannot judge the round: 0 problems are too few")
