"""Evaluation answers are sampled once in a home: a later round finds those of its base, also after a kill.

The ranking measure is scored once as well. The sandbox is real; the answers are written by the test.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.events import Event, Notice, ignore_events
from conself_local.hashes import file_sha256
from conself_local.model_files.mlx_adapter import MLX_ADAPTER_FILES
from conself_local.problems.problem import Problem
from conself_local.round.start import Request, open_round
from conself_local.round.verify import verify_store
from conself_local.sampling.sampler import SampleRequest
from conself_local.settings import LAPTOP, change_settings
from conself_local.stages.answers import answer_address, sampling_settings
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.evaluate import evaluate, sample_and_run
from conself_local.store.pruning import empty_rounds, removable_rounds
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Sandbox
from tests.fakes.scripted_sampler import ScriptedSampler

SETTINGS = change_settings(
    LAPTOP, {"evaluation.samples": 2, "sampling.answer_prefix": False, "evaluation.ranking_programs": 4}
)
PROBLEMS = [
    Problem(f"t/{name}", f"Return n {name} 2.", "function", ((0,), (3,)), "held-out", "f", "def f(n):", f"def f(n):\n    return n {sign} 2\n")
    for name, sign in (("times", "*"), ("plus", "+"))
]  # fmt: skip
BENCHMARK = Benchmark("held-out", PROBLEMS, 2)
ANSWERS = 2 * 3
"""Answers of one arm: two problems, a greedy answer and two samples each."""
SOURCE = "llama.cpp, q8"


def _write(request: SampleRequest) -> str:
    """Write n * 2 greedily; sampled, n * 2 or n * 0 + 5 as the seed says, and always n + 2 with an adapter."""
    body = "n + 2" if request.adapter else "n * 2" if request.temperature == 0 or request.seed % 2 else "n * 0 + 5"
    return f"```python\ndef f(n):\n    return {body}\n```"


def _make_sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield an empty store."""
    with Store(tmp_path / "conself.db") as store:
        yield store


def _start(store: Store, base_adapter_id: int | None = None, seed: int = 0) -> RoundInfo:
    latest = store.latest_round()
    return store.start_round(
        seed=seed,
        settings=SETTINGS,
        model_path=Path("m.gguf"),
        model_sha256="0" * 64,
        template_hash="t",
        base_adapter_id=base_adapter_id,
        versions={},
        request={"evaluation_seed": latest.request["evaluation_seed"] if latest else seed},
        problems=[],
    )


def _train(store: Store, round_: RoundInfo, folder: Path) -> Path:
    """Store an adapter file of the round, as if it had been trained."""
    path = folder / f"adapter-{round_.id}.gguf"
    path.write_text(f"weights of round {round_.id}")
    store.insert_adapter(
        {
            "name": f"round-{round_.id}",
            "round_id": round_.id,
            "parent_id": round_.base_adapter_id,
            "peft_path": str(folder),
            "path": str(path),
            "sha256": file_sha256(path),
        }
    )
    return path


def _evaluate(
    store: Store, round_: RoundInfo, sampler: ScriptedSampler, base: Path | None, adapter: Path, source: str = SOURCE
) -> list[str]:
    """Evaluate the round and return the notices."""
    events: list[Event] = []
    arms = {"base": base, "adapter": adapter}
    evaluate(store, round_, BENCHMARK, sampler, arms, _make_sandbox, events.append, source=source)
    return [event.text for event in events if isinstance(event, Notice)]


def _contents(store: Store, round_id: int, arm: str) -> list[dict[str, object]]:
    columns = "problem_id, number, text, token_ids, finish, tokens, program_id, correct, mean_nll, answer_id, seed"
    sql = f"select {columns} from evaluation_samples where round_id = ? and arm = ? order by problem_id, number"
    return store.rows(sql, round_id, arm)


def test_the_second_round_samples_only_its_new_adapter(store: Store, tmp_path: Path) -> None:
    first = _start(store)
    one, sampler = _train(store, first, tmp_path), ScriptedSampler(_write)
    assert _evaluate(store, first, sampler, None, one) == [] and len(sampler.sampled) == 2 * ANSWERS
    second = _start(store, base_adapter_id=1, seed=7)
    two, later = _train(store, second, tmp_path), ScriptedSampler(_write)
    notices = _evaluate(store, second, later, one, two)
    assert notices == ["held-out: 6 answers are known from another round and not sampled again"]
    assert len(later.sampled) == ANSWERS and all("/adapter/" in key for key in later.sampled)
    assert _contents(store, 2, "base") == _contents(store, 1, "adapter") != []
    third = _start(store, seed=8)  # the adapters were rejected, so it starts from the base model
    last = ScriptedSampler(_write)
    _evaluate(store, third, last, None, _train(store, third, tmp_path))
    assert len(last.sampled) == ANSWERS and _contents(store, 3, "base") == _contents(store, 1, "base")
    assert verify_store(store) == []


