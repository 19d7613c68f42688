"""Keep the user's answer to the one question of a best-of answer in the store.

Not covered: asking it, which the command line and the screens do.
"""

from __future__ import annotations

from conself_local.problems.literals import input_text
from conself_local.serving.verdict import Choice, OpenQuestion
from conself_local.store.store import Store
from conself_local.store.user_answers import UserAnswer, insert_user_answer


def keep_word(store: Store, text: str, question: OpenQuestion, choice: Choice, model_sha256: str) -> int:
    """Store the user's answer and return its id; `text` is what the user asked the model."""
    return insert_user_answer(
        store,
        UserAnswer(
            question=text,
            entry_point=question.name,
            input=input_text(question.arguments),
            codes=question.codes,
            outputs=question.outputs,
            choice=choice,
            model_sha256=model_sha256,
            prompt_token_ids=question.prompt_token_ids,
            token_ids=question.token_ids,
        ),
    )
