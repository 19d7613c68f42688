"""Bring a copy of the real round's store into the states that a round passes through, for tests and screenshots."""

from __future__ import annotations

from conself_local.store.store import Store

_LATER = {
    "sampling": ("evaluations", "evaluation_samples", "training_steps", "pairs", "sample_scores", "metrics"),
    "training": ("evaluations", "evaluation_samples"),
    "judging": ("evaluations",),
}
_STAGES_LEFT = {
    "sampling": ("observe",),
    "training": ("observe", "sample", "execute", "grow", "score", "pair", "running copy"),
    "judging": ("observe", "sample", "execute", "grow", "score", "pair", "running copy", "train"),
}


def rewind(store: Store, stage: str) -> None:
    """Take the round back to the middle of a stage: `sampling`, `training` or `judging`."""
    with store.transaction():
        for table in _LATER[stage]:
            store.db.execute(f"delete from {table}")
        if stage != "judging":
            store.db.execute("delete from adapters")
        if stage == "sampling":
            store.db.execute("delete from samples where rowid > (select max(rowid) * 0.6 from samples)")
            store.db.execute("delete from grown_inputs")
            store.db.execute("update round_problems set grown = null")
        if stage == "training":
            store.db.execute("delete from training_steps where step > (select max(step) * 0.6 from training_steps)")
        kept = ", ".join(f"'{name}'" for name in _STAGES_LEFT[stage])
        store.db.execute(f"delete from stages where stage not in ({kept})")
        store.db.execute("update rounds set state = 'running'")


def train_longer(store: Store, steps: int = 58) -> None:
    """Give the round more training steps than its few pairs took, with a loss that falls."""
    first = store.row("select * from training_steps order by step limit 1")
    with store.transaction():
        store.db.execute("delete from training_steps")
        for step in range(1, steps + 1):
            noise = ((step * 7919) % 13 - 6) / 60
            fallen = step / steps
            store.db.table("training_steps").insert(
                first
                | {
                    "step": step,
                    "steps": steps,
                    "loss": 0.69 - 0.24 * fallen + noise * 0.3,
                    "margin": 0.8 * fallen + noise,
                    "reward_accuracy": min(1.0, max(0.0, 0.5 + 0.4 * fallen + noise)),
                    "chosen_logp_shift": 0.05 * fallen + noise * 0.1,
                }
            )


def change_answers(store: Store) -> None:
    """Make the evaluation gain two problems and lose one, with an interval above 0 on the held-out problems."""
    import json

    for row in store.rows("select rowid as id, benchmark, result from evaluations"):
        result = json.loads(row["result"])
        problems = [
            r["problem_id"]
            for r in store.rows(
                "select distinct problem_id from evaluation_samples where benchmark = ? and mode = 'greedy'",
                row["benchmark"],
            )
        ]
        if row["benchmark"] == "held-out":
            result |= {"gained": problems[:2], "lost": problems[2:3], "difference": 0.12, "interval_95": [0.03, 0.2]}
            result["verdict"] = "better (+12.0 points pass@1, 95 % interval +3.0 to +20.0)"
        store.db.execute("update evaluations set result = ? where rowid = ?", [json.dumps(result), row["id"]])
