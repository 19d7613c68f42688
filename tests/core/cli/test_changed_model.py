"""A model file that was replaced is refused wherever an adapter or a round needs the old one, and the way out works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conself_local.adapters.export import export_adapter
from conself_local.errors import ConselfError
from conself_local.experiment.run import run_experiment
from conself_local.experiment.spec import read_experiment
from conself_local.home import Home
from conself_local.model_files.model_file import load_model_file
from conself_local.round.context import ComputeOptions
from conself_local.round.start import Request, open_round
from conself_local.round.verify import verify_store
from conself_local.serving.ask import current_adapter
from conself_local.settings import LAPTOP, replace_values
from conself_local.store.store import Store
from sandbox import Limits, Sandbox
from tests.fakes.random_adapter import write_home
from tests.fakes.small_round import run_conself
from tests.fakes.tiny_model import write_tiny_model

SAYS = "has changed since adapter 1 (random) was made for it"


def _sandbox(limits: Limits) -> Sandbox:
    raise AssertionError("the starter pack is loaded without a sandbox")


@pytest.fixture(params=["single file", "split"])
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """Return a home with an accepted adapter, and the model file, which was replaced since."""
    per_part = 6 if request.param == "split" else 0
    model = write_tiny_model(tmp_path / "m.gguf", tensors_per_part=per_part)
    home = write_home(_folder(tmp_path / "h"), model)
    other = write_tiny_model(_folder(tmp_path / "new") / "m.gguf", seed=1, tensors_per_part=per_part)
    shutil.copy(other.parts[-1], model.parts[-1])
    return home, model.path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.round
@pytest.mark.parametrize(
    "arguments", [("run",), ("sample",), ("ask", "hi"), ("ask", "hi", "--adapter", "1"), ("serve",)]
)
def test_every_verb_that_needs_the_old_file_says_what_changed_and_what_to_do(
    changed: tuple[Path, Path], arguments: tuple[str, ...]
) -> None:
    home, model = changed
    done = run_conself(home, *arguments, "--model", str(model))
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{model} {SAYS}" in done.stderr and "restore the old file; or start a new line" in done.stderr
    assert "conself run --from-base" in done.stderr


def test_export_and_verify_say_it_too(changed: tuple[Path, Path], tmp_path: Path) -> None:
    home, model = changed
    with Store(home / "conself.db") as store:
        for form in ("merged", "peft", "mlx"):
            with pytest.raises(ConselfError) as error:
                export_adapter(store, Home(home), 1, form, "shipped", tmp_path / f"out-{form}")
            assert f"{model} {SAYS}" in str(error.value) and "restore the old file" in error.value.hint
        for adapter_id in (None, 1):
            with pytest.raises(ConselfError) as error:
                current_adapter(store, load_model_file(model), adapter_id)
            assert f"{model} {SAYS}" in str(error.value) and "restore the old file" in error.value.hint
        found = verify_store(store)
    assert len(found) == 1 and f"{model} {SAYS}" in found[0] and "restore the old file" in found[0]


def test_under_another_name_the_new_file_is_another_model(changed: tuple[Path, Path], tmp_path: Path) -> None:
    home, path = changed
    model = load_model_file(path)
    for part in model.parts:
        shutil.copy(part, tmp_path / part.name.replace("m", "another", 1))
    with Store(home / "conself.db") as store:
        another = load_model_file(tmp_path / path.name.replace("m", "another", 1))
        assert current_adapter(store, another, None) is None
        with pytest.raises(ConselfError, match="another model") as error:
            current_adapter(store, another, 1)
    assert f"--model {path}" in error.value.hint


@pytest.mark.round
def test_a_new_line_of_adapters_ends_the_refusals(changed: tuple[Path, Path]) -> None:
    home, path = changed
    with Store(home / "conself.db") as store:
        open_round(store, Request(model=path, limit=1, from_base=True), _sandbox)
        assert current_adapter(store, load_model_file(path), None) is None
        assert verify_store(store) == []


def test_a_changed_model_of_an_unfinished_round_is_refused_and_the_round_is_kept(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    with Store(tmp_path / "conself.db") as store:
        round_, *_ = open_round(store, Request(model=model.path, limit=1), _sandbox)
        write_tiny_model(model.path, seed=1)
        with pytest.raises(ConselfError, match=f"has changed since round {round_.id} began") as error:
            open_round(store, Request(), _sandbox)
        assert "--new --from-base" in error.value.hint
        assert f"{model.path} has changed" in str(error.value) and "restore the old file" in error.value.hint
        latest = store.latest_round()
        assert latest is not None and (latest.id, latest.state) == (round_.id, "running")


def test_an_experiment_whose_model_changed_says_so(tmp_path: Path) -> None:
    """It used to blame the settings of the arm, among other things."""
    model = write_tiny_model(tmp_path / "m.gguf")
    (tmp_path / "e.toml").write_text(f'model = "{model.path}"\nlimit = 1\n[[arm]]\nname = "a"\n')
    experiment = read_experiment(tmp_path / "e.toml")
    home = Home(tmp_path / "out" / "a 0")
    with Store(home.database) as store:
        open_round(store, Request(model=model.path, limit=1, benchmarks=("validation",)), _sandbox)
    write_tiny_model(model.path, seed=1)
    arms = run_experiment(experiment, tmp_path / "out", ComputeOptions(1), lambda _: _sandbox, lambda _: None)
    with pytest.raises(ConselfError, match=f"{model.path} has changed since the arm a began") as error:
        next(arms)
    assert "restore the old file; or choose another --folder" in error.value.hint


@pytest.mark.round
def test_a_round_is_abandoned_only_if_another_can_begin(tmp_path: Path) -> None:
    """The request used to be checked after the unfinished round had been given up."""
    model = write_tiny_model(tmp_path / "m.gguf")
    with Store(tmp_path / "conself.db") as store:
        round_, *_ = open_round(store, Request(model=model.path, limit=1), _sandbox)
        with pytest.raises(ConselfError, match="there is no model file"):
            open_round(store, Request(model=tmp_path / "gone.gguf", new=True), _sandbox)
        latest = store.latest_round()
        assert latest is not None and (latest.id, latest.state) == (round_.id, "running")


def test_a_split_model_continues_a_round_by_any_of_its_parts(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf", tensors_per_part=6)
    with Store(tmp_path / "conself.db") as store:
        round_, *_ = open_round(store, Request(model=model.parts[2], limit=1), _sandbox)
        assert round_.model_path == model.parts[0]
        again, *_ = open_round(store, Request(model=model.parts[1]), _sandbox)
        assert again.id == round_.id


def test_a_model_that_cannot_be_trained_is_refused_before_it_is_sampled(tmp_path: Path) -> None:
    """A round used to sample for hours on such a model before training refused it."""
    model = write_tiny_model(tmp_path / "m.gguf", "gemma")
    with Store(tmp_path / "conself.db") as store:
        with pytest.raises(ConselfError, match="gemma cannot be trained"):
            open_round(store, Request(model=model.path, limit=1), _sandbox)
        assert store.latest_round() is None
        open_round(store, Request(model=model.path, limit=1, trains=False), _sandbox)


def test_an_adapter_larger_than_the_model_is_refused_before_the_model_is_sampled(tmp_path: Path) -> None:
    """Such a round trained for its whole time before its adapter could not be read."""
    model = write_tiny_model(tmp_path / "m.gguf")
    settings = replace_values(LAPTOP, {"training.lora_rank": model.embedding_length + 1})
    with Store(tmp_path / "conself.db") as store:
        with pytest.raises(ConselfError, match=r"lora_rank is \d+, and .* has only \d+ dimensions"):
            open_round(store, Request(model=model.path, limit=1, settings=settings), _sandbox)
        assert store.latest_round() is None
        open_round(store, Request(model=model.path, limit=1, settings=settings, trains=False), _sandbox)
        with pytest.raises(ConselfError, match="has only"):
            open_round(store, Request(), _sandbox)
