"""Keep the samples of a round in one file, so that nobody needs to sample them again, and make a home from it.

    python -m tests.benchmarks.kept_samples HOME --to votes-mbpp.jsonl.gz     # of a home with one round
    python -m tests.benchmarks.kept_samples votes-mbpp.jsonl.gz --to HOME     # a new home with that round
    python -m tests.benchmarks.kept_samples votes-mbpp.jsonl.gz --to FOLDER --for EXPERIMENT.toml --model GGUF --problems FILE

Each line is one row of the store, `{"table": "samples", "id": ...}`: problems, prompts, programs with their code, samples
with their token ids, executions, behaviours with all outputs, and the base's answers to benchmarks. Scores and pairs
follow from these. Paths of the computer that sampled are left out: the model and the problems have the names of their
files. The benchmarks that read a home take such a file too. The round in a home that was made from it cannot be continued
by `conself run`, because the file does not hold the model. With `--for`, the samples become those that the arms of an
experiment share in its FOLDER, so `conself experiment` samples only what the file lacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import json
import operator
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.experiment.results import Arm
from conself_local.experiment.spec import Experiment, read_experiment
from conself_local.home import Home
from conself_local.round.engine import ENGINE
from conself_local.sampling.config import LLAMA_CPP
from conself_local.sampling.tuning import sampling_config
from conself_local.settings import SHARED_NAMES, Settings, get_value, settings_to_json
from conself_local.store.store import Store

TABLES = (
    "problems", "prompts", "rounds", "round_problems", "observations", "programs", "samples", "behaviours", "executions",
    "grown_inputs", "stages", "evaluation_samples",
)  # fmt: skip
"""The tables are in this order because each row refers only to rows before it."""
_KEPT_ROWS = {
    "stages": "where stage in ('engine', 'observe', 'sample', 'execute', 'grow', 'running copy', 'problems left out')",
    "evaluation_samples": "where arm = 'base'",
}


def main() -> None:
    """Write the file, or make the home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="home, or file of kept samples")
    parser.add_argument(
        "--to", type=Path, required=True, help="new file of kept samples, new home, or --folder of --for"
    )
    parser.add_argument("--for", dest="experiment", type=Path, help="experiment whose arms share the samples")
    parser.add_argument("--model", type=Path, help="model to use instead of the one that the experiment names")
    parser.add_argument("--problems", type=Path, help="problems to use instead of those that the experiment names")
    options = parser.parse_args()
    if options.experiment:
        given = {name: path for name in ("model", "problems") if (path := getattr(options, name))}
        experiment = dataclasses.replace(read_experiment(options.experiment), **given)
        print(*make_shared_homes(options.source, experiment, options.to), sep="\n")
    elif options.model or options.problems:
        parser.error("--model and --problems need --for")
    elif options.to.exists():
        parser.error(f"{options.to} exists already")
    elif options.source.is_file():
        make_home(options.source, options.to)
    else:
        write_samples(options.source, options.to)


def write_samples(home: Path, target: Path) -> None:
    """Write the round of a home to a new file; the same content gives the same bytes.

    Raises ConselfError if the home has several rounds, or one that began with an adapter.
    """
    with (
        open_copy(home) as store,
        target.open("wb") as packed,
        gzip.GzipFile("", "wb", 9, packed, mtime=0) as file,
    ):
        latest = store.latest_round()
        if latest is None or latest.id != 1 or latest.base_adapter_id is not None:
            raise ConselfError(f"{home} does not hold one round of a base model", "choose another home")
        for table in TABLES:
            for row in store.rows(f"select * from {table} {_KEPT_ROWS.get(table, '')} order by rowid"):
                file.write((json.dumps({"table": table} | _without_paths(table, row)) + "\n").encode())


