"""Write the pairs of a round to a file that this program and other tools train on.

Pairs that the user excluded are left out. Not covered: the form of the file (`training/pairs_file.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.model_files.model import open_model
from conself_local.model_files.tokenizer_hash import tokenizer_hash
from conself_local.stages.train import parent_adapter
from conself_local.stages.train_pairs import training_of
from conself_local.store.model_changes import verify_unchanged
from conself_local.store.store import RoundInfo, Store
from conself_local.training.pairs_file import PairRecord, TokenIds, write_pairs

_USED = "q.round_id = ? and not q.excluded"
_LENGTHS = f"""select avg(json_array_length(c.token_ids)) as chosen, avg(json_array_length(r.token_ids)) as rejected
    from pairs q join samples c on c.id = q.chosen_id join samples r on r.id = q.rejected_id where {_USED}"""


@dataclass(frozen=True)
class ExportedPairs:
    """The round whose pairs were written, their number, and the lengths of their programs."""

    round_id: int
    pairs: int
    chosen_tokens: float
    """Mean number of tokens of the chosen programs, with the text around them that was sampled."""
    rejected_tokens: float
    """The same for the rejected ones."""


def export_pairs(store: Store, round_id: int | None, target: Path) -> ExportedPairs:
    """Write the pairs of a round, by default of the latest one, to the new file `target`.

    Raises ConselfError if there is no such round, if it has no pairs, if its model is missing or has changed (the file
    names the tokenizer of the token ids), or if something is at `target`.
    """
    latest = store.wanted_round(round_id, hint="start one with: conself pairs")
    if not store.value("select 1 from pairs where round_id = ? and not excluded", latest.id):
        raise ConselfError(
            f"round {latest.id} has no pairs that training would use",
            "run it until they are built (conself pairs), or name another round with --round N",
        )
    model = open_model(latest.model_path)
    verify_unchanged(model.path, model.sha256, latest.model_sha256, f"round {latest.id} began")
    parent = parent_adapter(latest)
    base = store.adapter(parent)["sha256"] if parent else None
    training = training_of(latest.settings, latest.seed, base)
    count = write_pairs(target, _records(store, latest, tokenizer_hash(model), training))
    lengths = store.row(_LENGTHS, latest.id)
    return ExportedPairs(latest.id, count, lengths["chosen"], lengths["rejected"])


def _records(store: Store, round_: RoundInfo, tokenizer: str, training: dict[str, Any]) -> Iterator[PairRecord]:
    sql = f"""select p.text as prompt, p.token_ids as prompt_ids, c.text as chosen, c.token_ids as chosen_ids,
             r.text as rejected, r.token_ids as rejected_ids, q.weight from pairs q join prompts p on p.id = q.prompt_id
             join samples c on c.id = q.chosen_id join samples r on r.id = q.rejected_id
             where {_USED} order by q.position"""
    for row in store.rows(sql, round_.id):
        ids = (tuple(json.loads(row[f"{name}_ids"])) for name in ("prompt", "chosen", "rejected"))
        yield PairRecord(
            prompt=row["prompt"],
            chosen=row["chosen"],
            rejected=row["rejected"],
            weight=row["weight"],
            ids=TokenIds(tokenizer, *ids),
            training=training,
        )
