"""Keep the user's answers to the one question of `conself ask --best-of`: their own word about outputs of programs.

They have a table of their own and are never mixed with what the consensus claims. Only the setting `pairs.user_weight`
lets them become training pairs. Not covered: the question (`serving/evidence.py`) and training (`stages/train.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from conself_local.foreign_files import refusing
from conself_local.store.store import Store, now_utc


@dataclass(frozen=True, kw_only=True)
class UserAnswer:
    """One answer: what was asked, the two programs that differed, and what the user decided."""

    question: str
    entry_point: str
    input: str
    """The literal of the arguments on which the programs differ."""
    codes: tuple[str, str]
    outputs: tuple[str, str]
    """What the programs `a` and `b` answered."""
    choice: Literal["a", "b", "neither"]
    model_sha256: str
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[tuple[int, ...], tuple[int, ...]]
    """The completions that hold the two programs."""


@dataclass(frozen=True)
class UserPair:
    """A chosen and a rejected completion of one prompt, as token ids of one model, by the user's word."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float


def insert_user_answer(store: Store, answer: UserAnswer) -> int:
    """Store an answer and return its id."""
    with store.transaction():
        answer_id = int(store.value("select coalesce(max(id), 0) + 1 from user_answers"))
        store.db.table("user_answers").insert(
            {
                "id": answer_id,
                "question": answer.question,
                "entry_point": answer.entry_point,
                "input": answer.input,
                "code_a": answer.codes[0],
                "code_b": answer.codes[1],
                "output_a": answer.outputs[0],
                "output_b": answer.outputs[1],
                "choice": answer.choice,
                "model_sha256": answer.model_sha256,
                "prompt_token_ids": json.dumps(answer.prompt_token_ids),
                "token_ids_a": json.dumps(answer.token_ids[0]),
                "token_ids_b": json.dumps(answer.token_ids[1]),
                "created_at_utc": now_utc(),
            }
        )
    return answer_id


def load_user_answers(store: Store) -> list[UserAnswer]:
    """Return all answers, the oldest first. Raises ConselfError if one is damaged."""
    found = []
    for row in store.rows("select * from user_answers order by id"):
        with refusing(f"the stored answer {row['id']} is damaged", "use another home with --home DIR"):
            found.append(
                UserAnswer(
                    question=row["question"],
                    entry_point=row["entry_point"],
                    input=row["input"],
                    codes=(row["code_a"], row["code_b"]),
                    outputs=(row["output_a"], row["output_b"]),
                    choice=row["choice"],
                    model_sha256=row["model_sha256"],
                    prompt_token_ids=_token_ids(row["prompt_token_ids"]),
                    token_ids=(_token_ids(row["token_ids_a"]), _token_ids(row["token_ids_b"])),
                )
            )
    return found


def user_pairs(answers: Sequence[UserAnswer], model_sha256: str, weight: float) -> list[UserPair]:
    """Return one pair per answer that chose between two programs of this model; none if `weight` is 0.

    Token ids mean something to the model only that sampled them. `neither` gives no pair.
    """
    pairs = []
    for answer in answers:
        if weight > 0 and answer.model_sha256 == model_sha256 and answer.choice != "neither":
            a, b = answer.token_ids
            chosen, rejected = (a, b) if answer.choice == "a" else (b, a)
            pairs.append(UserPair(answer.prompt_token_ids, chosen, rejected, weight))
    return pairs


def _token_ids(text: str) -> tuple[int, ...]:
    """Return stored token ids. Raises ValueError if they are none."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(type(one) is int for one in found):
        raise ValueError("token ids must be a list of whole numbers")
    return tuple(found)