def _without_paths(table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table != "rounds":
        return row
    request = json.loads(row["request"])
    for name in ("problems", "pairs_file"):
        if request.get(name):
            request[name] = Path(request[name]).name
    return row | {"model_path": Path(row["model_path"]).name, "request": json.dumps(request)}


def make_home(source: Path, target: Path) -> None:
    """Make a new home from a file of kept samples."""
    with Store(Home(target).database) as store, store.transaction():
        for table, rows in itertools.groupby(_rows(source), key=operator.itemgetter(0)):
            store.db.table(table).insert_all(row for _, row in rows)


def make_shared_homes(source: Path, experiment: Experiment, folder: Path) -> list[Path]:
    """Make the homes of the samples that arms of an experiment share in `folder` from a file of kept samples.

    If the file has no answers, they are sampled by what `conself tune` found on this computer, whatever sampled the
    rest. Of the problems only the name of their file is compared.
    Raises ConselfError if no arm shares samples that were made so, or if a home exists.
    """
    if not source.is_file():
        raise ConselfError(f"{source} is no file of kept samples", "write one from a home first, with --to FILE")
    with open_copy(source) as store:
        kept, answers = store.round(1), bool(store.value("select count(*) from evaluation_samples"))
    wanted, problems = _decisive(kept.settings, answers), experiment.problems
    arms = [arm for arm in experiment.arms if not arm.pairs_file and _decisive(arm.settings, answers) == wanted]
    found = {name: kept.request[name] for name in ("problems", "limit", "benchmarks")}
    asked = {
        "problems": problems.name if problems else None,
        "limit": experiment.limit,
        "benchmarks": list(experiment.benchmarks) if problems else found["benchmarks"],
    }
    is_of_model = kept.model_sha256 == experiment.inputs().model_sha256
    if not arms or found != asked or kept.seed not in experiment.seeds or not is_of_model:
        raise ConselfError(
            f"{source} was sampled with other settings, problems or benchmarks, another limit, model or seed than the "
            f"arms of {experiment.name}",
            "let `conself experiment` sample",
        )
    targets = {folder / experiment.shared_name(arm, kept.seed): arm for arm in reversed(arms)}
    for target in targets:
        if target.exists():
            raise ConselfError(f"{target} exists already", "choose another folder")
    for target, arm in targets.items():
        make_home(source, target)
        _give_to(experiment, arm, Home(target), with_answers=answers)
    return list(targets)


def _give_to(experiment: Experiment, arm: Arm, home: Home, *, with_answers: bool) -> None:
    """Let the round of a new home continue as one of the experiment."""
    model = experiment.model_file()
    problems = str(experiment.problems.resolve()) if experiment.problems else None
    with Store(home.database) as store:
        store.db.execute(
            "update rounds set state = 'running', model_path = ?, settings = ?, "
            "request = json_set(request, '$.problems', ?, '$.benchmarks', json(?))",
            [str(model.path), json.dumps(settings_to_json(arm.settings)), problems, json.dumps(experiment.benchmarks)],
        )
        engine = sampling_config(model, home.cache).engine
        if not with_answers and engine != LLAMA_CPP:
            store.finish_stage(1, ENGINE, engine)


def _decisive(settings: Settings, with_answers: bool) -> dict[str, Any]:
    """Return the settings that decide what a file of kept samples holds, with or without answers to benchmarks."""
    ignored = {"evaluation.ranking_programs"}
    if not settings.sampling.adaptive:
        ignored.add("sampling.adaptive_error")
    values = {name: get_value(settings, name) for name in SHARED_NAMES if name not in ignored}
    return {name: value for name, value in values.items() if with_answers or not name.startswith("evaluation.")}


def _rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (table, row), in the order of the file."""
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            table = row.pop("table")
            if table not in TABLES:
                raise ValueError(f"{source} holds a row of the table {table!r}, which is not kept")
            yield table, row


@contextmanager
def open_copy(source: Path) -> Iterator[Store]:
    """Open a copy of a home's store, or a store made from a file of kept samples; it is deleted at the end.

    Raises ConselfError if `source` is a folder that is no home.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        if source.is_file():
            make_home(source, home.path)
        else:
            database = Home(source, existing=True, writable=False).database
            with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(home.database)) as new:
                old.backup(new)
        with Store(home.database) as store:
            yield store


if __name__ == "__main__":
    main()
