"""Run an engine in a process that reads and writes JSON lines; `engine_process.py` starts it.

The engines are `LlamaEngine`, `MlxEngine` and `OpenVinoEngine`; only the library of the one that runs is imported.
Replies go to a duplicate of standard output; everything that a library prints goes to standard error. The process exits
at the end of standard input, so it never outlives its parent. While it loads and decodes, it sends heartbeats from its
own loop, so a decode that hangs is noticed. Requests are not stored: `engine_process.py` sends them again after a
restart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from conself_local.errors import ConselfError
from conself_local.machine.child_pipe import Heartbeat
from conself_local.model_files.chat_template import TemplateRenderer
from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.model_files.model import Model
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.generation import Generation
from conself_local.sampling.sampler import ChatMessage, Completion, SampleRequest

NICENESS = 5
"""Niceness of the engine, so that the laptop remains usable.

The sandbox's fork servers have 10, so that they do not delay the engine's threads, which wait for one another.
"""


class Engine(Protocol):
    """The interface of all engines."""

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or in progress."""

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Return the token ids; with `special`, the text of special tokens becomes those tokens."""

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens; special tokens have none."""

    def submit(self, request: SampleRequest) -> None:
        """Append a request to the queue; `step` works on it."""

    def step(self) -> Iterator[Completion]:
        """Advance the requests by one decode and yield the completions that ended."""

    def under_way(self) -> Iterator[Generation]:
        """Iterate over the completions in progress."""

    def cancel(self, key: str) -> None:
        """Forget the request of this key, waiting or in progress; no completion follows. Unknown keys are ignored."""

    def set_threads(self, threads: int) -> None:
        """Use this number of threads from the next decode on."""

    def measure(self, prompts: Sequence[Sequence[int]], seconds: float, max_new_tokens: int) -> float:
        """Return tokens per second with every slot busy; call it only while idle."""

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token; call it only while idle."""


def main() -> None:
    """Load the engine that the command line names and serve calls until standard input ends.

    A ConselfError is written as a JSON line with `error` and `hint`, and ends the process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["llama", "mlx", "openvino"])
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or MLX folder with the weights")
    parser.add_argument("--described-by", type=Path, help="GGUF file with the chat template (not for mlx)")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--longest", type=int, help="openvino: most tokens of prompt and completion together")
    parser.add_argument("--device", default="CPU", help="openvino: CPU or GPU")
    parser.add_argument("--precision", default="", help="openvino: number format of the arithmetic")
    options = parser.parse_args()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.nice(NICENESS)
    try:
        engine, renderer = _OPENERS[options.engine](options, Heartbeat(channel))
        with renderer:
            _write(channel, {"ready": True})
            _serve(engine, renderer, channel)
    except ConselfError as error:
        _write(channel, {"error": error.message, "hint": error.hint})


def _open_llama(options: argparse.Namespace, heartbeat: Heartbeat) -> tuple[Engine, TemplateRenderer]:
    from conself_local.sampling.llama_engine import LlamaEngine

    described = load_model_file(options.described_by)
    renderer = _renderer(described)
    engine = LlamaEngine(
        options.model,
        slots=options.slots,
        context_tokens=options.context_tokens,
        threads=options.threads,
        gpu_layers=options.gpu_layers,
        on_progress=heartbeat,
        end_token=described.end_token,
    )
    return engine, renderer


def _open_openvino(options: argparse.Namespace, heartbeat: Heartbeat) -> tuple[Engine, TemplateRenderer]:
    from conself_local.sampling.openvino_engine import OpenVinoEngine
    from conself_local.sampling.openvino_runtime import RuntimeOptions
    from conself_local.sampling.vocabulary import load_vocabulary

    described = load_model_file(options.described_by)
    renderer = _renderer(described)
    engine = OpenVinoEngine(
        options.model,
        load_vocabulary(described.path, described.end_token),
        RuntimeOptions(options.slots, options.context_tokens, options.threads, options.device, options.precision),
        longest=options.longest,
        on_progress=heartbeat,
    )
    return engine, renderer


def _renderer(described: Model) -> TemplateRenderer:
    """Return the renderer of the model's template, after one try that says at once if it cannot be rendered."""
    renderer = TemplateRenderer(described.chat_template, described.special_tokens)
    renderer.render([ChatMessage("user", "Write a function.")])
    return renderer


def _open_mlx(options: argparse.Namespace, heartbeat: Heartbeat) -> tuple[Engine, TemplateRenderer]:
    from conself_local.sampling.mlx_engine import MlxEngine

    renderer = _renderer(load_mlx_folder(options.model))
    engine = MlxEngine(options.model, slots=options.slots, context_tokens=options.context_tokens, on_progress=heartbeat)
    return engine, renderer


_OPENERS = {"llama": _open_llama, "mlx": _open_mlx, "openvino": _open_openvino}


def _serve(engine: Engine, renderer: TemplateRenderer, channel: Any) -> None:
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_requests, args=(inbox,), daemon=True).start()
    while True:
        while not engine.busy or not inbox.empty():
            _handle(engine, renderer, inbox.get(), channel)
        for completion in engine.step():
            _write(channel, dataclasses.asdict(completion))
        for generation in engine.under_way():
            if generation.request.stream and (text := generation.new_text()):
                tokens = len(generation.token_ids)
                _write(channel, {"partial": generation.request.key, "text": text, "tokens": tokens})


def _read_requests(inbox: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _handle(engine: Engine, renderer: TemplateRenderer, call: dict[str, Any], channel: Any) -> None:
    if call["op"] == "sample":
        request = call["request"]
        request["prompt_token_ids"] = tuple(request["prompt_token_ids"])
        request["adapter"] = Path(request["adapter"]) if request["adapter"] else None
        engine.submit(SampleRequest(**request))
    elif call["op"] == "cancel":
        engine.cancel(call["key"])
    elif call["op"] in ("encode", "tokenize"):
        try:
            _write(channel, _encode(engine, renderer, call))
        except ConselfError as error:  # of this call only: other requests are in progress
            _write(channel, {"refused": error.message, "hint": error.hint})
    elif call["op"] == "detokenize":
        _write(channel, {"text": engine.detokenize(call["token_ids"])})
    elif call["op"] == "threads":
        engine.set_threads(call["threads"])
        _write(channel, {"threads": call["threads"]})
    elif call["op"] == "measure":
        _write(channel, {"rate": engine.measure(call["prompts"], call["seconds"], call["max_new_tokens"])})
    elif call["op"] == "score":
        adapter = Path(call["adapter"]) if call["adapter"] else None
        _write(channel, {"logps": engine.score(call["prompt"], call["completion"], adapter)})


def _encode(engine: Engine, renderer: TemplateRenderer, call: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt that a call asks for, or the tokens of its text."""
    if call["op"] == "tokenize":
        return {"text": call["text"], "token_ids": engine.tokenize(call["text"], special=call["special"])}
    messages = [ChatMessage(**m) for m in call["messages"]]
    text = renderer.render(messages, thinking=call["thinking"]) + call["answer_prefix"]
    return {"text": text, "token_ids": engine.tokenize(text)}


def _write(channel: Any, value: dict[str, Any]) -> None:
    channel.write(json.dumps(value) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
