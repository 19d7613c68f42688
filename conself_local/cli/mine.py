"""Define the verbs about the user's own questions, which train later rounds: list, show, edit, leave out, forget.

The verbs parse options and print; `store/kept_questions.py` and `round/own_questions.py` do the work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conself_local.cli.options import json_option, open_store, sandbox_maker
from conself_local.cli.output import confirm, echo
from conself_local.errors import ConselfError

if TYPE_CHECKING:
    from conself_local.home import Home
    from conself_local.round.own_questions import OwnQuestion
    from conself_local.store.forgetting import Traces
    from conself_local.store.kept_questions import AnsweredQuestion, KeptQuestion, Votes
    from conself_local.store.store import Store

_EDITORS = ("VISUAL", "EDITOR")
_EMPTY = "no question is kept yet: `conself ask --best-of 16 QUESTION` keeps one"
_HEAD = "# Your question {number}. Lines that begin with # are ignored. Save and close to keep the change.\n"


def keep_answered(ctx: click.Context, answered: AnsweredQuestion | None) -> None:
    """Keep an answered question as a training problem, and say so; None is no question that can train."""
    from conself_local.store.kept_questions import keep_question

    if answered is None:
        return
    with open_store(ctx) as (_, store):
        number = keep_question(store, answered)
    if number is not None:
        echo(f"kept in this home as your question {number}; `conself problems mine` shows what would train", err=True)


@click.command()
@click.option("--show", "number_to_show", type=int, metavar="N", help="Show one question with its problem and votes.")
@click.option(
    "--edit", "number_to_edit", type=int, metavar="N", help="Edit the problem of a question in $VISUAL or $EDITOR."
)
@click.option("--leave-out", "left_out", type=int, metavar="N", multiple=True, help="Do not train on it; repeatable.")
@click.option("--take", "taken", type=int, metavar="N", multiple=True, help="Train on it again; repeatable.")
@json_option
@click.pass_context
def mine(
    ctx: click.Context,
    number_to_show: int | None,
    number_to_edit: int | None,
    left_out: tuple[int, ...],
    taken: tuple[int, ...],
    as_json: bool,
) -> None:
    """List the questions that you asked: they are training problems of `conself run --problems mine`.

    A line shows the number, the inputs, the votes, the date, the statement's first line, and why a question does not
    train: it is left out, repeats another one, or is in a benchmark.
    """
    from conself_local.round.own_questions import compare_questions
    from conself_local.store.kept_questions import load_question, load_questions, set_taken

    with open_store(ctx, existing=True) as (home, store):
        for number in left_out:
            set_taken(store, number, False)
        for number in taken:
            set_taken(store, number, True)
        if number_to_edit is not None:
            _edit(ctx, home, store, number_to_edit)
        if number_to_show is not None:
            _show(load_question(store, number_to_show), as_json)
            return
        if number_to_edit is None:
            _list(compare_questions(load_questions(store)), as_json)


def _list(questions: list[OwnQuestion], as_json: bool) -> None:
    if as_json:
        echo(json.dumps([_values(one.kept) | {"excluded": one.exclusion_reason} for one in questions], indent=2))
        return
    for one in questions:
        kept = one.kept
        state = f"  [{one.exclusion_reason}]" if one.exclusion_reason else ""
        line = kept.problem.statement.splitlines()[0][:60]
        echo(
            f"{kept.number:>3}  {len(kept.problem.inputs):>2} inputs  {_votes_text(kept.votes):<16} "
            f"{kept.created_at_utc[:10]}  {line}{state}"
        )
    if not questions:
        echo(_EMPTY, err=True)


def _votes_text(votes: Votes) -> str:
    return f"{votes.agree} of {votes.sampled} agree" if votes.sampled else "not compared"


def _values(kept: KeptQuestion) -> dict[str, Any]:
    from conself_local.problems.formats.own import record_of

    return {
        "number": kept.number,
        "question": kept.question,
        "problem": record_of(kept.problem),
        "votes": dataclasses.asdict(kept.votes),
        "taken": kept.is_taken,
        "edited": kept.is_edited,
        "created_at_utc": kept.created_at_utc,
    }


def _show(kept: KeptQuestion, as_json: bool) -> None:
    from conself_local.problems.formats.by_hand import text_of

    if as_json:
        echo(json.dumps(_values(kept), indent=2))
        return
    groups = f"; groups of equal behaviour: {', '.join(map(str, kept.votes.groups))}" if kept.votes.groups else ""
    state = "" if kept.is_taken else "; left out by you"
    echo(f"question {kept.number} of {kept.created_at_utc}, {'edited' if kept.is_edited else 'as you asked it'}{state}")
    echo(f"votes: {_votes_text(kept.votes)}{groups}")
    echo(f"\n{kept.question.rstrip()}\n")
    echo(text_of(kept.problem), nl=False)


def _edit(ctx: click.Context, home: Home, store: Store, number: int) -> None:
    """Let the user edit a problem. The file of an edit that cannot be used stays, and the next edit opens it."""
    from conself_local.maintenance.forget import edited_file
    from conself_local.new_files import create
    from conself_local.problems.formats.by_hand import text_of
    from conself_local.round.own_questions import read_edited
    from conself_local.store.kept_questions import change_problem, load_question

    kept, path = load_question(store, number), edited_file(home, number)
    if not path.is_file() or path.is_symlink():
        with os.fdopen(create(path), "w", encoding="utf-8") as file:
            file.write(_HEAD.format(number=number) + text_of(kept.problem))
    _open_editor(path)
    problem = read_edited(path, kept.problem, sandbox_maker(ctx, 1))
    if problem == kept.problem:
        echo(f"question {number} was not changed", err=True)
    else:
        change_problem(store, number, problem)
        echo(f"question {number} is changed; later rounds train on the new problem", err=True)
    path.unlink()


def _open_editor(path: Path) -> None:
    """Wait until the user's editor has ended. Raises ConselfError if it cannot be started or fails."""
    editor = next((os.environ[name] for name in _EDITORS if os.environ.get(name, "").strip()), "vi")
    hint = "set EDITOR to the command of your editor, as in EDITOR=nano"
    try:
        done = subprocess.run([*shlex.split(editor), str(path)], check=False)
    except (OSError, ValueError) as error:
        raise ConselfError(f"the editor {editor} cannot be started: {error}", hint) from error
    if done.returncode:
        raise ConselfError(f"the editor {editor} ended with status {done.returncode}, so nothing was changed", hint)


