"""Open the one store of a home: every stage reads from it what is pending and writes to it what it made, item by item.

Covered: transactions, foreign keys, and a time-out for readers while a round is writing. Not covered: the meaning of
the rows (`stages/`), checking them (`round/verify.py`), and summaries for people (`reports.py`, `round/views.py`).
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.foreign_files import reason, refusing
from conself_local.hashes import behaviour_id, program_id, prompt_id
from conself_local.machine.room import is_full
from conself_local.model_files.model import has_sha256
from conself_local.problems.literals import input_text, parse_input
from conself_local.problems.problem import Problem
from conself_local.settings import Settings, settings_from_json, settings_to_json
from conself_local.store.identity import APPLICATION_ID, verify_store_file
from conself_local.store.migrations import migrations

BUSY_SECONDS = 30.0
"""How long a statement waits for another process to finish writing."""
_PREPARE_WAITS_SECONDS = (0.1, 0.3, 1.0, 3.0)
Row = dict[str, Any]
"""One row of a table or a query: column name -> value."""


TOKENS = "coalesce(tokens, json_array_length(token_ids))"
"""The number of tokens of a row of `samples`, in SQL; it is known even if the token ids were removed (`pruning.py`)."""
IMPORTED = 0
"""The value of `round_id` of an adapter that no round of this home made: imported, or trained on a file of pairs."""


@dataclasses.dataclass(frozen=True)
class RoundInfo:
    """The stored description of a round: the choices that were fixed when it started, and its state."""

    id: int
    """Rounds of a home count from 1."""
    seed: int
    settings: Settings
    model_path: Path
    model_sha256: str
    base_adapter_id: int | None
    """The adapter that the round started from; None: the base model."""
    request: dict[str, Any]
    """The user's request: limit, problems, benchmarks; the number and the seed of the evaluation answers; and, in an
    experiment, `pairs_file` and `pairs_sha256` of an arm that trains on a file."""
    state: str
    """`running` (also if it was interrupted), `done` or `abandoned`."""
    created_at_utc: str
    """ISO 8601, to the second."""


class Store:
    """A context manager over one SQLite file, which is created or brought up to date when it is opened.

    With `alone`, no other process can open it meanwhile, and no free disk space is needed to read it: SQLite keeps the
    index of its log in memory. Raises ConselfError if the file cannot be opened, is not a database, or is not a store
    (`identity.py`).
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self.path = path
        try:
            verify_store_file(path, alone=alone)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
            self.db = Database(connection)
            if alone:
                self.db.execute("pragma locking_mode = exclusive")
            self.db.execute("pragma foreign_keys = on")
            self.db.execute("pragma trusted_schema = off")
            self._prepare()
        except (sqlite3.DatabaseError, OSError) as error:
            hint = "check the disk and the permissions, or use another home with --home DIR"
            if path.parent.is_dir() and is_full(path.parent):
                hint = "the disk is full: `conself prune` removes what nothing needs any more"
            raise ConselfError(f"the store {path} cannot be opened: {reason(error)}", hint) from error

    def _prepare(self) -> None:
        """Bring the file up to date; another process that opens the new store now may be doing the same."""
        for wait in (*_PREPARE_WAITS_SECONDS, None):
            try:
                self.db.enable_wal()
                self.db.execute("pragma synchronous = normal")
                if migrations.pending(self.db) or self.value("pragma application_id") != APPLICATION_ID:
                    self.db.execute("begin immediate")  # one process after the other
                    migrations.apply(self.db)
                    self.db.execute(f"pragma application_id = {APPLICATION_ID}")
                    self.db.execute("commit")
                return
            except sqlite3.OperationalError as error:
                if wait is None or "locked" not in str(error):  # SQLite does not wait where it changes to WAL
                    raise
                time.sleep(wait)

    def close(self) -> None:
        """Close the connection; the store cannot be used afterwards."""
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Run one statement with `?` parameters and return all its rows."""
        cursor = self.db.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, sql: str, *parameters: object) -> Row:
        """Run a query that gives one row, as a query for totals does, and return that row."""
        (row,) = self.rows(sql, *parameters)
        return row

    def value(self, sql: str, *parameters: object) -> Any:
        """Return the first column of the first row, or None if there is no row."""
        row = self.db.execute(sql, list(parameters)).fetchone()
        return row[0] if row else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Store everything of the block, or nothing if it raises."""
        with self.db.atomic():
            yield

    # -- problems -------------------------------------------------------------------------------------------

    def ensure_problems(self, problems: Iterable[Problem]) -> None:
        """Store the problems that are new. Raises ConselfError if an id is stored with different content."""
        known = {row["id"]: row["content_hash"] for row in self.rows("select id, content_hash from problems")}
        with self.transaction():
            for problem in problems:
                if problem.id in known:
                    if known[problem.id] != problem.content_hash():
                        raise ConselfError(
                            f"the problem {problem.id} has changed since it was stored",
                            "give it a new id, or use another home with --home DIR",
                        )
                    continue
                row = dataclasses.asdict(problem) | {"content_hash": problem.content_hash()}
                row["inputs"] = json.dumps([input_text(i) for i in problem.inputs])
                self.db.table("problems").insert(row)

    def problem(self, problem_id: str) -> Problem:
        """Return a stored problem. Raises IndexError if the id is not stored."""
        return self._problem(self.rows("select * from problems where id = ?", problem_id)[0])

    def round_problems(self, round_id: int) -> list[Problem]:
        """Return the training problems of a round, in their order."""
        sql = """select p.* from problems p join round_problems r on r.problem_id = p.id
                 where r.round_id = ? order by position"""
        return [self._problem(row) for row in self.rows(sql, round_id)]

    def round_problem_ids(self, round_id: int) -> list[str]:
        """Return the ids of the training problems of a round, in their order."""
        sql = "select problem_id from round_problems where round_id = ? order by position"
        return [row["problem_id"] for row in self.rows(sql, round_id)]

    @staticmethod
    def _problem(row: Row) -> Problem:
        with refusing(f"the stored problem {row['id']} is damaged", "use another home with --home DIR"):
            texts = json.loads(row.pop("inputs"))
            row.pop("content_hash")
            inputs = tuple(texts) if row["kind"] == "stdin" else tuple(parse_input(t) for t in texts)
            return Problem(**row, inputs=inputs)

    # -- rounds ---------------------------------------------------------------------------------------------

    def start_round(
        self,
        *,
        seed: int,
        settings: Settings,
        model_path: Path,
        model_sha256: str,
        template_hash: str,
        base_adapter_id: int | None,
        versions: dict[str, str],
        request: dict[str, Any],
        problems: Sequence[Problem],
    ) -> RoundInfo:
        """Store a new round in the state `running`, with its training problems, and return it.

        `request` and `versions` must be JSON values. Raises ConselfError if a problem id is stored with different
        content.
        """
        self.ensure_problems(problems)
        with self.transaction():
            round_id = int(self.value("select coalesce(max(id), 0) + 1 from rounds"))
            self.db.table("rounds").insert(
                {
                    "id": round_id,
                    "seed": seed,
                    "settings": json.dumps(settings_to_json(settings)),
                    "model_path": str(model_path),
                    "model_sha256": model_sha256,
                    "template_hash": template_hash,
                    "base_adapter_id": base_adapter_id,
                    "versions": json.dumps(versions),
                    "request": json.dumps(request),
                    "state": "running",
                    "created_at_utc": now_utc(),
                }
            )
            for position, problem in enumerate(problems):
                self.db.table("round_problems").insert(
                    {"round_id": round_id, "problem_id": problem.id, "position": position}
                )
        return self.round(round_id)

    def round(self, round_id: int) -> RoundInfo:
        """Return a stored round. Raises ConselfError if there is none with this id."""
        found = self.rows("select * from rounds where id = ?", round_id)
        if not found:
            raise ConselfError(
                f"there is no round {round_id}", "`conself status` without --round shows the latest round"
            )
        row = found[0]
        with refusing(f"the stored round {round_id} is damaged", "use another home with --home DIR"):
            return RoundInfo(
                row["id"],
                row["seed"],
                settings_from_json(json.loads(row["settings"])),
                Path(row["model_path"]),
                row["model_sha256"],
                row["base_adapter_id"],
                _verified_request(json.loads(row["request"])),
                row["state"],
                row["created_at_utc"],
            )

    def latest_round(self) -> RoundInfo | None:
        """Return the round with the highest id, whatever its state, or None if there is none."""
        round_id = self.value("select max(id) from rounds")
        return self.round(round_id) if round_id else None

    def neighbour_round(self, round_id: int, by: int) -> int | None:
        """Return the id of the round before (`by` -1) or after (1) this one, or None if there is none."""
        sql = "select max(id) from rounds where id < ?" if by < 0 else "select min(id) from rounds where id > ?"
        found: int | None = self.value(sql, round_id)
        return found

    def wanted_round(self, round_id: int | None, *, hint: str = "start one with: conself run") -> RoundInfo:
        """Return the round of this number, or the latest one for None. Raises ConselfError if there is none."""
        found = self.latest_round() if round_id is None else self.round(round_id)
        if found is None:
            raise ConselfError("this home has no round yet", hint)
        return found

    def finish_round(self, round_id: int) -> None:
        """Mark the round as `done`."""
        self.db.table("rounds").update(round_id, {"state": "done"})

    def stage_summary(self, round_id: int, stage: str) -> str | None:
        """Return the summary of a finished stage, or None if it has not finished."""
        summary: str | None = self.value("select summary from stages where round_id = ? and stage = ?", round_id, stage)
        return summary

    def finish_stage(self, round_id: int, stage: str, summary: str) -> None:
        """Store the summary of a stage, one sentence for the user; an earlier one of the same stage is replaced."""
        self.db.table("stages").upsert(
            {"round_id": round_id, "stage": stage, "summary": summary}, pk=("round_id", "stage")
        )

    # -- sampling -------------------------------------------------------------------------------------------

    def ensure_prompt(self, text: str, token_ids: Sequence[int]) -> str:
        """Store a prompt if it is new; return its id, a hash of text and token ids."""
        key = prompt_id(text, token_ids)
        self.db.table("prompts").insert(
            {"id": key, "text": text, "token_ids": json.dumps(list(token_ids))}, ignore=True
        )
        return key

    def prompt_token_ids(self, key: str) -> tuple[int, ...]:
        """Return the token ids of a stored prompt."""
        return tuple(json.loads(self.value("select token_ids from prompts where id = ?", key)))

    def set_plain_prompt(self, round_id: int, problem_id: str, key: str) -> None:
        """Store which prompt is the plain prompt of a problem: the one without an observation, used for training."""
        self.db.table("round_problems").update((round_id, problem_id), {"plain_prompt_id": key})

    def insert_observations(self, round_id: int, problem_id: str, texts: Sequence[str | None], tries: int) -> None:
        """Store all observations of a problem at once; None means that programs are sampled from the plain prompt."""
        with self.transaction():
            for number, text in enumerate(texts):
                self.db.table("observations").insert(
                    {
                        "round_id": round_id,
                        "problem_id": problem_id,
                        "number": number,
                        "text": text,
                        "outcome": "given" if text else "plain",
                        "tries": tries,
                    }
                )

    def ensure_program(self, problem: Problem, code: str) -> str:
        """Store a program if it is new; return its id, a hash of problem and code."""
        key = program_id(problem.content_hash(), code)
        self.db.table("programs").insert({"id": key, "problem_id": problem.id, "code": code}, ignore=True)
        return key

    def insert_sample(self, row: Row) -> None:
        """Store one sample: a row of the table `samples`."""
        self.db.table("samples").insert(row)

    def insert_sample_scores(self, round_id: int, scores: Iterable[tuple[str, int | None, float]]) -> None:
        """Store (sample id, cluster, consensus) of samples that vote in a round, within the caller's transaction."""
        sql = "insert into sample_scores (round_id, sample_id, cluster, consensus) values (?, ?, ?, ?)"
        self.db.conn.executemany(sql, ((round_id, *score) for score in scores))

    # -- executions -----------------------------------------------------------------------------------------

    def insert_execution(self, row: Row, outputs: Sequence[tuple[str, str | None, str]]) -> None:
        """Store one execution and its behaviour, in one transaction.

        `row` is a row of `executions` without the behaviour; `outputs` has (status, canonical text, detail) per input.
        """
        with self.transaction():
            key = behaviour_id(outputs)
            self.db.table("behaviours").insert({"id": key, "outputs": json.dumps(outputs)}, ignore=True)
            self.db.table("executions").insert({**row, "behaviour_id": key})

    def pending_programs(self, program_ids_sql: str, limits: str, *parameters: object) -> list[Row]:
        """Return (id, problem_id, code) of the programs that have no execution under these limits, oldest first.

        `program_ids_sql` is a query for program ids, or a list of `?`; `parameters` belong to it.
        """
        sql = f"""select p.id, p.problem_id, p.code from programs p where p.id in ({program_ids_sql})
                  and not exists (select 1 from executions e where e.program_id = p.id and e.limits = ?)
                  order by p.rowid"""
        return self.rows(sql, *parameters, limits)

    def pending_page(self, round_id: int, limits: str, after: int, most: int) -> tuple[list[Row], int]:
        """Return (id, problem_id, code) of programs that have no execution under these limits, and where to go on.

        Only programs that the round first sampled after the sample in row `after` are looked at, oldest first, at most
        `most`. The second value is the `after` of the next page; a page with fewer rows than `most` is the last one.
        """
        last = int(self.value("select coalesce(max(rowid), 0) from samples"))
        sql = """select s.rowid as row, p.id, p.problem_id, p.code
                 from samples s indexed by samples_by_round_rowid join programs p on p.id = s.program_id
                 where s.round_id = ? and s.rowid > ? and s.rowid <= ?
                 and not exists (select 1 from executions e where e.program_id = p.id and e.limits = ?)
                 and not exists (select 1 from samples t indexed by samples_by_program
                                 where t.program_id = s.program_id and t.round_id = s.round_id and t.rowid < s.rowid)
                 order by s.rowid limit ?"""
        rows = self.rows(sql, round_id, after, last, limits, most)
        return rows, rows[-1]["row"] if len(rows) == most else last

    # -- adapters -------------------------------------------------------------------------------------------

    def insert_adapter(self, row: Row) -> int:
        """Store an adapter and return its id; its state is `candidate` unless `row` says otherwise."""
        with self.transaction():
            adapter_id = int(self.value("select coalesce(max(id), 0) + 1 from adapters"))
            self.db.table("adapters").insert(
                {"id": adapter_id, "state": "candidate", "created_at_utc": now_utc(), **row}
            )
        return adapter_id

    def adapter(self, adapter_id: int) -> Row:
        """Return the row of an adapter. Raises ConselfError if there is none with this id."""
        found = self.rows("select * from adapters where id = ?", adapter_id)
        if not found:
            raise ConselfError(f"there is no adapter {adapter_id}", "run `conself adapters` to list the adapters")
        return found[0]

    def latest_accepted(self, model_sha256: str) -> int | None:
        """Return the adapter that the next round on this model starts from: the latest accepted one, or None."""
        sql = "select id from adapters where state = 'accepted' and model_sha256 = ? order by id desc limit 1"
        adapter: int | None = self.value(sql, model_sha256)
        return adapter

    def accepted_adapters(self, model_path: str) -> list[Row]:
        """Return the rows of the accepted adapters for the model at this path, the latest first."""
        return self.rows(
            "select * from adapters where state = 'accepted' and model_path = ? order by id desc", model_path
        )

    def model_paths(self) -> list[str]:
        """Return the paths of the models that have accepted adapters."""
        sql = "select distinct model_path from adapters where state = 'accepted' and model_path is not null order by 1"
        return [row["model_path"] for row in self.rows(sql)]

    def knows_model(self, sha256: str) -> bool:
        """Return whether a round or an adapter has begun with the model of this hash."""
        sql = "select 1 from rounds where model_sha256 = ? union select 1 from adapters where model_sha256 = ?"
        return self.value(sql, sha256, sha256) is not None

    def adapter_file(self, adapter_id: int | None) -> Path | None:
        """Return the GGUF file or the mlx-lm folder of an adapter, or None for None, the base model.

        Raises ConselfError if there is no such adapter, or if its file is missing or has another sha256 than the one
        that was judged.
        """
        if adapter_id is None:
            return None
        row = self.adapter(adapter_id)
        path = Path(row["path"])
        if not has_sha256(path, row["sha256"]):
            raise ConselfError(
                f"the adapter file {path} is missing or has changed",
                "restore the file, or start from the base model with --from-base (screen 1: Begin from)",
            )
        return path

    def exclude_pair(self, pair_id: str, excluded: bool) -> None:
        """Exclude a pair from training, or include it again; a pair that is built again keeps this mark."""
        self.db.table("pairs").update(pair_id, {"excluded": excluded})

    def rename_adapter(self, adapter_id: int, name: str) -> None:
        """Give an adapter a new name. Raises ConselfError if it is empty, longer than 80 characters or taken."""
        if not 0 < len(name.strip()) <= 80:
            raise ConselfError("the name of an adapter must have 1 to 80 characters", "choose another name")
        if self.value("select 1 from adapters where name = ? and id != ?", name.strip(), adapter_id):
            raise ConselfError(f"another adapter is called {name.strip()}", "choose another name")
        self.db.table("adapters").update(adapter_id, {"name": name.strip()})

    def delete_adapter(self, adapter_id: int) -> list[Path]:
        """Delete an adapter from the store and return its files, for the caller to delete.

        Raises ConselfError if there is no such adapter, or if a later round or adapter started from it.
        """
        row = self.adapter(adapter_id)
        if self.value("select 1 from adapters where parent_id = ?", adapter_id) or self.value(
            "select 1 from rounds where base_adapter_id = ?", adapter_id
        ):
            raise ConselfError(
                f"adapter {adapter_id} cannot be deleted: it is what a later round began with",
                "reject it instead; then the next round does not use it",
            )
        self.db.table("adapters").delete(adapter_id)
        return [Path(row[name]) for name in ("peft_path", "path") if row[name]]

    def set_adapter_state(self, adapter_id: int, state: str) -> None:
        """Set the state to `candidate`, `accepted` or `rejected`; the database refuses any other."""
        self.db.table("adapters").update(adapter_id, {"state": state})


def _verified_request(request: object) -> dict[str, Any]:
    """Return what the user asked of a round, if it has the types that `round/start.py` stores. Raises ValueError."""
    if not isinstance(request, dict):
        raise ValueError("its request is not a table")
    kinds = {"problems": str | None, "limit": int | None, "evaluation_samples": int | None, "benchmarks": list | None}
    kinds |= {"evaluation_seed": int | None, "pairs_file": str | None, "pairs_sha256": str | None}
    for name, kind in kinds.items():
        if not isinstance(request.get(name), kind):
            raise ValueError(f"{name} of its request has the wrong type")
    if (request.get("pairs_file") is None) != (request.get("pairs_sha256") is None):
        raise ValueError("its request does not name a file of pairs with its hash")
    if not all(isinstance(name, str) for name in request.get("benchmarks") or ()):
        raise ValueError("benchmarks of its request are not names")
    return request


def now_utc() -> str:
    """Return the time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
