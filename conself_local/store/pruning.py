"""Remove from the store what nothing reads any more, and make its file smaller.

Two kinds of rows can go. Of an abandoned round: everything but its number, settings and problems, as if it had just
begun. Of a finished or abandoned round: the token ids of samples that are in no pair. Token ids are read by training
(`stages/train.py`), by the measurement of a merged file (`adapters/export.py`), both from pairs only, and by a round
that is still sampling (`round/run.py`). A home whose rounds pool their votes keeps them all. Their number is kept,
because screens and experiments show it.

Kept, because something reads it: all rows of a round that can be continued; of an abandoned round with an adapter or a
result; pairs that an imported adapter needs; token ids of prompts, which `conself verify` hashes; evaluation answers
with an address and their token ids, because later rounds use and score them instead of sampling them again.
Not covered: files (`maintenance/prune.py`), and the lock of the home, which the caller holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from conself_local.errors import ConselfError
from conself_local.store.store import IMPORTED, Store

PRUNED = "pruned"
"""Name in the table `stages` under which an abandoned round says what was removed from it."""
_IDS = "(select value from json_each(?1))"
_POOLED = """select o.id from rounds o join rounds p on p.model_sha256 = o.model_sha256
    where o.state = 'done' and p.state != 'abandoned' and json_extract(p.settings, '$.pairs.pool_rounds')"""
"""The finished rounds whose samples later rounds train on: a round on the same model pools votes (`pooling.py`)."""
_UNPAIRED = f"""tokens is null and json_array_length(token_ids) > 0
    and round_id in (select id from rounds where state != 'running')
    and id not in (select chosen_id from pairs union all select rejected_id from pairs)
    and round_id not in ({_POOLED})"""
_OWN_PROGRAMS = f"""select program_id from samples where round_id in {_IDS} and program_id is not null
    except select program_id from samples where round_id not in {_IDS}
    except select program_id from evaluation_samples"""
"""The programs that only the given rounds have sampled."""
_ROUND_BYTES = (
    f"select sum(length(text) + length(token_ids)) from samples where round_id in {_IDS}",
    f"select sum(length(text)) from observations where round_id in {_IDS}",
    f"select sum(length(code)) from programs where id in ({_OWN_PROGRAMS})",
    f"""select sum(length(outputs)) from behaviours where id in (
        select behaviour_id from executions where program_id in ({_OWN_PROGRAMS})
        except select behaviour_id from executions where program_id not in ({_OWN_PROGRAMS}))""",
)
_EMPTY_ROUNDS = (
    *(
        f"delete from {table} where round_id in {_IDS}"
        for table in (
            "sample_scores", "pairs", "metrics", "training_steps", "observations", "asked_inputs", "grown_inputs",
            "samples", "stages", "events",
        )
    ),
    f"delete from evaluation_samples where answer_id is null and round_id in {_IDS}",
    f"update round_problems set plain_prompt_id = null, grown = null where round_id in {_IDS}",
    """delete from executions where instr(limits, '/grown/')
        and substr(limits, instr(limits, '/grown/') + 7) in (select cast(value as text) from json_each(?1))""",
)  # fmt: skip
UNUSED_ROWS = (
    # the right program of a benchmark's problem was not sampled, and answers are judged by it
    """delete from programs where id not in (select program_id from samples where program_id is not null)
       and id not in (select program_id from evaluation_samples where program_id is not null)
       and not exists (select 1 from problems q where q.id = programs.problem_id and q.reference = programs.code)""",
    "delete from executions where program_id not in (select id from programs)",
    "delete from behaviours where id not in (select behaviour_id from executions)",
    """delete from prompts where id not in (select prompt_id from samples)
       and id not in (select prompt_id from pairs)
       and id not in (select plain_prompt_id from round_problems where plain_prompt_id is not null)
       and id not in (select prompt_id from evaluation_samples where prompt_id is not null)""",
    """delete from answer_scores where answer_id not in
       (select answer_id from evaluation_samples where answer_id is not null)""",
)


def removable_rounds(store: Store) -> list[int]:
    """Return the abandoned rounds that still have rows which nothing reads."""
    sql = """select r.id, exists (select 1 from pairs p where p.round_id = r.id) as has_pairs from rounds r
             where r.state = 'abandoned' and not exists (select 1 from adapters a where a.round_id = r.id)
             and not exists (select 1 from evaluations e where e.round_id = r.id)
             and (exists (select 1 from observations o where o.round_id = r.id)
                  or exists (select 1 from samples s where s.round_id = r.id)
                  or exists (select 1 from evaluation_samples v where v.round_id = r.id and v.answer_id is null))
             order by r.id"""
    rows = store.rows(sql)
    # an imported adapter is measured on the pairs of any round, so the last ones stay
    if store.value("select 1 from adapters where round_id = ?", IMPORTED):
        ids = json.dumps([row["id"] for row in rows])
        if not store.value("select 1 from pairs where round_id not in (select value from json_each(?))", ids):
            rows = [row for row in rows if not row["has_pairs"]]
    return [row["id"] for row in rows]


def rounds_bytes(store: Store, rounds: Sequence[int]) -> int:
    """Return about how many bytes the rows take that `empty_rounds` would remove."""
    return sum(int(store.value(sql, json.dumps(list(rounds))) or 0) for sql in _ROUND_BYTES)


def unpaired_token_bytes(store: Store, without: Sequence[int]) -> int:
    """Return about how many bytes the token ids take that `remove_token_ids` would remove, without some rounds."""
    sql = f"select coalesce(sum(length(token_ids)), 0) from samples where {_UNPAIRED} and round_id not in {_IDS}"
    return int(store.value(sql, json.dumps(list(without))))


def unused_bytes(store: Store) -> int:
    """Return how many bytes of the file hold nothing: rows were removed, and the file was not made smaller."""
    return int(store.value("pragma freelist_count")) * int(store.value("pragma page_size"))


def empty_rounds(store: Store, rounds: Sequence[int]) -> None:
    """Remove all that the rounds have made, in one transaction; they look as if they had just begun."""
    with checked_at_end(store):
        for sql in _EMPTY_ROUNDS:
            store.db.execute(sql, [json.dumps(list(rounds))])
        for sql in UNUSED_ROWS:
            store.db.execute(sql)
        for round_id in rounds:
            store.finish_stage(round_id, PRUNED, "the samples of this abandoned round were removed to free space")


@contextmanager
def checked_at_end(store: Store) -> Iterator[None]:
    """Make one transaction that removes rows, and check only at its end whether rows point to missing ones.

    Raises ConselfError then, and nothing is removed.
    """
    # with the checks on, each removed row would read whole tables for rows that point to it
    store.db.execute("pragma foreign_keys = off")
    try:
        with store.transaction():
            yield
            if store.rows("pragma foreign_key_check"):
                raise ConselfError(
                    "rows of the store point to rows that are missing, so it was left as it is",
                    "`conself verify` names the tables",
                )
    finally:
        store.db.execute("pragma foreign_keys = on")


def remove_token_ids(store: Store) -> None:
    """Remove the token ids of samples that no training needs, in one transaction; their number is kept."""
    with store.transaction():
        store.db.execute(
            f"update samples set tokens = json_array_length(token_ids), token_ids = '[]' where {_UNPAIRED}"
        )


def live_bytes(store: Store) -> int:
    """Return how many bytes the file will have after `make_file_smaller`."""
    return int(store.value("pragma page_count")) * int(store.value("pragma page_size")) - unused_bytes(store)


def write_back(store: Store) -> None:
    """Move what was written from the write-ahead log into the file, so that the log's space is free again."""
    store.rows("pragma wal_checkpoint(truncate)")


def make_file_smaller(store: Store) -> None:
    """Rewrite the database without unused space; whenever the process is killed, the old or the new one is there.

    SQLite writes a copy to the folder for temporary files, then to the write-ahead log, then over the old content.
    """
    write_back(store)
    store.db.execute("vacuum")
    write_back(store)
