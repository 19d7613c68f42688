"""The check for graphics cards runs on the processor through the same code, without ggml; its fixture is ggml's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import pytest
import torch

from conself_local.model_files import ggml
from tests.gpu import check, device
from tests.gpu.fixture import TYPES, make_fixture, read_fixture
from tests.gpu.report import Report

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_fixture_holds_the_values_of_the_installed_ggml() -> None:
    stored, made = read_fixture(), make_fixture()
    assert set(stored) == set(made) == set(TYPES)
    for name, (blocks, values) in made.items():
        assert np.array_equal(stored[name][0], blocks), name
        assert np.array_equal(stored[name][1].view(np.uint32), values.view(np.uint32)), name


def test_every_check_runs_on_the_processor_without_ggml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machines with cards have no llama-cpp-python: whatever called its library would fail there."""

    def fails() -> NoReturn:
        raise AssertionError("ggml's library was asked for")

    monkeypatch.setattr(ggml, "_library", fails)
    monkeypatch.setattr("tests.gpu.exactness.has_ggml", lambda: False)
    monkeypatch.setattr(device, "has_ggml", lambda: False)
    assert check.main(["--device", "cpu", "--without-trl"]) == 0
    printed = capsys.readouterr().out
    assert "failed" not in printed and "MISSED" not in printed and "no goal was missed" in printed
    assert "21 of 21 types equal" in printed and "llama-cpp-python is not installed" in printed
    assert "continued with step 3, largest difference 0.0e+00" in printed
    for row in ("(b) tiny", "(c) tiny in place of 7B", "(d) speed", "(d) TRL", "(c) 1.5B and 14B"):
        assert f"| {row}" in printed, row


def test_without_a_card_the_check_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSELF_TRAIN_ON", "cpu")
    assert check.main([]) == 2
    assert "no graphics card" in capsys.readouterr().out


def test_an_error_in_one_check_is_a_row_and_the_next_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(100.0)
    report.run("first", 5.0, lambda: report.add("first", "1", "2", 0.5, "at least 1", False))
    report.run("broken", 5.0, _broken)
    report.run("second", 1000.0, _broken)
    assert report.failed and "ValueError: no such | device" in capsys.readouterr().out
    assert "may take 1000 s" in report.table() and "no such / device" in report.table()
    assert report.table().splitlines()[2] == "| first | 1 | 2 | 0.5 | at least 1 | MISSED |"


def _broken() -> None:
    raise ValueError("no such | device")
