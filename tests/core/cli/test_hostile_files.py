"""Hostile files end a command in time and memory with one clear line and exit code 2, or are left out of a scan.

Every input runs through the real command. `_refused` holds what must be true of each: exit code 2, at most 10 s and
1 GB, one line and a hint, no traceback, no control character.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from conself_local.adapters.formats import read_adapter, write_peft
from conself_local.adapters.importing import import_adapter
from conself_local.errors import ConselfError
from conself_local.experiment.results import SeedResult, append_result, load_results
from conself_local.experiment.spec import read_experiment
from conself_local.home import Home
from conself_local.sampling.tuning import _tuning_path, load_tuning
from conself_local.store.identity import APPLICATION_ID
from conself_local.store.store import Store
from tests.fakes.random_adapter import random_adapter
from tests.fakes.small_round import command
from tests.fakes.tiny_model import TEMPLATE, write_tiny_model

pytestmark = pytest.mark.round
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MOST_SECONDS, MOST_BYTES = 10.0, 10**9
REAL_STORE = Path(__file__).parents[2] / "tui" / "real_round.db"
OWN = {
    "id": "a", "split": "train", "kind": "function", "entry_point": "f", "starter_code": "def f(n):",
    "statement": "Add one to the number.", "inputs": ["(1,)", "(2,)", "(3,)"],
}  # fmt: skip
Make = Callable[[Path], Any]
_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
sys.stderr.write(f"peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}")
sys.exit(code if code >= 0 else 128 - code)
"""
"""Runs the command and adds its peak memory in KiB to standard error. A process counts its parent's memory as its own
until it has begun another program, so the parent must be small, which the process of the tests is not."""


