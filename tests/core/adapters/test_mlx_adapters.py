"""An adapter of a folder of MLX weights lives in a home as one of a GGUF file does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from conself_local.adapters.export import export_adapter
from conself_local.adapters.formats import Adapter, read_adapter, read_mlx, write_mlx, write_peft
from conself_local.adapters.importing import import_adapter
from conself_local.cli.main import main
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.maintenance.backup import write_backup
from conself_local.maintenance.prune import find_prunable
from conself_local.maintenance.restore import restore_backup
from conself_local.model_files.mlx_adapter import verify_mlx_adapter
from conself_local.model_files.mlx_folder import MlxFolder, load_mlx_folder
from conself_local.round.verify import verify_store
from conself_local.serving.ask import current_adapter
from conself_local.store.store import Store
from tests.fakes.bare_mlx_folder import write_bare_folder


def random_mlx_adapter(model: MlxFolder, rank: int = 2) -> Adapter:
    """Return an adapter of random values for every linear map of the folder."""
    random = np.random.default_rng(4)
    return Adapter(
        2.0,
        {
            name: (
                random.standard_normal((rank, columns)).astype(np.float32),
                random.standard_normal((rows, rank)).astype(np.float32),
            )
            for name, (rows, columns) in model.stored.linears.items()
        },
    )


@pytest.fixture
def model(tmp_path: Path) -> MlxFolder:
    """Return a folder."""
    return load_mlx_folder(write_bare_folder(tmp_path / "Tiny"))


@pytest.fixture
def home(tmp_path: Path, model: MlxFolder) -> Home:
    """Return a home with one accepted adapter of the folder, imported from PEFT."""
    home = Home(tmp_path / "home")
    write_peft(random_mlx_adapter(model), tmp_path / "peft", "llama")
    with Store(home.database) as store:
        import_adapter(store, home, tmp_path / "peft", model, "mine", use=True)
    return home


def test_an_import_keeps_it_as_mlx_lm_and_as_peft_read_it(home: Home, model: MlxFolder) -> None:
    with Store(home.database) as store:
        row = store.adapter(1)
        assert (row["form"], row["path"]) == ("mlx", str(home.adapter_folder("mine") / "mlx"))
        assert current_adapter(store, model, None) == Path(row["path"])
        assert verify_store(store) == []
    assert sorted(os.listdir(row["path"])) == ["adapter_config.json", "adapters.safetensors"]
    kept, again = read_adapter(Path(row["path"]), model), read_adapter(Path(row["peft_path"]), model)
    for name, sides in random_mlx_adapter(model).maps.items():
        for one, mlx, peft in zip(sides, kept.maps[name], again.maps[name], strict=True):
            assert np.array_equal(one, mlx) and np.array_equal(one, peft)


def test_a_change_of_either_file_is_noticed(home: Home) -> None:
    """It prevents that a changed scale, which is in the configuration, is used as if it had been judged."""
    config = home.adapter_folder("mine") / "mlx" / "adapter_config.json"
    before = config.read_text()
    config.write_text(before.replace("2.0", "4.0"))
    with Store(home.database) as store:
        assert any("differs from the stored one" in line for line in verify_store(store))
        with pytest.raises(ConselfError, match="missing or has changed"):
            store.adapter_file(1)
        config.write_text(before)
        assert verify_store(store) == [] and store.adapter_file(1)
        (config.parent / "adapters.safetensors").unlink()
        with pytest.raises(ConselfError, match="missing or has changed"):
            store.adapter_file(1)


def test_a_changed_folder_of_the_model_is_noticed(home: Home, model: MlxFolder) -> None:
    (model.path / "chat_template.jinja").write_text("another")
    with Store(home.database) as store:
        assert any("has changed since" in line for line in verify_store(store))


def test_a_backup_holds_it_and_a_restore_gives_it_back(home: Home, tmp_path: Path) -> None:
    with Store(home.database) as store:
        assert write_backup(store, home, tmp_path / "b").adapters == 1
    new = Home(tmp_path / "new")
    restored = restore_backup(new, tmp_path / "b")
    assert (restored.adapters, restored.notes) == (1, ())
    with Store(new.database) as store:
        assert store.adapter_file(1) == new.adapter_folder("mine") / "mlx" and verify_store(store) == []


def test_pruning_leaves_it_and_takes_what_a_killed_import_left(home: Home) -> None:
    left = home.adapters / ".other.abc" / "mlx"
    left.mkdir(parents=True)
    for path in (left.parent, left, home.adapter_folder("mine"), home.adapter_folder("mine") / "mlx"):
        os.utime(path, (0, 0))
    for path in home.adapter_folder("mine").rglob("*"):
        os.utime(path, (0, 0))
    with Store(home.database) as store:
        found = {path for one in find_prunable(store, home) for path in one.paths}
    assert left.parent in found and home.adapter_folder("mine") not in found


def test_it_is_listed_renamed_and_deleted(home: Home) -> None:
    listed = CliRunner().invoke(main, ["--home", str(home.path), "adapters"])
    assert "mine" in listed.stdout and "mlx" in listed.stdout
    with Store(home.database) as store:
        store.rename_adapter(1, "other")
        assert store.adapter_file(1) is not None and verify_store(store) == []
        paths = store.delete_adapter(1)
    assert sorted(path.name for path in paths) == ["mlx", "peft"] and all(path.is_dir() for path in paths)


def test_export_writes_the_forms_that_hold_the_adapter_alone(home: Home, model: MlxFolder, tmp_path: Path) -> None:
    with Store(home.database) as store:
        for form in ("mlx", "peft"):
            (line,) = export_adapter(store, home, 1, form, "shipped", tmp_path / f"as-{form}")
            assert str(tmp_path / f"as-{form}") in line
            assert read_adapter(tmp_path / f"as-{form}", model).scale == 2.0
        (line,) = export_adapter(store, home, 1, "gguf-lora", "shipped", tmp_path / "a.gguf")
        assert "--lora a.gguf" in line and (tmp_path / "a.gguf").read_bytes().startswith(b"GGUF")
        with pytest.raises(ConselfError, match="already exists"):
            export_adapter(store, home, 1, "mlx", "shipped", tmp_path / "as-mlx")
        model.path.rename(tmp_path / "moved")
        with pytest.raises(ConselfError, match="was made for is not at"):
            export_adapter(store, home, 1, "peft", "shipped", tmp_path / "again")


def test_a_gguf_adapter_and_a_folder_do_not_fit(model: MlxFolder, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConselfError, match="needs a GGUF file"):
        read_adapter(tmp_path / "a.gguf", model)


def _set(folder: Path, **values: object) -> None:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))


def test_what_mlx_lm_could_not_take_off_again_is_refused(model: MlxFolder, tmp_path: Path) -> None:
    """It prevents an evaluation of the base model with DoRA layers, or layers of other maps, still on it."""
    folder = tmp_path / "adapter"
    write_mlx(random_mlx_adapter(model), folder, 2)
    verify_mlx_adapter(folder, model)
    for values, says in (
        ({"fine_tune_type": "dora"}, "not a LoRA adapter"),
        ({"fine_tune_type": "full"}, "not a LoRA adapter"),
        ({"lora_parameters": {"rank": 3, "scale": 1.0}}, "has the shape"),
        ({"lora_parameters": []}, "not an adapter of"),
    ):
        write_mlx(random_mlx_adapter(model), folder, 2)
        _set(folder, **values)
        with pytest.raises(ConselfError, match=says):
            verify_mlx_adapter(folder, model)
    write_mlx(random_mlx_adapter(model), folder, 2)
    save_file({"model.embed_tokens.lora_a": np.zeros((8, 2), dtype=np.float32)}, folder / "adapters.safetensors")
    with pytest.raises(ConselfError, match="not part of a linear map"):
        verify_mlx_adapter(folder, model)
    with pytest.raises(ConselfError):
        read_mlx(folder, model)
