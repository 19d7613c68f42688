"""There is always one whole checkpoint, wherever the process is killed while it writes the next one."""

from __future__ import annotations

from pathlib import Path

from conself_local.training.checkpoint import Progress, read_checkpoint, write_checkpoint


def _write(folder: Path, step: int) -> None:
    def write_state(path: Path) -> None:
        path.write_bytes(bytes([step]))

    write_checkpoint(folder, Progress(step, "job", (0.1,)), write_state)


def test_a_checkpoint_is_replaced_whole_and_belongs_to_its_job(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert read_checkpoint(folder, "job") == (Progress(0, "job", ()), None)
    for step in (1, 2):
        _write(folder, step)
        progress, state = read_checkpoint(folder, "job")
        assert progress == Progress(step, "job", (0.1,)) and state is not None and state.read_bytes() == bytes([step])
    assert read_checkpoint(folder, "another job") == (Progress(0, "another job", ()), None)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_what_a_kill_leaves_behind_stops_no_later_checkpoint(tmp_path: Path) -> None:
    """A kill while the old checkpoint was deleted left a part of it, and the next checkpoint could not be written."""
    folder = tmp_path / "checkpoint"
    _write(folder, 1)
    (tmp_path / "checkpoint.old").mkdir()
    (tmp_path / "checkpoint.old" / "state.safetensors").write_bytes(b"left over")
    _write(folder, 2)
    assert read_checkpoint(folder, "job")[0].step == 2


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    _write(folder, 1)
    folder.rename(tmp_path / "checkpoint.old")
    assert read_checkpoint(folder, "job")[0].step == 1
    _write(folder, 2)
    assert read_checkpoint(folder, "job")[0].step == 2
