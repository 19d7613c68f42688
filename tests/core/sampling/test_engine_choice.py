"""OpenVINO is chosen only if it is installed, was measured as faster and is near the original; else nothing changes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.events import Event, Notice, NoticeKind
from conself_local.home import Home
from conself_local.machine import openvino
from conself_local.machine.child_environment import child_environment
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.round.context import ComputeOptions, RoundContext
from conself_local.round.engine import ENGINE, fix_engine
from conself_local.sampling import tuning
from conself_local.sampling.config import LLAMA_CPP, OPENVINO, SamplingConfig
from conself_local.sampling.open_engine import open_engine
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import UNFINISHED, make_home
from tests.fakes.openvino import needs_openvino
from tests.fakes.tiny_families import TINY_FAMILIES, write_tiny_family
from tests.fakes.tiny_model import write_tiny_model


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    """Return a tiny random model."""
    return write_tiny_model(tmp_path / "tiny.gguf")


def _installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(openvino, "_installed", lambda: version)


def _write_tuning(model: ModelFile, cache: Path, **values: object) -> None:
    path = tuning._tuning_path(model, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"format": "F16", "slots": 8, "threads": 2, "tokens_per_second": {}, "logp_gap": {}}
    path.write_text(json.dumps(whole | values))


@pytest.mark.parametrize(
    ("version", "message"), [(None, "is not installed"), ("2025.3.0.0", "was not compared with llama.cpp")]
)
def test_without_a_supported_version_the_engine_is_refused_with_the_command_that_installs_it(
    version: str | None, message: str, model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, version)
    assert openvino.openvino_version() is None
    config = SamplingConfig("F16", 2, 1, OPENVINO)
    with pytest.raises(ConselfError, match=message) as told:
        open_engine(model, config, tmp_path, longest=128, use_gpu=False)
    assert "pip install 'conself-local[openvino]'" in told.value.hint
    with pytest.raises(ConselfError, match=message):
        tuning.tune_model(model, tmp_path, False, print, OPENVINO)


def test_a_family_that_is_read_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, "2026.4.1.0")
    llama3 = write_tiny_family(tmp_path / "llama3.gguf", TINY_FAMILIES["llama-3"])
    for call in (
        lambda: open_engine(llama3, SamplingConfig("F16", 2, 1, OPENVINO), tmp_path, longest=128, use_gpu=False),
        lambda: tuning.tune_model(llama3, tmp_path, False, print, OPENVINO),
    ):
        with pytest.raises(ConselfError, match=r"ignores the tensor rope_freqs\.weight"):
            call()


def test_the_tuned_engine_is_used_until_another_one_is_asked_for(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, "2026.4.1.0")
    assert tuning.sampling_config(model, tmp_path).engine == LLAMA_CPP
    _write_tuning(model, tmp_path, engine=OPENVINO)
    assert tuning.sampling_config(model, tmp_path) == SamplingConfig("F16", 8, 2, OPENVINO)
    assert tuning.sampling_config(model, tmp_path, LLAMA_CPP).engine == LLAMA_CPP
    _installed(monkeypatch, "2026.4.2.0")
    assert tuning.sampling_config(model, tmp_path).engine == LLAMA_CPP, "another version must be measured again"
    _installed(monkeypatch, None)
    assert tuning.sampling_config(model, tmp_path).engine == LLAMA_CPP, "an engine that is gone is not used"


def test_results_from_before_there_were_two_engines_are_read(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, None)
    _write_tuning(model, tmp_path)
    found = tuning.load_tuning(model, tmp_path)
    assert found is not None and found.config == SamplingConfig("F16", 8, 2) and str(found) == "F16, 8 slots, 2 threads"
    for damaged in ({"engine": "vllm"}, {"engine": OPENVINO, "format": "BF16"}, {"engine": 3}):
        _write_tuning(model, tmp_path, **damaged)
        assert tuning.load_tuning(model, tmp_path) is None


def test_openvino_is_taken_only_near_bf16_unless_loss_is_allowed(model: ModelFile, tmp_path: Path) -> None:
    config, said = SamplingConfig("F16", 2, 1, OPENVINO), list[str]()
    for gap, allow_loss, is_near in ((0.049, False, True), (0.051, False, False), (0.051, True, True)):
        prober = tuning._Prober(model, tmp_path, said.append, allow_loss)
        prober.gaps |= {"BF16": 0.03, "openvino, F16": gap}
        assert prober.is_near(config) == is_near
    assert len(said) == 1 and "0.0510 nats per token is above 0.0500" in said[0]


def test_the_engine_of_a_round_is_fixed_when_its_sampling_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(monkeypatch, "2026.4.1.0")
    home, events = make_home(tmp_path / "home"), list[Event]()
    with Store(home.database) as store:
        round_ = store.round(UNFINISHED)
        context = _context(store, home, events)
        openvino_context = context.with_engine(OPENVINO)
        assert fix_engine(context, round_).compute.engine == LLAMA_CPP, "it was sampled before there were two engines"
        with pytest.raises(ConselfError, match=r"sampled by the engine llama\.cpp, and --engine asks for openvino"):
            fix_engine(openvino_context, round_)
        store.db.execute("delete from observations where round_id = ?", [UNFINISHED])
        assert fix_engine(openvino_context, round_).compute.engine == OPENVINO
        assert store.stage_summary(UNFINISHED, ENGINE) == OPENVINO and len(events) == 1
        assert fix_engine(context, round_).compute.engine == OPENVINO, "a round that is continued keeps its engine"
        with pytest.raises(ConselfError, match=r"sampled by the engine openvino, and --engine asks for llama\.cpp"):
            fix_engine(context.with_engine(LLAMA_CPP), round_)


def test_a_round_on_a_model_that_was_not_tuned_says_so(
    tmp_path: Path, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSELF_CACHE", str(tmp_path / "cache"))
    home, events = make_home(tmp_path / "home"), list[Event]()
    with Store(home.database) as store:
        store.db.execute("delete from observations where round_id = ?", [UNFINISHED])
        context = dataclasses.replace(_context(store, home, events), model=model)
        fix_engine(context.with_engine(LLAMA_CPP), store.round(UNFINISHED))
        assert events == [], "the user chose the engine"
        fix_engine(context, store.round(UNFINISHED))
        (notice,) = events
        assert isinstance(notice, Notice) and notice.kind is NoticeKind.NOT_TUNED
        assert f"`conself tune --model {model.path}`" in notice.text
        _write_tuning(model, home.cache)
        fix_engine(context, store.round(UNFINISHED))
        assert len(events) == 1


def _context(store: Store, home: Home, events: list[Event]) -> RoundContext:
    round_ = store.round(UNFINISHED)
    model = load_model_file(round_.model_path)
    return RoundContext(store, home, model, ComputeOptions(1), None, None, events.append)  # type: ignore[arg-type]


def test_nothing_of_openvino_is_imported_by_what_only_may_use_it() -> None:
    modules = ("cli.main", "round.run", "sampling.engine_server", "sampling.openvino_process", "sampling.tuning")
    imports = "; ".join(f"import conself_local.{name}" for name in modules)
    check = f"import sys; {imports}; print([m for m in sys.modules if m.startswith('openvino')])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=child_environment())
    assert done.stdout.strip() == "[]", done.stderr


@needs_openvino
def test_openvino_is_imported_without_its_telemetry_and_opens_no_socket() -> None:
    check = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(event) if event.startswith("socket.") else None)
from conself_local.sampling.openvino_runtime import Runtime
Runtime()
try:
    import openvino_telemetry
except ImportError:
    print(opened, [name for name, module in sys.modules.items() if "telemetry" in name and module])
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=child_environment())
    assert done.stdout.strip() == "[] []", done.stderr


def test_options_take_precedence_over_the_tuned_engine(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSELF_CACHE", str(tmp_path))
    _installed(monkeypatch, "2026.4.1.0")
    _write_tuning(model, tmp_path, engine=OPENVINO)
    context = RoundContext(None, Home(tmp_path), model, ComputeOptions(2), None, None, print)  # type: ignore[arg-type]
    assert context.sampling_config() == SamplingConfig("F16", 8, 2, OPENVINO)
    asked = dataclasses.replace(context, compute=ComputeOptions(2, slots=3, engine=LLAMA_CPP))
    assert (asked.sampling_config().engine, asked.sampling_config().slots) == (LLAMA_CPP, 3)