@click.command()
@click.argument("switch", type=click.Choice(["on", "off"]), required=False)
@click.pass_context
def keep(ctx: click.Context, switch: str | None) -> None:
    """Turn the keeping of your questions on or off; without an argument, say which it is.

    Kept questions stay in the home and never leave this computer; `conself forget` deletes them.
    """
    from conself_local.store.kept_questions import keeps_questions, set_keeping

    with open_store(ctx) as (_, store):
        if switch:
            set_keeping(store, switch == "on")
        echo("your questions are kept" if keeps_questions(store) else "your questions are not kept")


@click.command()
@click.argument("number", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="Forget all questions, and all your answers to questions.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def forget(ctx: click.Context, number: int | None, everything: bool, yes: bool, as_json: bool) -> None:
    """Delete a question of yours from this home: its inputs, its votes, your word, and what rounds made of it.

    NUMBER is the one that `conself problems mine` shows. The verb names the adapters that were trained on the question:
    their weights cannot be cleaned. Backups and homes of experiments are not touched.
    """
    from conself_local.maintenance.forget import forget_questions
    from conself_local.store.forgetting import find_traces

    if (number is None) != everything:
        raise ConselfError("name one question, or --all of them", "`conself problems mine` lists your questions")
    if not yes and (as_json or not sys.stdin.isatty()):
        raise ConselfError("nobody can be asked before questions are deleted", "add --yes")
    with open_store(ctx, existing=True) as (home, store), home.lock():
        traces = find_traces(store, number)
        if not as_json:
            _print_traces(traces)
        if yes or confirm("delete them?"):
            forget_questions(store, home, traces)
            if as_json:
                echo(json.dumps(_traces_values(traces), indent=2))
            else:
                echo("deleted")


def _print_traces(traces: Traces) -> None:
    echo(
        f"{len(traces.numbers)} questions, {len(traces.words)} answers of yours, {len(traces.problems)} problems in "
        f"{len(traces.rounds)} rounds"
    )
    for row in traces.adapters:
        echo(
            f"adapter {row['id']} ({row['name']}, {row['state']}) was trained on what is deleted, or from such an "
            "adapter; its weights stay as they are until you delete it"
        )
    if not traces.adapters:
        echo("no adapter of this home was trained on them")


def _traces_values(traces: Traces) -> dict[str, Any]:
    adapters = [{name: row[name] for name in ("id", "name", "state", "round_id")} for row in traces.adapters]
    return {"questions": traces.numbers, "answers": len(traces.words), "rounds": traces.rounds, "adapters": adapters}
