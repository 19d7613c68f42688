"""The one store: every stage reads here what is pending and writes here what it made, item by item.

Covered: transactions, foreign keys, a busy time-out for readers beside a running round. Not covered: what the
rows mean (`stages/`), checking them (`verify.py`), tables for people (`reports.py`).
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.hashes import behaviour_id, file_sha256, program_id, prompt_id
from conself_local.problems.literals import input_text, parse_input
from conself_local.problems.problem import Problem
from conself_local.settings import Settings, settings_from_json, settings_to_json
from conself_local.store.migrations import migrations

BUSY_SECONDS = 30.0
Row = dict[str, Any]


IMPORTED = 0
"""The round of an adapter that no round of this home made."""


@dataclasses.dataclass(frozen=True)
class RoundInfo:
    id: int
    seed: int
    settings: Settings
    model_path: Path
    model_sha256: str
    base_adapter_id: int | None
    request: dict[str, Any]
    """What the user asked for: limit, problems, benchmarks."""
    state: str
    created_at_utc: str


class Store:
    """A context manager over one SQLite file."""

    def __init__(self, path: Path) -> None:
        try:
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
            self.db = Database(connection)
            self.db.execute("pragma foreign_keys = on")
            self.db.enable_wal()
            self.db.execute("pragma synchronous = normal")
            migrations.apply(self.db)
        except sqlite3.DatabaseError as error:
            raise ConselfError(
                f"the store {path} cannot be opened: {error}",
                "check the disk and the permissions, or use another --home",
            ) from error

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        cursor = self.db.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def value(self, sql: str, *parameters: object) -> Any:
        """The first column of the first row, or None."""
        row = self.db.execute(sql, list(parameters)).fetchone()
        return row[0] if row else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.db.atomic():
            yield

    # -- problems -------------------------------------------------------------------------------------------

    def ensure_problems(self, problems: Iterable[Problem]) -> None:
        """Store the problems that are new. Raises ConselfError where an id is taken by another content."""
        known = {row["id"]: row["content_hash"] for row in self.rows("select id, content_hash from problems")}
        with self.transaction():
            for problem in problems:
                if problem.id in known:
                    if known[problem.id] != problem.content_hash():
                        raise ConselfError(
                            f"the problem {problem.id} has changed since it was stored",
                            "give it a new id, or use another --home",
                        )
                    continue
                row = dataclasses.asdict(problem) | {"content_hash": problem.content_hash()}
                row["inputs"] = json.dumps([input_text(i) for i in problem.inputs])
                self.db.table("problems").insert(row)

    def problem(self, problem_id: str) -> Problem:
        return self._problem(self.rows("select * from problems where id = ?", problem_id)[0])

    def round_problems(self, round_id: int) -> list[Problem]:
        sql = "select p.* from problems p join round_problems r on r.problem_id = p.id where r.round_id = ? order by position"
        return [self._problem(row) for row in self.rows(sql, round_id)]

    @staticmethod
    def _problem(row: Row) -> Problem:
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
        found = self.rows("select * from rounds where id = ?", round_id)
        if not found:
            raise ConselfError(f"there is no round {round_id}", "`conself status` lists the rounds of this home")
        row = found[0]
        return RoundInfo(
            row["id"],
            row["seed"],
            settings_from_json(json.loads(row["settings"])),
            Path(row["model_path"]),
            row["model_sha256"],
            row["base_adapter_id"],
            json.loads(row["request"]),
            row["state"],
            row["created_at_utc"],
        )

    def latest_round(self) -> RoundInfo | None:
        round_id = self.value("select max(id) from rounds")
        return self.round(round_id) if round_id else None

    def finish_round(self, round_id: int) -> None:
        self.db.table("rounds").update(round_id, {"state": "done"})

    def stage_summary(self, round_id: int, stage: str) -> str | None:
        summary: str | None = self.value("select summary from stages where round_id = ? and stage = ?", round_id, stage)
        return summary

    def finish_stage(self, round_id: int, stage: str, summary: str) -> None:
        self.db.table("stages").upsert(
            {"round_id": round_id, "stage": stage, "summary": summary}, pk=("round_id", "stage")
        )

    # -- sampling -------------------------------------------------------------------------------------------

    def ensure_prompt(self, text: str, token_ids: Sequence[int]) -> str:
        key = prompt_id(text, token_ids)
        self.db.table("prompts").insert(
            {"id": key, "text": text, "token_ids": json.dumps(list(token_ids))}, ignore=True
        )
        return key

    def prompt_token_ids(self, key: str) -> tuple[int, ...]:
        return tuple(json.loads(self.value("select token_ids from prompts where id = ?", key)))

    def set_plain_prompt(self, round_id: int, problem_id: str, key: str) -> None:
        self.db.table("round_problems").update((round_id, problem_id), {"plain_prompt_id": key})

    def insert_observations(self, round_id: int, problem_id: str, texts: Sequence[str | None], tries: int) -> None:
        """All observations of a problem at once; None stands for a sample from the plain prompt."""
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
        key = program_id(problem.content_hash(), code)
        self.db.table("programs").insert({"id": key, "problem_id": problem.id, "code": code}, ignore=True)
        return key

    def insert_sample(self, row: Row) -> None:
        self.db.table("samples").insert(row)

    # -- executions -----------------------------------------------------------------------------------------

    def insert_execution(self, row: Row, outputs: Sequence[tuple[str, str | None, str]]) -> None:
        """`row` without the behaviour; `outputs`: (status, canonical text, detail) an input."""
        with self.transaction():
            key = behaviour_id(outputs)
            self.db.table("behaviours").insert({"id": key, "outputs": json.dumps(outputs)}, ignore=True)
            self.db.table("executions").insert({**row, "behaviour_id": key})

    def pending_programs(self, program_ids_sql: str, limits: str, *parameters: object) -> list[Row]:
        """Programs of `program_ids_sql` that were not yet run under these limits."""
        sql = f"""select p.id, p.problem_id, p.code from programs p where p.id in ({program_ids_sql})
                  and not exists (select 1 from executions e where e.program_id = p.id and e.limits = ?) order by p.rowid"""
        return self.rows(sql, *parameters, limits)

    # -- adapters -------------------------------------------------------------------------------------------

    def insert_adapter(self, row: Row) -> int:
        with self.transaction():
            adapter_id = int(self.value("select coalesce(max(id), 0) + 1 from adapters"))
            self.db.table("adapters").insert(
                {"id": adapter_id, "state": "candidate", "created_at_utc": now_utc(), **row}
            )
        return adapter_id

    def adapter(self, adapter_id: int) -> Row:
        found = self.rows("select * from adapters where id = ?", adapter_id)
        if not found:
            raise ConselfError(f"there is no adapter {adapter_id}", "`conself adapters` lists them")
        return found[0]

    def latest_accepted(self, model_sha256: str) -> int | None:
        """The adapter that the next round on this model begins with, or None: the base model."""
        sql = "select id from adapters where state = 'accepted' and model_sha256 = ? order by id desc limit 1"
        adapter: int | None = self.value(sql, model_sha256)
        return adapter

    def adapter_file(self, adapter_id: int | None) -> Path | None:
        """Its GGUF file, the sha256 checked: a changed file is not what was judged. None for the base model."""
        if adapter_id is None:
            return None
        row = self.adapter(adapter_id)
        path = Path(row["gguf_path"])
        if not path.is_file() or file_sha256(path) != row["gguf_sha256"]:
            raise ConselfError(
                f"the adapter file {path} is missing or has changed",
                "put it back, or start from the base model with --from-base",
            )
        return path

    def exclude_pair(self, pair_id: str, excluded: bool) -> None:
        """Kept by its key: a pair that is built again stays excluded, and training leaves it out."""
        self.db.table("pairs").update(pair_id, {"excluded": excluded})

    def rename_adapter(self, adapter_id: int, name: str) -> None:
        """Raises ConselfError for a name that is empty, long or taken."""
        if not 0 < len(name.strip()) <= 80:
            raise ConselfError("a name has 1 to 80 characters", "give another")
        if self.value("select 1 from adapters where name = ? and id != ?", name.strip(), adapter_id):
            raise ConselfError(f"another adapter is called {name.strip()}", "give another name")
        self.db.table("adapters").update(adapter_id, {"name": name.strip()})

    def delete_adapter(self, adapter_id: int) -> list[Path]:
        """Forget it; returns its files, for the caller to delete. Raises ConselfError where a round or an adapter came from it."""
        row = self.adapter(adapter_id)
        if self.value("select 1 from adapters where parent_id = ?", adapter_id) or self.value(
            "select 1 from rounds where base_adapter_id = ?", adapter_id
        ):
            raise ConselfError(
                f"adapter {adapter_id} is what a later round began with", "reject it instead: it is not used then"
            )
        self.db.table("adapters").delete(adapter_id)
        return [Path(row[name]) for name in ("peft_path", "gguf_path") if row[name]]

    def set_adapter_state(self, adapter_id: int, state: str) -> None:
        self.db.table("adapters").update(adapter_id, {"state": state})


def now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
