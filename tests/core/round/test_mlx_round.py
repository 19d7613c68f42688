"""A whole round on a folder of MLX weights, by the commands that a user of Apple Silicon types; here on the processor.

A tiny model that has learnt two programs samples, trains and is judged, although the engine and then the round are
killed; then its adapter is exported, asked, served and verified.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.problems.formats.own import record_of
from conself_local.store.store import Store
from tests.fakes.small_round import command, count_rows, kill_when, run_conself
from tests.fakes.talking_folder import PROBLEMS, QUESTION, write_talking_folder

pytestmark = [pytest.mark.round, pytest.mark.model, pytest.mark.timeout(600)]
pytest.importorskip("mlx.core")

SAMPLES = 2 * 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny model."""
    return write_talking_folder(tmp_path_factory.mktemp("models") / "Tiny-Instruct")


def _says(home: Path, *arguments: str) -> str:
    done = run_conself(home, *arguments)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def test_a_round_is_killed_continued_exported_asked_served_and_verified(folder: Path, tmp_path: Path) -> None:
    home, problems = tmp_path / "home", tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(record_of(p)) + "\n" for p in PROBLEMS))
    arguments = ["run", "--model", str(folder), "--problems", str(problems), "--seed", "3", "--slots", "4"]
    process = subprocess.Popen(command(home, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    samples = "select count(*) from samples"
    assert 0 < kill_when(process, home, samples, 4, "engine_server mlx") < SAMPLES
    assert 0 < kill_when(process, home, samples, 12, None) < SAMPLES
    process.communicate(timeout=60)
    report = _says(home, *arguments)
    assert "the weights of the folder as they are" in report and "verdict" in report
    _verify_round(home)
    _verify_exports(home, folder, tmp_path)
    answer = _says(home, "ask", QUESTION, "--model", str(folder), "--adapter", "1", "--max-tokens", "40")
    assert answer.startswith("```python\ndef f(n):")
    with _served(home, folder) as client:
        body = {"model": "conself", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 40, "top_p": 0}
        reply = client.post("/v1/chat/completions", json=body).json()
        assert reply["choices"][0]["message"]["content"].strip() == answer.strip()
    assert _says(home, "verify").strip() == "nothing differs"


def _verify_round(home: Path) -> None:
    asked = "select count(*) from (select 1 from samples group by problem_id, observation, number)"
    assert count_rows(home, "select count(*) from samples") == count_rows(home, asked) == SAMPLES
    with Store(home / "conself.db") as store:
        assert store.value("select state from rounds") == "done"
        assert store.value("select summary from stages where stage = 'engine'") == "mlx"
        assert store.value("select count(*) from pairs") > 0 and store.value("select count(*) from training_steps") > 0
        assert store.value("select count(distinct arm) from evaluation_samples") == 2
        row = store.adapter(1)
        assert row["form"] == "mlx" and Path(row["path"], "adapters.safetensors").is_file()


def _verify_exports(home: Path, folder: Path, tmp_path: Path) -> None:
    """Export every form; mlx-lm itself loads the adapter, and the fused folder is a model again."""
    from mlx_lm.utils import load

    said = {form: _says(home, "export", "1", "--as", form, "--to", str(tmp_path / form)) for form in ("mlx", "merged")}
    assert "--adapter-path" in said["mlx"] and "% of the change is kept" in said["merged"]
    assert load(str(folder), adapter_path=str(tmp_path / "mlx"))
    assert load_mlx_folder(tmp_path / "merged").sha256 != load_mlx_folder(folder).sha256


@contextmanager
def _served(home: Path, folder: Path) -> Iterator[httpx2.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["serve", "--model", str(folder), "--adapter", "1", "--port", str(port), "--slots", "2"]
    process = subprocess.Popen(command(home, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(600):
                assert process.poll() is None, process.communicate()
                try:
                    client.get("/v1/models")
                    break
                except httpx2.TransportError:
                    time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=60)