def test_a_kill_in_the_middle_loses_nothing_and_samples_nothing_twice(store: Store, tmp_path: Path) -> None:
    first = _start(store)
    one = _train(store, first, tmp_path)
    _evaluate(store, first, ScriptedSampler(_write), None, one)
    second = _start(store, base_adapter_id=1)
    two, undisturbed = _train(store, second, tmp_path), ScriptedSampler(_write)
    asked: list[str] = []
    scored: list[tuple[str, Path | None]] = []
    for fails_after in (0, 1, 2, 1, 2, 1, None):
        sampler = ScriptedSampler(_write, fails_after)
        try:
            _evaluate(store, second, sampler, one, two)
        except ConnectionError:
            assert fails_after is not None
        asked, scored = asked + sampler.sampled, scored + sampler.scored
    assert len(asked) == len(set(asked)) == ANSWERS and len(scored) == len(set(scored))
    disturbed = store.value("select result from evaluations where round_id = 2")
    for table in ("evaluations", "evaluation_samples"):
        store.db.execute(f"delete from {table} where round_id = 2")
    _evaluate(store, second, undisturbed, one, two)
    assert json.loads(store.value("select result from evaluations where round_id = 2")) == json.loads(disturbed)
    assert verify_store(store) == []


def test_an_answer_to_the_same_prompt_is_judged_by_the_inputs_of_its_own_problem(store: Store, tmp_path: Path) -> None:
    """Greedy answers to equal prompts have one address, whatever the problems are called."""
    first = _start(store)
    one, sampler = _train(store, first, tmp_path), ScriptedSampler(_write)
    _evaluate(store, first, sampler, None, one)
    times = dataclasses.replace(PROBLEMS[0], id="t/other", inputs=((1,),), reference="def f(n):\n    return 2\n")
    other, arms = Benchmark("validation", [times], 0), {"base": None, "adapter": one}
    evaluate(store, first, other, sampler, arms, _make_sandbox, ignore_events, source=SOURCE)
    assert len(sampler.sampled) == 2 * ANSWERS, "both greedy answers are known"
    sql = """select p.problem_id, v.correct from evaluation_samples v join programs p on p.id = v.program_id
             where v.benchmark = 'validation' and v.arm = 'base'"""
    assert store.rows(sql) == [{"problem_id": "t/other", "correct": 1}] and verify_store(store) == []


def test_another_engine_or_format_samples_again(store: Store, tmp_path: Path) -> None:
    first = _start(store)
    _evaluate(store, first, ScriptedSampler(_write), None, _train(store, first, tmp_path))
    second, sampler = _start(store), ScriptedSampler(_write)
    _evaluate(store, second, sampler, None, _train(store, second, tmp_path), source="llama.cpp, original")
    assert len(sampler.sampled) == 2 * ANSWERS


def test_everything_that_decides_an_answer_is_in_its_address() -> None:
    sampled, greedy = sampling_settings(SETTINGS, 0), sampling_settings(SETTINGS, -1)
    model, prompt = ("m", "t"), ("", (1, 2))
    base = answer_address(model, None, prompt, sampled, 5, SOURCE)
    others = [
        answer_address(("n", "t"), None, prompt, sampled, 5, SOURCE),
        answer_address(("m", "u"), None, prompt, sampled, 5, SOURCE),
        answer_address(model, "a", prompt, sampled, 5, SOURCE),
        answer_address(model, None, ("def", (1, 2)), sampled, 5, SOURCE),
        answer_address(model, None, ("", (1, 3)), sampled, 5, SOURCE),
        *(answer_address(model, None, prompt, {**sampled, name: 0.125}, 5, SOURCE) for name in sampled),
        answer_address(model, None, prompt, sampled, 6, SOURCE),
        answer_address(model, None, prompt, sampled, 5, "openvino, int8"),
        answer_address(model, None, prompt, greedy, 5, SOURCE),
    ]
    assert len({base, *others}) == 1 + len(others)
    again = answer_address(model, None, prompt, {**greedy, "top_p": 0.5}, 6, SOURCE)
    assert again == others[-1], "a greedy answer depends on neither seed nor nucleus"


