"""Export an adapter for other tools, and measure how much of its change a merged file keeps.

A merged file is loaded and scored before it gets its name, because small updates can vanish when they are rounded to
few bits (ARahim3/mlx-tune#15). It is scored on pairs of rounds or, if there are none, on reference programs of the
starter pack. Not covered: whether the merged model answers well; only log-probabilities are compared.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from conself_local.adapters.folder_to_gguf import write_gguf_of_folder
from conself_local.adapters.formats import read_adapter, write_mlx, write_peft
from conself_local.adapters.fuse import fuse_folder
from conself_local.adapters.merge import merge_adapter
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.converted_weights import AUTOMATIC, ORIGINAL
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, gguf_model, open_model
from conself_local.model_files.model_file import ModelFile
from conself_local.new_files import give_away, verify_new, whole_file, whole_folder
from conself_local.problems.load import load_starter
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.open_engine import open_original
from conself_local.sampling.prompts import program_messages
from conself_local.store.model_changes import verify_model_of
from conself_local.store.store import Row, Store

ExportFormat = Literal["gguf-lora", "peft", "mlx", "merged"]
_SCORED_PAIRS = 12
_SCORED_REFERENCES = 6
_REFERENCE_TOKENS = 1024
"""Longest prompt and reference program together."""
_SMALLEST_FIRST = (ORIGINAL, "Q8_0", "BF16")
"""The number formats of a merged file, of which `auto` is the first that keeps the gain."""
_SMALLEST_FIRST_OF_FOLDER = (ORIGINAL, "BF16")
TokenIds = tuple[int, ...]
LOST = 0.5
"""The gain counts as lost if merged file and adapter differ by at least this share of what the adapter moved."""


@dataclass(frozen=True)
class MergeFidelity:
    """Mean absolute differences of log-probability, in nats per token, on the same completions."""

    moved: float
    """Mean of |adapter - base|, in nats per token."""
    gap: float
    """Mean of |merged - adapter|, in nats per token."""

    @property
    def lost(self) -> bool:
        """Whether `gap` is at least `LOST` times `moved`; True also if the adapter moves nothing."""
        return self.gap >= LOST * self.moved

    def describe(self, weights_format: str, beside: str = "gguf-lora") -> str:
        """Return one sentence for the user; if the gain is lost, it names what to try instead of `weights_format`.

        beside: the form of the adapter as a file beside the model.
        """
        measured = (
            f"the adapter moves log-probabilities by {self.moved:.4f} nats per token; "
            f"the merged file differs from it by {self.gap:.4f}"
        )
        if not self.lost:
            return f"{measured}: {1 - self.gap / self.moved:.0%} of the change is kept"
        remedy = (
            "BF16 (--number-format BF16)"
            if weights_format != "BF16"
            else f"the adapter as a file beside the model (--as {beside})"
        )
        return f"{measured}: the gain is lost in the rounding; to keep it, use {remedy}"


def export_adapter(
    store: Store, home: Home, adapter_id: int, export_format: ExportFormat, weights_format: str, target: Path
) -> list[str]:
    """Write `target` (a file, or a folder for `peft` and `mlx`) and return sentences that describe it.

    weights_format: one of `FORMAT_CHOICES`; it matters for `merged` only, which also writes `<target>.Modelfile` for
    Ollama. The merged model of a folder of MLX weights is a folder, in a format of `FUSED_FORMATS` or the first that
    keeps the gain, without a Modelfile.
    Raises ConselfError if a file that would be written exists, if the adapter's file or model is gone or has changed,
    or if the format cannot be written.
    """
    row = store.adapter(adapter_id)
    source = store.adapter_file(adapter_id)
    assert source is not None, "only the base model has no file"
    if row["form"] == "mlx":
        return _export_of_folder(store, home, row, source, export_format, weights_format, target)
    modelfile = target.with_suffix(".Modelfile")
    for path in (target, modelfile) if export_format == "merged" else (target,):
        verify_new(path)
    if export_format == "gguf-lora":
        with whole_file(target, replace=False) as part:
            shutil.copyfile(source, part)
        return [f"{target}: load it together with the model, for example: llama-server --lora {target.name}"]
    model = gguf_model(_model_of(row), "a GGUF adapter")
    if export_format == "merged":
        return _export_merged(store, home, row, model, source, weights_format, target, modelfile)
    adapter = read_adapter(source, model)
    with whole_folder(target) as part:
        if export_format == "peft":
            write_peft(adapter, part, model.architecture)
        else:
            write_mlx(adapter, part, model.block_count)
        give_away(part)
    return [f"{target}: an adapter folder for {'peft' if export_format == 'peft' else 'mlx-lm'}"]


def _export_of_folder(
    store: Store,
    home: Home,
    row: Row,
    source: Path,
    export_format: ExportFormat,
    weights_format: str,
    target: Path,
) -> list[str]:
    """Write an adapter that was made for a folder of MLX weights, as `export_adapter` does."""
    verify_new(target)
    model = _model_of(row)
    if not isinstance(model, MlxFolder):
        raise ConselfError(f"{model.path} is not the folder that the adapter was made for", "move the folder back")
    if export_format == "merged":
        return _export_fused(store, home, row, model, source, weights_format, target)
    adapter = read_adapter(source, model)
    if export_format == "gguf-lora":
        with whole_file(target, replace=False) as part:
            write_gguf_of_folder(adapter, model, part)
        return [f"{target}: load it with a GGUF of the same model, for example: llama-server --lora {target.name}"]
    with whole_folder(target) as part:
        if export_format == "peft":
            write_peft(adapter, part, model.architecture)
            give_away(part)
            return [f"{target}: an adapter folder for peft"]
        write_mlx(adapter, part, model.block_count)
        give_away(part)
    return [f"{target}: an adapter folder for mlx-lm: mlx_lm.generate --model {model.path} --adapter-path {target}"]


def _export_fused(
    store: Store, home: Home, row: Row, model: MlxFolder, source: Path, weights_format: str, target: Path
) -> list[str]:
    """Write the folder with the adapter of `row` merged into it, once it is measured."""
    notices: list[str] = []
    completions, measured_on = _completions(store, row, model, home.cache, notices.append)
    formats = _SMALLEST_FIRST_OF_FOLDER if weights_format == AUTOMATIC else (weights_format,)
    measure = fidelity_meter(model, source, completions, home.cache, notices.append)
    with whole_folder(target) as part:

        def write(number_format: str) -> MergeFidelity:
            shutil.rmtree(part)
            part.mkdir()
            fuse_folder(model, source, part, number_format)
            return measure(part)

        written, fidelity = _first_that_keeps(formats, write)
        give_away(part)
    return [
        *notices,
        f"{target}: {model.name} with the adapter merged into it{_in_another(written, formats)}",
        f"measured on {measured_on}: {fidelity.describe(written, 'mlx')}",
        f"mlx-lm: mlx_lm.generate --model {target}",
        f"LM Studio: move it to ~/.lmstudio/models/conself/{row['name']}/",
    ]


def _completions(
    store: Store, row: Row, model: Model, cache: Path, on_notice: Callable[[str], None]
) -> tuple[list[tuple[TokenIds, TokenIds]], str]:
    """Return what a merged model is measured on, (prompt, completion) token ids, and how that is called."""
    completions = _pair_completions(store, row["round_id"], model)
    if completions:
        return completions, f"the programs of {len(completions) // 2} pairs"
    completions = _reference_completions(model, cache, on_notice)
    return completions, f"{len(completions)} reference programs of the starter pack"


def _export_merged(
    store: Store,
    home: Home,
    row: Row,
    model: ModelFile,
    source: Path,
    weights_format: str,
    target: Path,
    modelfile: Path,
) -> list[str]:
    """Write the model with the adapter of `row` merged into it, once it is measured, and its Modelfile."""
    notices: list[str] = []
    completions, measured_on = _completions(store, row, model, home.cache, notices.append)
    formats = _SMALLEST_FIRST if weights_format == AUTOMATIC else (weights_format,)
    measure = fidelity_meter(model, source, completions, home.cache, notices.append)
    with whole_file(target, replace=False) as part:

        def write(number_format: str) -> MergeFidelity:
            merge_adapter(model, source, part, number_format, home.cache)
            return measure(part)

        written, fidelity = _first_that_keeps(formats, write)
    with whole_file(modelfile, replace=False) as part:
        part.write_text(f"FROM ./{target.name}\n", encoding="utf-8")
    return [
        *notices,
        f"{target}: {model.path.name} with the adapter merged into it{_in_another(written, formats)}",
        f"measured on {measured_on}: {fidelity.describe(written)}",
        f"Ollama: ollama create {row['name']} -f {modelfile}",
        f"LM Studio: move it to ~/.lmstudio/models/conself/{row['name']}/",
    ]


def _first_that_keeps(formats: Sequence[str], write: Callable[[str], MergeFidelity]) -> tuple[str, MergeFidelity]:
    """Write one format after the other until the gain is not lost, or to the last one; return what stands then."""
    for number_format in formats:
        fidelity = write(number_format)
        if not fidelity.lost:
            break
    return number_format, fidelity


def _in_another(written: str, formats: Sequence[str]) -> str:
    """Return in words why a merged model is not in the first of the formats that were tried; empty if it is."""
    before = formats[: formats.index(written)]
    return f", in {written}, because the gain is lost in {' and in '.join(before)}" if before else ""


def fidelity_meter(
    model: Model,
    adapter: Path,
    completions: Sequence[tuple[Sequence[int], Sequence[int]]],
    cache: Path,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Callable[[Path], MergeFidelity]:
    """Return what measures a merged file or folder against base and adapter, on the same completions and engine.

    adapter: a file or folder that the engine of the model loads; completions: (prompt, completion) token ids, at least
    one. Differences are averaged over the tokens of all completions. on_notice: called with a sentence for the user
    when an engine is restarted. Base and adapter are scored once, when the first merged file is measured.
    Measuring raises ConselfError if a model cannot be loaded.
    """
    longest = max(len(prompt) + len(completion) for prompt, completion in completions) + 1

    def score(model_file: Model, lora: Path | None) -> list[float]:
        with _open(model_file, cache, max(longest, 256), on_notice) as engine:
            return [logp for prompt, completion in completions for logp in engine.score(prompt, completion, lora)]

    @functools.cache
    def scores_before() -> tuple[list[float], list[float]]:
        return score(model, None), score(model, adapter)

    def measure(merged: Path) -> MergeFidelity:
        of_base, of_adapter = scores_before()
        of_merged = score(open_model(merged), None)
        return MergeFidelity(
            fmean(abs(a - b) for a, b in zip(of_adapter, of_base, strict=True)),
            fmean(abs(a - b) for a, b in zip(of_merged, of_adapter, strict=True)),
        )

    return measure


def _open(model: Model, cache: Path, longest: int, on_notice: Callable[[str], None]) -> EngineProcess:
    return open_original(
        model, cache, slots=1, threads=usable_cores(), longest=longest, use_gpu=False, on_notice=on_notice
    )


def _model_of(adapter: Row) -> Model:
    """Return the model that an adapter was made for. Raises ConselfError if its file is missing or has changed."""
    path = adapter["model_path"]
    if path is None or not Path(path).exists():
        raise ConselfError(
            f"the model that adapter {adapter['id']} ({adapter['name']}) was made for is not at {path}",
            "move it back to that path",
        )
    model = open_model(Path(path))
    verify_model_of(adapter, model)
    return model


def _pair_completions(store: Store, round_id: int, model: Model) -> list[tuple[TokenIds, TokenIds]]:
    """Return (prompt, completion) token ids of the chosen and rejected side of at most `_SCORED_PAIRS` pairs.

    The pairs are the round's own; for an imported adapter (round 0) they come from any round on the same model.
    """
    sql = """select q.prompt_id, c.token_ids as chosen, r.token_ids as rejected from pairs q
             join rounds on rounds.id = q.round_id and rounds.model_sha256 = ?
             join samples c on c.id = q.chosen_id join samples r on r.id = q.rejected_id
             where ? in (0, q.round_id) order by q.round_id, q.position limit ?"""
    completions = []
    for row in store.rows(sql, model.sha256, round_id, _SCORED_PAIRS):
        prompt = store.prompt_token_ids(row["prompt_id"])
        completions += [(prompt, tuple(json.loads(row[side]))) for side in ("chosen", "rejected")]
    return completions


def _reference_completions(
    model: Model, cache: Path, on_notice: Callable[[str], None]
) -> list[tuple[TokenIds, TokenIds]]:
    """Return (prompt, completion) token ids of reference programs of the starter pack, which fit the model's context.

    Raises ConselfError if none does, or if the model's template refuses the prompt.
    """
    longest = min(model.context_length, _REFERENCE_TOKENS)
    completions = []
    with _open(model, cache, longest, on_notice) as engine:
        for problem in load_starter(("validation",))[:_SCORED_REFERENCES]:
            prompt = engine.encode(program_messages(problem)).token_ids
            completion = tuple(engine.tokenize(f"```python\n{(problem.reference or '').strip()}\n```"))
            if completion and len(prompt) + len(completion) < longest:
                completions.append((prompt, completion))
    if not completions:
        raise ConselfError(
            f"no program fits the context of {model.name}, so the merged file cannot be measured",
            "export the adapter as a file beside the model (--as gguf-lora)",
        )
    return completions