def _run(*arguments: str, prefix: tuple[str, ...] = (), **environment: str) -> tuple[int, str, str]:
    """Run a command line and check time, memory and output; return (exit code, standard output, standard error)."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [*prefix, sys.executable, "-I", "-S", "-c", _MEASURE, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    said, _, kib = err.decode().rpartition("peak ")
    peak = int(kib) * 1024
    assert time.monotonic() - begun < MOST_SECONDS, said
    assert peak < MOST_BYTES, f"{peak >> 20} MiB"
    texts = out.decode(), said
    assert "Traceback" not in texts[1] and not CONTROL.search("".join(texts)), texts
    return process.returncode, *texts


def _refused(*arguments: str, says: str = "", **options: Any) -> None:
    code, _, err = _run(*arguments, **options)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and 1 <= len(lines) <= 2 and lines[0].startswith("conself: "), (code, err)
    assert says in err, err


def _conself(home: Path, *arguments: str) -> list[str]:
    return command(home, *arguments)


# -- chat templates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ 10**(10**9) }}",
        "{{ 'x' * 10**10 }}",
        "{{ ('x' * 10**7).replace('x', 'y' * 10**4) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
        "{{ raise_exception('\x1b]52;c;ZXZpbA==\x07') }}",
        "{% no_such_tag %}",
        pytest.param("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", id="deep"),
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        pytest.param("{# " + "x" * 300_000 + " #}", id="long"),
    ],
)
def test_a_hostile_template_is_refused_in_time(template: str, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf", template=template)
    _refused(*_conself(tmp_path / "h", "ask", "--model", str(model.path), "hi"), says="chat template")


def test_a_list_of_models_tells_what_is_wrong_with_a_template(tmp_path: Path) -> None:
    folder = tmp_path / ".lmstudio" / "models"
    folder.mkdir(parents=True)
    write_tiny_model(folder / "bad.gguf", template="{% no_such_tag %}")
    write_tiny_model(folder / "good.gguf", template=TEMPLATE)
    (folder / "nested.gguf").write_bytes(_nested_gguf())
    os.mkfifo(folder / "pipe.gguf")
    manifests = tmp_path / ".ollama" / "models" / "manifests" / "r" / "o" / "m"
    manifests.mkdir(parents=True)
    (manifests / "deep").write_text("[" * 100_000)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "x" * 5000}
    (manifests / "long").write_text(json.dumps({"layers": [layer]}))
    code, out, _ = _run(*_conself(tmp_path / "h", "models"), HOME=str(tmp_path))
    assert code == 0 and "cannot be used: the model's chat template cannot be rendered" in out, out
    assert "good" in out and "trainable in at least" in out and "nested" in out and "pipe" not in out


# -- files that are no files --------------------------------------------------------------------------------


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _zeros(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def _socket(path: Path) -> Path:
    # the name of a socket must be short; the folder is left again, because commands of other tests run in it
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


VERBS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("p.jsonl", ("problems", "list")),
    ("p.jsonl.gz", ("problems", "list")),
    ("e.toml", ("experiment",)),
    ("m.gguf", ("ask", "hi", "--model")),
    ("a.gguf", ("import-adapter",)),
    ("code.py", ("harvest", "--yes", "--to", "out.jsonl")),
)


@pytest.mark.parametrize(
    ("make", "name", "verb"),
    [(make, *verb) for verb in VERBS for make in (_pipe, _zeros)] + [(make, *VERBS[0]) for make in (_socket, _folder)],
)
def test_what_is_no_regular_file_is_refused(make: Make, name: str, verb: tuple[str, ...], tmp_path: Path) -> None:
    _refused(*_conself(tmp_path / "h", *verb, str(make(tmp_path / name))))


@pytest.mark.parametrize("make", [_pipe, _zeros])
def test_a_part_of_a_folder_that_is_no_regular_file_is_refused(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    make(folder / "adapter_config.json")
    _refused(*_conself(tmp_path / "h", "import-adapter", str(folder)))
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "lora_alpha": 8}')
    make(folder / "adapter_model.safetensors")
    _refused(*_conself(tmp_path / "h", "import-adapter", str(folder)))


# -- what parsers raise -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("p.jsonl", "[" * 90_000, id="deep JSON"),
        pytest.param("p.jsonl", '{"id": ' + "9" * 20_000 + "}", id="a long number"),
        ("p.jsonl", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
        ("p.jsonl", '{"task_id": {}, "prompt": 1, "canonical_solution": [], "test": 2, "entry_point": null}'),
        ("p.jsonl", json.dumps(OWN | {"statement": ["x"]})),
        ("p.jsonl", json.dumps(OWN | {"id": "a\x1b[2J"})),
        ("p.jsonl", json.dumps(OWN | {"statement": "half \ud800"})),
        ("p.jsonl", json.dumps(OWN | {"starter_code": 5})),
        ("p.jsonl", json.dumps(OWN | {"origin": []})),
        ("p.jsonl", json.dumps(OWN | {"licence": {}})),
        ("p.jsonl", '{"question": 1, "input_output": "[[[["}'),
        ("p.jsonl", '{"task_id": "x", "code": 7, "test_list": 3, "text": ""}'),
        pytest.param("p.toml", "x = " + "[" * 90_000, id="deep TOML"),
        ("p.toml", "[[problem]]\nstatement = 2020-01-01\ninputs = []"),
        ("p.toml", "problem = 1"),
        ("e.toml", "seeds = 5"),
        ("e.toml", 'model = "a\\u0000b"\n[[arm]]\nname = "a"'),
        ("e.toml", '[[arm]]\nname = "a\\u001b[2J"'),
        ("e.toml", "[[arm]]\nname = '../../a'"),
        ("e.toml", "[[arm]]\nname = 'a'\nsettings = { learning_rate = nan }"),
        ("e.toml", "[[arm]]\nname = 'a'\nsettings = { beta = 'x' }"),
        ("e.toml", "[[arm]]\nname = 'a'\nsettings = 3"),
        ("e.toml", "arm = 'a'"),
    ],
)
def test_whatever_a_parser_raises_becomes_one_line(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="latin-1" if "\xed" in text else "utf-8")
    verb = ("experiment",) if name[0] == "e" else ("problems", "list")
    _refused(*_conself(tmp_path / "h", *verb, str(path)))


def test_an_error_that_nobody_foresaw_is_one_line_and_a_log_without_texts(tmp_path: Path) -> None:
    code = (
        "import sys\nimport conself_local.round.start as start\nfrom conself_local.cli.main import main\n"
        "def broken(*a):\n    secret = 'the text of a problem'\n    raise ZeroDivisionError(secret + '\\x1b[2J')\n"
        "start.open_round = broken\nmain(['--home', sys.argv[1], 'run'])\n"
    )
    exit_code, _, err = _run(sys.executable, "-c", code, str(tmp_path))
    log = tmp_path / "logs" / "conself.log"
    assert exit_code == 70 and str(log) in err and len(err.splitlines()) == 2, err
    logged = log.read_text()
    assert "ZeroDivisionError" in logged and "in broken" in logged and "the text of a problem" not in logged, logged
    assert log.stat().st_mode & 0o077 == 0 and log.parent.stat().st_mode & 0o077 == 0


# -- GGUF ---------------------------------------------------------------------------------------------------


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _key(name: bytes, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _head(tensors: int, keys: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + _key(b"general.architecture", 8, _text(b"llama"))


def _nested_gguf() -> bytes:
    return _head(0, 2) + _key(b"x", 9, struct.pack("<IQ", 9, 1) * 100_000)


def _tensor(name: bytes, *shape: int) -> bytes:
    return _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_nested_gguf, id="arrays of arrays"),
        pytest.param(lambda: _head(0, 10**6) + b"".join(_key(b"%d" % i, 0, b"\0") for i in range(10**6)), id="keys"),
        pytest.param(lambda: _head(10**6, 1) + b"".join(_tensor(b"%d" % i, 1) for i in range(10**6)), id="tensors"),
        pytest.param(lambda: _head(0, 2) + _key(b"x", 9, struct.pack("<IQ", 8, 10**7)) + bytes(8 * 10**7), id="texts"),
        pytest.param(lambda: _head(0, 2) + _key(b"x", 9, struct.pack("<IQ", 8, 2**20)) + bytes(2**23), id="many texts"),
        pytest.param(lambda: _head(0, 2) + _key(b"x", 9, struct.pack("<IQ", 6, 2**60)), id="numbers"),
        pytest.param(lambda: _head(2**63, 2**63), id="counts"),
        pytest.param(lambda: _head(0, 2) + struct.pack("<Q", 2**62), id="a long key"),
        pytest.param(lambda: _head(1, 1) + _tensor(b"t", 2**32, 2**32, 2**40) + bytes(64), id="a large shape"),
        pytest.param(lambda: _head(1, 1) + _text(b"t") + struct.pack("<I", 2**31) + bytes(64), id="dimensions"),
        pytest.param(lambda: _head(0, 3) + _key(b"a\x1b[2J", 0, b"\0") * 2, id="a key twice"),
        pytest.param(lambda: _head(0, 2) + _key(b"general.alignment", 4, bytes(4)), id="alignment"),
        pytest.param(lambda: _head(0, 2) + _key(b"general.name", 8, _text(b"a\x1b]0;x\x07")), id="a name"),
        pytest.param(lambda: _head(0, 2) + _key(b"general.name", 8, _text(b"\xff\xfe")), id="no UTF-8"),
    ],
)
def test_a_hostile_model_file_is_refused_in_time(content: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content())
    _refused(*_conself(tmp_path / "h", "ask", "--model", str(path), "hi"))


# -- texts that cost more than their size -------------------------------------------------------------------


def _jsonl(**change: Any) -> Make:
    return lambda path: path.write_text(json.dumps(OWN | change) + "\n")


def _bomb(content: bytes, times: int) -> Make:
    def make(path: Path) -> None:
        with gzip.open(path, "wb", compresslevel=9) as file:
            for _ in range(times):
                file.write(content)

    return make


def _code(code: str, tests: list[str] | None = None) -> Make:
    record = {"task_id": 700, "text": "x", "code": code, "test_list": tests or []}
    return lambda path: path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("p.jsonl", _jsonl(inputs=["(" + "1," * 2_000_000 + ")"]), id="one long literal"),
        pytest.param("p.jsonl", _jsonl(inputs=["(" + "[]," * 85_000 + ")"] * 9), id="many literals"),
        pytest.param("p.jsonl", _jsonl(inputs=["(" + "-" * 200_000 + "1,)"]), id="signs"),
        pytest.param("p.jsonl", _jsonl(inputs=["(" + ("[" * 90 + "]" * 90 + ",") * 1_400 + ")"]), id="nested"),
        pytest.param("p.jsonl", _jsonl(kind="stdin", inputs=["x" * 12_000_000]), id="standard input"),
        pytest.param("p.jsonl", _jsonl(statement="x" * 17_000_000), id="a long record"),
        pytest.param("p.jsonl", lambda p: p.write_bytes(b"x" * 80_000_000), id="a long line"),
        pytest.param("p.jsonl", _code("x = " + "[]," * 1_000_000), id="code"),
        pytest.param("p.jsonl", _code("def f(n):\n    return n", tests=[""] * 3_900_000), id="many tests"),
        pytest.param("p.jsonl.gz", _bomb(bytes(10**6), 100), id="a bomb of zeros"),
        pytest.param("p.jsonl.gz", _bomb(b" " * 10**6 + b"\n", 100), id="a bomb of lines"),
        pytest.param("p.toml", lambda p: p.write_text("a" + ".a" * 200_000 + " = 1"), id="a dotted key"),
        pytest.param("p.toml", lambda p: p.write_text("[" + "a." * 200_000 + "a]"), id="a dotted table"),
        pytest.param("p.toml", lambda p: p.write_text("# " + "x" * 1_000_001), id="a long TOML"),
        pytest.param("e.toml", lambda p: p.write_text("a" + ".a" * 200_000 + " = 1"), id="an experiment"),
    ],
)
def test_a_text_that_costs_more_than_its_size_is_refused(name: str, make: Make, tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    verb = ("experiment",) if name[0] == "e" else ("problems", "list")
    _refused(*_conself(tmp_path / "h", *verb, str(path)))


# -- scans go on --------------------------------------------------------------------------------------------

GOOD = '''def add_one(n: int) -> int:
    """Return the number after n, for any n."""
    return n + 1
'''


def test_one_bad_file_or_function_never_ends_a_harvest(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "good.py").write_text(GOOD)
    (tree / ".#good.py").symlink_to("someone@host.123:456")
    (tree / "gone.py").symlink_to("/nowhere/at/all.py")
    (tree / "circle.py").symlink_to("circle.py")
    os.mkfifo(tree / "pipe.py")
    (tree / "folder.py").mkdir()
    (tree / "deep.py").write_text("x = " + "(" * 5_000 + ")" * 5_000)
    (tree / "bytes.py").write_bytes(b"\xff\xfe\x00")
    (tree / "long.py").write_text("#" * 1_100_000)
    (tree / "a\x1b[2J.py").write_text(GOOD.replace("add_one", "named"))
    (tree / "circular.py").write_text(
        "A = B\nB = A\nf = lambda n: f(n - 1)\ng = lambda n: h(n)\nh = lambda n: g(n)\n"
        + "".join(
            f"def uses_{name.lower()}(n: int) -> int:\n    '''Return what {name} makes of n, whatever it is.'''\n    return {name}\n"
            for name in ("A", "f(n)", "g(n)")
        ).replace("uses_f(n)", "uses_f").replace("uses_g(n)", "uses_g")
    )  # fmt: skip
    code, _, err = _run(*_conself(tmp_path / "h", "harvest", str(tree), "--yes", "--to", str(tmp_path / "o.jsonl")))
    assert code == 0, err
    names = {json.loads(line)["entry_point"] for line in (tmp_path / "o.jsonl").read_text().splitlines()}
    assert {"add_one", "named"} <= names, names
    for name in (".#good.py", "gone.py", "circle.py", "pipe.py", "deep.py", "bytes.py", "long.py"):
        assert f"left out: {name}: cannot be read" in err, (name, err)


def test_one_bad_record_never_ends_an_import(tmp_path: Path) -> None:
    source = tmp_path / "p.jsonl"
    human_eval = {"task_id": [], "prompt": 1, "canonical_solution": "", "test": "", "entry_point": "f"}
    bad = ["{", "[" * 5_000, json.dumps(OWN | {"id": "b\x1b[2J"}), json.dumps(OWN | {"id": "c", "inputs": ["open"]})]
    bad += [json.dumps(OWN | {"id": "d", "statement": "\ud800"}), json.dumps(human_eval), "\x1b]0;x\x07"]
    source.write_text("\n".join([json.dumps(OWN), *bad, json.dumps(OWN | {"id": "e", "statement": "Take two off."})]))
    code, out, err = _run(
        *_conself(tmp_path / "h", "problems", "import", str(source), "--to", str(tmp_path / "o.jsonl"))
    )
    assert code == 0, err
    assert [json.loads(line)["id"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == ["a", "e"]
    assert "7 left out: cannot be used" in out and "line 2: not valid JSON" in out, out


# -- adapters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "loftq"),
        ({"use_dora": True}, "use_dora"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "layer_replication"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"use_a_later_invention": True}, "use_a_later_invention"),
        ({"r": 10**6}, "too large"),
        ({"r": 2}, "rank 2"),
        ({"r": 8}, "states rank 8"),
        ({"r": True}, "rank"),
        ({"lora_alpha": 10**400}, "alpha"),
        ({"lora_alpha": 1e38}, "more than a number can hold"),
        ({"lora_alpha": float("nan")}, "alpha"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
    ],
)
def test_an_adapter_that_cannot_be_computed_is_refused_by_name(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    write_peft(random_adapter(model, 0.1), tmp_path / "a", model.architecture)
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    home = Home(tmp_path / "h")
    with Store(home.database) as store, pytest.raises(ConselfError, match=re.escape(says)):
        import_adapter(store, home, tmp_path / "a", model, "a", use=True)
    assert not list(home.adapters.glob("*")), "nothing is left behind"


def test_an_adapter_with_the_scale_of_rslora_is_computed_rightly(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    write_peft(random_adapter(model, 0.1), tmp_path / "a", model.architecture)
    config = tmp_path / "a" / "adapter_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"use_rslora": True}))
    assert read_adapter(tmp_path / "a", model).scale == pytest.approx(values["lora_alpha"] / values["r"] ** 0.5)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff" * 8, struct.pack("<Q", 10**8) + b"{" * 100, struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null", struct.pack("<Q", 9) + b'{"a": []}',
        struct.pack("<Q", 62) + b'{"a": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4]}}'[:62],
        struct.pack("<Q", 100_000) + b'{"a":' * 20_000,
    ],
)  # fmt: skip
def test_damaged_tensors_are_refused(content: bytes, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    write_peft(random_adapter(model, 0.1), tmp_path / "a", model.architecture)
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(content)
    _refused(*_conself(tmp_path / "h", "import-adapter", str(tmp_path / "a"), "--model", str(model.path)))


def test_an_adapter_of_the_output_head_gets_a_hint_that_helps(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    write_peft(random_adapter(model, 0.1), tmp_path / "a", model.architecture)
    save_file(
        {f"base_model.model.lm_head.lora_{half}.weight": np.zeros((4, 4), np.float32) for half in "AB"},
        tmp_path / "a" / "adapter_model.safetensors",
    )
    _refused(
        *_conself(tmp_path / "h", "import-adapter", str(tmp_path / "a"), "--model", str(model.path)),
        says="without embeddings, output head and norms",
    )


# -- stores and homes ---------------------------------------------------------------------------------------


def _database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def _ours(*statements: str) -> Make:
    def make(path: Path) -> None:
        shutil.copy(REAL_STORE, path)
        path.chmod(0o600)
        _database(path, *statements)

    return make


def _theirs(*statements: str) -> Make:
    return lambda path: _database(path, *statements)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(_theirs("create table bookmarks (url)"), "another program", id="tables"),
        pytest.param(_theirs("create table problems (id)", "pragma application_id = 252006675"), "another", id="id"),
        pytest.param(_theirs("create table problems (id)", "create table rounds (id)"), "another", id="some names"),
        pytest.param(_ours("insert into _sqlite_migrations values (99, 'conself', '0099_x', '')"), "newer", id="newer"),
        pytest.param(_ours("create view v as select 1"), "a view", id="a view"),
        pytest.param(
            _ours("alter table metrics rename to m", "create view metrics as select * from m"), "a view", id="a table's view"
        ),
        pytest.param(
            _ours("create trigger t after insert on rounds begin delete from rounds; end"), "a trigger", id="a trigger"
        ),
        pytest.param(_ours("create virtual table v using fts5(x)"), "table that this", id="a virtual table"),
        pytest.param(_ours("update rounds set settings = '[]'"), "damaged", id="settings"),
        pytest.param(_ours("update rounds set settings = '{\"beta\": NaN}'"), "beta", id="NaN"),
        pytest.param(_ours("update rounds set settings = '{\"beta\": \"x\"}'"), "beta", id="a type"),
        pytest.param(_ours("update rounds set request = '{\"limit\": [1]}'"), "limit", id="a request"),
        pytest.param(_ours("update rounds set request = 'x'"), "damaged", id="no JSON"),
        pytest.param(_ours("update training_steps set loss = 'x'"), "did not write", id="text as a number"),
        pytest.param(_ours("update evaluations set result = '{}'"), "did not write", id="an empty result"),
        pytest.param(lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4000)), "cannot be opened", id="damaged"),
        pytest.param(_pipe, "regular file", id="a pipe"),
        pytest.param(lambda path: path.mkdir(), "", id="a folder"),
    ],
)  # fmt: skip
def test_a_store_that_is_not_ours_is_refused_and_left_as_it_is(make: Make, says: str, tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    verb = ("run", "--limit", "1") if says == "regular file" or path.is_dir() else ("status",)
    _refused(*_conself(tmp_path, *verb), says=says)
    if says in ("another program", "another", "newer", "a view", "a trigger"):
        assert path.read_bytes() == before, "the file was left as it is"


def test_a_store_of_before_is_adopted(tmp_path: Path) -> None:
    shutil.copy(REAL_STORE, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        assert store.value("pragma application_id") == APPLICATION_ID and store.latest_round() is not None


def test_a_home_is_private_and_an_existing_one_becomes_so(tmp_path: Path) -> None:
    new = tmp_path / "new"
    _run(*_conself(new, "run", "--limit", "0"))
    for path in (new, *new.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    old = tmp_path / "old"
    (old / "adapters" / "a").mkdir(parents=True)
    (old / "adapters" / "a" / "adapter.gguf").write_bytes(b"x")
    shutil.copy(REAL_STORE, old / "conself.db")
    (old / "mine.txt").write_text("not ours")
    old.chmod(0o755)
    for path in old.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _, _, err = _run(*_conself(old, "status"))
    assert "others on this computer could read" in err
    assert {p.stat().st_mode & 0o077 for p in (old, old / "conself.db", old / "adapters" / "a" / "adapter.gguf")} == {0}
    assert (old / "mine.txt").stat().st_mode & 0o777 == 0o644
    assert "could read" not in _run(*_conself(old, "status"))[2]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "p.jsonl").write_text(json.dumps(OWN))
    for name in ("o.jsonl", ".o.jsonl.part"):
        (tmp_path / name).symlink_to(victim)
        _run(
            *_conself(
                tmp_path / "h", "problems", "import", str(tmp_path / "p.jsonl"), "--to", str(tmp_path / "o.jsonl")
            )
        )
        assert victim.read_text() == "precious"
        (tmp_path / "o.jsonl").unlink()
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nowhere")
    _refused(
        *_conself(tmp_path / "h", "problems", "import", str(tmp_path / "p.jsonl"), "--to", str(tmp_path / "dangling.jsonl")),
        says="already exists",
    )  # fmt: skip
    (tmp_path / "h").mkdir(mode=0o700, exist_ok=True)
    (tmp_path / "h" / "round.lock").unlink(missing_ok=True)
    (tmp_path / "h" / "round.lock").symlink_to(victim)
    _refused(*_conself(tmp_path / "h", "run", "--limit", "1"))
    assert victim.read_text() == "precious"


# -- surroundings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("doctor",), 2),
        (("status",), 2),
        (("run",), 2),
        (("tune",), 2),
        (("ask", "hi"), 2),
        (("models", "get", "qwen2.5-coder-0.5b"), 2),
        (("--home", "~/x", "status"), 2),
        (("--home", "~nobody-of-that-name/x", "status"), 2),
        (("experiment", "EXPERIMENT"), 2),
        (("models",), 0),
        (("--home", "HOME", "models"), 0),
        (("--home", "HOME", "adapters"), 2),
        (("--home", "HOME", "ask", "--max-tokens", "1", "hi"), 0),
    ],
)
def test_without_a_home_folder_one_line_says_so_and_home_is_enough(
    arguments: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    nobody = ("unshare", "-U", "--map-user=12345", "--map-group=12345", "env", "-u", "HOME", "-u", "CONSELF_CACHE")
    if subprocess.run([*nobody, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    (tmp_path / "e.toml").write_text("[[arm]]\nname = 'a'")
    tmp_path.chmod(0o777)
    known = {"HOME": str(tmp_path / "h"), "EXPERIMENT": str(tmp_path / "e.toml")}
    given = [sys.executable, "-m", "conself_local", *(known.get(word, word) for word in arguments)]
    if code == 2:
        _refused(*given, prefix=nobody)
    else:
        assert _run(*given, prefix=nobody)[0] == 0


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("conself_local.home.fcntl.flock", no_locks)
    with pytest.raises(ConselfError, match="cannot lock files"), Home(tmp_path).lock():
        pass


def test_a_question_that_is_no_utf8_is_asked_and_shown(tmp_path: Path) -> None:
    asked = command(tmp_path / "h", "ask", "--max-tokens", "2", "-")
    for raw, code in ((b"caf\xe9 \x1b[2J", 0), (b"", 2), (b"\xff" * 11_000_000, 2)):
        done = subprocess.run(asked, input=raw, capture_output=True, check=False)
        assert done.returncode == code and b"Traceback" not in done.stderr, done.stderr


def test_hostile_results_beside_a_report_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text("[[arm]]\nname = 'a'")
    spec = read_experiment(tmp_path / "e.toml")
    good = SeedResult(spec.arms[0], 0, "validation", spec.inputs(), None, (), (), 0, 0, 0, 1.0, 0, "", {})
    append_result(tmp_path / "r.jsonl", good)
    assert load_results(tmp_path / "r.jsonl") == [good]
    values = json.loads((tmp_path / "r.jsonl").read_text())
    changes: tuple[dict[str, Any], ...] = (
        {"compared": 5}, {"base": ["x"], "adapter": ["y"]}, {"seconds": "x"}, {"tokens": None}, {"versions": 5}, {"looks": []},
        {"base": [1.0], "adapter": [1.0, 0.0], "compared": {"a": 1}}, {"settings": []}, {"begun": {"x": 1}}, {"seconds": float("nan")},
    )  # fmt: skip
    for change in changes:
        (tmp_path / "r.jsonl").write_text(json.dumps(values | change))
        with pytest.raises(ConselfError, match="line 1: not a result of this version"):
            load_results(tmp_path / "r.jsonl")


def test_a_hostile_tuning_result_is_ignored(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    good = {"format": "BF16", "slots": 4, "threads": 2, "tokens_per_second": {}, "logp_gap": {}}
    path = _tuning_path(model, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(good))
    assert load_tuning(model, tmp_path) is not None
    changes: tuple[dict[str, Any], ...] = (
        {"format": "../x"}, {"format": []}, {"slots": "x"}, {"slots": -1}, {"slots": 10**9}, {"threads": True}, {"logp_gap": 5},
        {"tokens_per_second": {"a": "b"}}, {"more": 1},
    )  # fmt: skip
    for change in changes:
        path.write_text(json.dumps(good | change))
        assert load_tuning(model, tmp_path) is None, change
    path.write_text("[" * 100_000)
    assert load_tuning(model, tmp_path) is None
