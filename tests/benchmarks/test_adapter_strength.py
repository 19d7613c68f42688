"""A weaker adapter has a part of the effect, and its home continues the first round where it had not been judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conself_local.adapters.formats import Adapter, read_gguf, write_gguf
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model import gguf_model, open_model
from conself_local.settings import replace_values, settings_to_json
from conself_local.store.store import Store
from tests.benchmarks.adapter_strength import copy_weakened
from tests.fakes.home_of_rounds import make_home

_NAME = "model.layers.0.self_attn.q_proj"
MODEL = gguf_model(open_model(bundled_model()), "this test")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with an adapter of one map, and a second round that has begun from it."""
    home = make_home(tmp_path / "home")
    rows = np.random.default_rng(0).normal(size=(2, 2, 576)).astype(np.float32)
    write_gguf(
        Adapter(2.0, {_NAME: (rows[0], rows[1].T.copy())}), MODEL, home.adapter_folder("round-1") / "adapter.gguf"
    )
    return home


def test_the_effect_is_halved_and_the_round_is_judged_anew(home: Home, tmp_path: Path) -> None:
    weak = Home(tmp_path / "weak")
    copy_weakened(home, weak, 0.5)
    with Store(weak.database) as store:
        assert store.rows("select id, state from rounds") == [{"id": 1, "state": "running"}]
        assert {row["arm"] for row in store.rows("select distinct arm from evaluation_samples")} == {"base"}
        assert not store.value("select count(*) from evaluations") and store.rows("pragma foreign_key_check") == []
        assert not {"decide", "evaluate validation"} & {row["stage"] for row in store.rows("select stage from stages")}
        path = store.adapter_file(1)
    assert path and path.is_relative_to(weak.path)
    found = read_gguf(path, MODEL)
    whole = read_gguf(home.adapter_folder("round-1") / "adapter.gguf", MODEL)
    assert found.scale == whole.scale and np.array_equal(found.maps[_NAME][0], whole.maps[_NAME][0])
    assert np.array_equal(found.maps[_NAME][1], whole.maps[_NAME][1] / 2)


def test_a_round_that_was_not_judged_is_refused(home: Home, tmp_path: Path) -> None:
    with Store(home.database) as store:
        store.db.execute("delete from evaluations")
    weak = Home(tmp_path / "weak")
    with pytest.raises(ConselfError, match="was not judged"):
        copy_weakened(home, weak, 0.5)
    assert not weak.database.exists()


def test_a_round_that_kept_a_part_itself_is_refused(home: Home, tmp_path: Path) -> None:
    """Its adapter would have a part of a part, under the wrong name."""
    with Store(home.database) as store:
        settings = settings_to_json(replace_values(store.round(1).settings, {"training.strength": 0.25}))
        store.db.table("rounds").update(1, {"settings": json.dumps(settings)})
    with pytest.raises(ConselfError, match="keeps a part"):
        copy_weakened(home, Home(tmp_path / "weak"), 0.5)
