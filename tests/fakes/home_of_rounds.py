"""Make a home with one real finished round, copies of it that are abandoned or unfinished, and files as rounds leave them."""

from __future__ import annotations

import shutil
from pathlib import Path

from conself_local.hashes import content_id, file_sha256
from conself_local.home import Home
from conself_local.model_files.bundled import BUNDLED_SHA256, bundled_model
from conself_local.store.store import Store

REAL_ROUND = Path(__file__).parents[1] / "tui" / "real_round.db"
ABANDONED, UNFINISHED = 2, 3
_OF_A_ROUND = ("round_problems", "observations", "metrics", "grown_inputs")
_STAGES = ("observe", "sample", "execute", "grow", "score", "pair", "running copy")


def make_home(path: Path) -> Home:
    """Return a home with round 1 (done, with an adapter), 2 (abandoned) and 3 (unfinished, with its pairs).

    The files of the adapter are not weights. Each round has a training folder.
    """
    home = Home(path)
    shutil.copy(REAL_ROUND, home.database)
    home.database.chmod(0o600)
    gguf, peft = home.adapter_folder("round-1") / "adapter.gguf", home.adapter_folder("round-1") / "peft"
    peft.mkdir(parents=True)
    for file in (gguf, peft / "adapter_config.json", peft / "adapter_model.safetensors"):
        file.write_bytes(file.name.encode() * 1000)
    with Store(home.database) as store:
        files = {"peft_path": str(peft), "path": str(gguf), "sha256": file_sha256(gguf)}
        model = {"model_path": str(bundled_model()), "model_sha256": BUNDLED_SHA256}
        store.db.table("adapters").update(1, files | model)
        store.db.table("rounds").update(1, model)
        store.db.execute("update rounds set request = json_set(request, '$.problems', null)")
        copy_round(store, ABANDONED, "abandoned")
        copy_round(store, UNFINISHED, "running")
    for round_id in (1, ABANDONED, UNFINISHED):
        checkpoint = home.training_folder(round_id) / "checkpoint"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.safetensors").write_bytes(bytes(10_000))
    return home


def copy_round(store: Store, round_id: int, state: str) -> None:
    """Store round 1 once more under another id, up to its pairs."""

    def renamed(sample_id: str) -> str:
        return f"{round_id}/{sample_id.partition('/')[2]}"

    with store.transaction():
        store.db.table("rounds").insert(
            store.row("select * from rounds where id = 1") | {"id": round_id, "state": state}
        )
        for table in _OF_A_ROUND:
            for row in store.rows(f"select * from {table} where round_id = 1"):
                store.db.table(table).insert(row | {"round_id": round_id})
        for stage in _STAGES:
            store.finish_stage(round_id, stage, store.stage_summary(1, stage) or "")
        for row in store.rows("select * from samples where round_id = 1 order by rowid"):
            store.insert_sample(row | {"round_id": round_id, "id": renamed(row["id"])})
        for row in store.rows("select * from sample_scores where round_id = 1"):
            new = {"round_id": round_id, "sample_id": renamed(row["sample_id"])}
            store.db.table("sample_scores").insert(row | new)
        for row in store.rows("select * from pairs where round_id = 1"):
            sides = renamed(row["chosen_id"]), renamed(row["rejected_id"])
            new = {
                "id": content_id("pair", sides),
                "chosen_id": sides[0],
                "rejected_id": sides[1],
                "round_id": round_id,
            }
            store.db.table("pairs").insert(row | new)


def add_own_programs(store: Store, round_id: int, count: int) -> None:
    """Store programs and samples that no other round has, with their executions, so that the round takes space."""
    sample = store.row("select * from samples where round_id = ? limit 1", round_id)
    execution = store.row("select * from executions where program_id = ?", sample["program_id"])
    problem = store.problem(sample["problem_id"])
    with store.transaction():
        for number in range(count):
            program = store.ensure_program(problem, f"def f():\n    return {number}  # {'x' * 400}\n")
            new = {
                "id": f"{round_id}/own/{number}",
                "program_id": program,
                "prompt_id": store.ensure_prompt("p", [number]),
            }
            store.insert_sample(sample | new)
            outputs = [("ok", str(number), "")] * len(problem.inputs)
            store.insert_execution(
                {k: v for k, v in execution.items() if k != "behaviour_id"} | {"program_id": program}, outputs
            )