def test_the_ranking_is_measured_on_the_answers_of_the_base(store: Store, tmp_path: Path) -> None:
    first = _start(store)
    one, sampler = _train(store, first, tmp_path), ScriptedSampler(_write)
    _evaluate(store, first, sampler, None, one)
    result = json.loads(store.value("select result from evaluations"))
    texts = {row["text"] for row in store.rows("select text from evaluation_samples where arm = 'base'")}
    assert len(texts) == 2, "the seeds of this test give right and wrong samples"
    # n * 2 is right for one problem only; it is 4 characters shorter than n * 0 + 5, and the adapter dislikes the zero
    assert set(result["ranking"]["by_problem"]) == {"t/times"}
    assert result["ranking"]["by_problem"]["t/times"] == [1.0, 1.0] and result["ranking"]["programs"] == 2
    assert len(sampler.scored) == 2 * 2
    assert verify_store(store) == []
    second, later = _start(store), ScriptedSampler(_write)
    _evaluate(store, second, later, None, _train(store, second, tmp_path))
    assert len(later.scored) == 2 and all(adapter is not None for _, adapter in later.scored)


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two evaluated rounds, in which nothing differs; the second began with the first's adapter."""
    folder = tmp_path_factory.mktemp("rounds")
    with Store(folder / "conself.db") as store:
        first = _start(store)
        one = _train(store, first, folder)
        _evaluate(store, first, ScriptedSampler(_write), None, one)
        second = _start(store, base_adapter_id=1)
        _evaluate(store, second, ScriptedSampler(_write), one, _train(store, second, folder))
        assert verify_store(store) == []
        store.rows("pragma wal_checkpoint(truncate)")
    return folder / "conself.db"


def test_an_adapter_that_is_a_folder_is_judged_and_ranked(store: Store, tmp_path: Path) -> None:
    """The adapter of a folder of MLX weights is a folder, and its hash was taken as that of a file."""
    folder = tmp_path / "mlx"
    folder.mkdir()
    for name in MLX_ADAPTER_FILES:
        (folder / name).write_text(name)
    _evaluate(store, _start(store), ScriptedSampler(_write), None, folder)
    assert "base" in json.loads(store.value("select result from evaluations"))["ranking"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("update evaluation_samples set source = 'other' where round_id = 1 and number = 0", "its address names"),
        ("update evaluation_samples set seed = seed + 1 where round_id = 2 and number = 1", "its address names"),
        ("update evaluation_samples set tokens = 1 where round_id = 1 and number = -1", "as many tokens"),
        ("update evaluation_samples set finish = 'length' where round_id = 2 and arm = 'base'", "of the same address"),
        ("update answer_scores set logp = logp - 100 where rowid = 1", "differs from what its samples give"),
        ("delete from answer_scores", "differs from what its samples give"),
    ],
)
def test_verify_finds_a_changed_answer(two_rounds: Path, tmp_path: Path, change: str, says: str) -> None:
    shutil.copy(two_rounds, tmp_path / "copy.db")
    with Store(tmp_path / "copy.db") as store:
        store.db.execute(change)
        differences = verify_store(store)
    assert differences and any(says in one for one in differences), differences


def test_pruning_keeps_the_answers_that_later_rounds_use(store: Store, tmp_path: Path) -> None:
    first = _start(store)
    arms: dict[str, Path | None] = {"base": None}
    sample_and_run(store, first, BENCHMARK, ScriptedSampler(_write), arms, _make_sandbox, ignore_events, source=SOURCE)
    store.insert_observations(1, "t/times", ["x"], 1)
    store.db.execute("update rounds set state = 'abandoned'")
    assert removable_rounds(store) == [1]
    empty_rounds(store, [1])
    assert removable_rounds(store) == [] and len(_contents(store, 1, "base")) == ANSWERS
    second, sampler = _start(store), ScriptedSampler(_write)
    _evaluate(store, second, sampler, None, _train(store, second, tmp_path))
    assert len(sampler.sampled) == ANSWERS and verify_store(store) == []


def test_rounds_of_a_home_share_the_seed_of_their_answers(store: Store) -> None:
    """Another `--seed` chooses other training samples; with other answers of the base, it would judge them again."""
    first, _, _ = open_round(store, Request(limit=2, seed=3, benchmarks=(), trains=False), _make_sandbox)
    second, _, _ = open_round(store, Request(limit=2, seed=4, benchmarks=(), new=True, trains=False), _make_sandbox)
    assert (first.request["evaluation_seed"], second.seed, second.request["evaluation_seed"]) == (3, 4, 3)
