"""Write the prompts of a round: for observations, for a program with or without an observation, for test inputs.

An observation is a key point, a constraint, a pitfall or a strategy, never code. The answer to a program prompt is one
```python block. The *plain* prompt, without an observation, is also the prompt of the training pairs. The chat template
is not applied here (`chat_template.py`). Source: section 1 of the method (ConSelf, arXiv 2603.29292).
"""

from __future__ import annotations

from collections.abc import Sequence

from conself_local.problems.problem import Problem
from conself_local.sampling.sampler import ChatMessage


def observation_messages(problem: Problem, wanted: int) -> list[ChatMessage]:
    """Return the prompt for at least `wanted` observations, each in the form `Observation 1:` newline text."""
    form = "\n".join(f"Observation {i}:\n(one or two sentences)" for i in range(1, wanted + 1))
    return [
        ChatMessage(
            "user",
            f"Here is a programming problem.\n\n{problem.statement}\n\n"
            f"Do not write code. Write at least {wanted} short observations that help to solve it: a key point, "
            f"a constraint, a pitfall or a strategy. Use exactly this form:\n\n{form}",
        )
    ]


def program_messages(problem: Problem, observation: str | None = None) -> list[ChatMessage]:
    """Return the prompt for one program; without an observation it is the plain prompt."""
    parts = [problem.statement]
    if observation:
        parts.append(f"Keep this in mind: {observation}")
    if problem.kind == "stdin":
        parts.append("The program reads from standard input (stdin) and prints to standard output (stdout).")
    elif problem.starter_code:
        parts.append(f"Start from this code:\n```python\n{problem.starter_code}\n```")
    else:
        parts.append(f"The function must be named `{problem.entry_point}`.")
    parts.append("Answer with one ```python block that holds the whole program and nothing else.")
    return [ChatMessage("user", "\n\n".join(parts))]


def input_messages(problem: Problem, wanted: int) -> list[ChatMessage]:
    """Return the prompt for `wanted` calls with other arguments, one per line; up to three given calls are examples."""
    name = problem.entry_point.rpartition(".")[2]
    return call_messages(problem.statement, name, [i for i in problem.inputs if isinstance(i, tuple)], wanted)


def call_messages(statement: str, name: str, given: Sequence[tuple[object, ...]], wanted: int) -> list[ChatMessage]:
    """Return the prompt for `wanted` calls of the function `name`, one per line; up to three given ones are shown."""
    if not given:
        return [
            ChatMessage(
                "user",
                f"Here is a programming problem.\n\n{statement}\n\nWrite {wanted} calls of the function `{name}` "
                "that test usual cases and edge cases, one on each line, with literal arguments. Write only the calls.",
            )
        ]
    calls = [f"{name}({', '.join(map(repr, i))})" for i in given[:3]]
    return [
        ChatMessage(
            "user",
            f"Here is a programming problem.\n\n{statement}\n\nThese are calls that test a solution:\n"
            + "\n".join(calls)
            + f"\n\nWrite {wanted} more calls that test other cases and edge cases, one on each line, "
            "with literal arguments. Write only the calls.",
        )
    ]


def answer_prefix(problem: Problem) -> str:
    """Return the beginning of the answer that the `laptop` settings give to the model: the fence and the starter code.

    It ends without a newline, so that the model samples the newline and the indent in its own tokens.
    """
    if problem.kind == "stdin" or not problem.starter_code:
        return "```python\n"
    return f"```python\n{problem.starter_code}"
