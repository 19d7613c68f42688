"""An adapter in a form that other tools use, and how much of what it learnt that form keeps.

A merged file is loaded and asked again: small updates can vanish when they are merged into few bits (ARahim3/mlx-tune#15).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from conself_local.adapters.formats import read_adapter, write_mlx, write_peft
from conself_local.adapters.merge import merge_adapter
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.sampling.open_engine import open_llama
from conself_local.store.store import Store

ExportFormat = Literal["gguf-lora", "peft", "mlx", "merged"]
_ASKED_PAIRS = 12
LOST = 0.5
"""The gain counts as lost when merged and adapter differ by more than this share of what the adapter moved."""


@dataclass(frozen=True)
class MergeFidelity:
    """Mean absolute differences of log-probability, nats a token, on completions of the adapter's own round."""

    moved: float
    """|adapter - base|"""
    gap: float
    """|merged - adapter|"""

    @property
    def lost(self) -> bool:
        return self.gap >= LOST * self.moved

    def words(self, export_format: str) -> str:
        told = f"the adapter moves log-probabilities by {self.moved:.4f} nats a token; the merged file is {self.gap:.4f} from it"
        if not self.lost:
            return f"{told}: {1 - self.gap / self.moved:.0%} of the change is kept"
        better = (
            "BF16 (--number-format BF16)"
            if export_format != "BF16"
            else "the adapter beside the model (--as gguf-lora)"
        )
        return f"{told}: the gain is lost in the rounding; what keeps it: {better}"


def export_adapter(
    store: Store, home: Home, adapter_id: int, export_format: ExportFormat, weights_format: str, target: Path
) -> list[str]:
    """Write `target` (a file, or a folder for `peft` and `mlx`) and tell in sentences what it is and what it keeps."""
    row = store.adapter(adapter_id)
    source = store.adapter_file(adapter_id)
    assert source is not None, "only the base model has no file"
    if target.exists():
        raise ConselfError(f"{target} is there already", "give another path")
    if export_format == "gguf-lora":
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return [f"{target}: load it beside the model, e.g. llama-server --lora {target.name}"]
    model = _model_of(store, row["model_path"], row["model_sha256"])
    if export_format == "merged":
        merge_adapter(model, source, target, weights_format, home.cache)
        kept = measure_fidelity(model, source, target, _completions(store, row["round_id"]), home.cache)
        modelfile = target.with_name("Modelfile")
        modelfile.write_text(f"FROM ./{target.name}\n", encoding="utf-8")
        return [
            f"{target}: {model.path.name} with the adapter in it",
            kept.words(weights_format),
            f"Ollama: ollama create {row['name']} -f {modelfile}",
            f"LM Studio: put it in ~/.lmstudio/models/conself/{row['name']}/",
        ]
    adapter = read_adapter(source, model)
    if export_format == "peft":
        write_peft(adapter, target, model.architecture)
    else:
        write_mlx(adapter, target, model.block_count)
    return [f"{target}: an adapter folder for {'peft' if export_format == 'peft' else 'mlx-lm'}"]


def measure_fidelity(
    model: ModelFile, adapter: Path, merged: Path, asked: Sequence[tuple[Sequence[int], Sequence[int]]], cache: Path
) -> MergeFidelity:
    """asked: (prompt, completion) token ids; all three are asked by the same engine in the same way."""
    longest = max(len(prompt) + len(completion) for prompt, completion in asked) + 1

    def ask(of: ModelFile, lora: Path | None) -> list[float]:
        with open_llama(of, ORIGINAL, cache, slots=1, threads=1, longest=max(longest, 256), use_gpu=False) as engine:
            return [logp for prompt, completion in asked for logp in engine.score(prompt, completion, lora)]

    base, adapted, of_merged = ask(model, None), ask(model, adapter), ask(load_model_file(merged), None)
    return MergeFidelity(
        fmean(abs(a - b) for a, b in zip(adapted, base, strict=True)),
        fmean(abs(a - b) for a, b in zip(of_merged, adapted, strict=True)),
    )


def _model_of(store: Store, path: str | None, sha256: str | None) -> ModelFile:
    if path is None or not Path(path).is_file():
        raise ConselfError(f"the model that the adapter belongs to is not at {path}", "put it back where it was")
    model = load_model_file(Path(path))
    if model.sha256 != sha256:
        raise ConselfError(f"{path} has changed since the adapter was made", "put the old file back")
    return model


def _completions(store: Store, round_id: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Of the round's pairs, chosen and rejected; of an imported adapter those of any round."""
    sql = """select q.prompt_id, c.token_ids as chosen, r.token_ids as rejected from pairs q join samples c on c.id = q.chosen_id
             join samples r on r.id = q.rejected_id where ? in (0, q.round_id) order by q.round_id, q.position limit ?"""
    asked = []
    for row in store.rows(sql, round_id, _ASKED_PAIRS):
        prompt = store.prompt_token_ids(row["prompt_id"])
        asked += [(prompt, tuple(json.loads(row[side]))) for side in ("chosen", "rejected")]
    if not asked:
        raise ConselfError("this home has no pairs to ask the merged file about", "run a round first: conself run")
    return asked
