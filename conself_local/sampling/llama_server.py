"""The engine process: JSON lines in, JSON lines out, around `LlamaEngine`. Started by `llama_process.py`.

Standard output is the channel (a copy of it: whatever a library prints goes to standard error); the end of
standard input ends the process, so it never outlives its conductor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.sampling.chat_template import render_chat
from conself_local.sampling.gguf_file import ModelFile, load_model_file
from conself_local.sampling.llama_engine import LlamaEngine
from conself_local.sampling.sampler import ChatMessage, SampleRequest

NICENESS = 5
"""The laptop stays usable; the sandbox's fork servers have more (10), so that they never slow the engine's barriers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the file whose weights run")
    parser.add_argument("--described-by", type=Path, required=True, help="the file whose template renders")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gpu-layers", type=int, required=True)
    options = parser.parse_args()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.nice(NICENESS)
    try:
        described = load_model_file(options.described_by)
        engine = LlamaEngine(
            options.model, slots=options.slots, context_tokens=options.context_tokens, threads=options.threads,
            gpu_layers=options.gpu_layers,
        )
        _write(channel, {"ready": True})
        _serve(engine, described, channel)
    except ConselfError as error:
        _write(channel, {"error": error.message, "hint": error.hint})


def _serve(engine: LlamaEngine, described: ModelFile, channel: Any) -> None:
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_requests, args=(inbox,), daemon=True).start()
    while True:
        while not engine.busy or not inbox.empty():
            _handle(engine, described, inbox.get(), channel)
        for completion in engine.step():
            _write(channel, dataclasses.asdict(completion))


def _read_requests(inbox: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _handle(engine: LlamaEngine, described: ModelFile, call: dict[str, Any], channel: Any) -> None:
    if call["op"] == "sample":
        request = call["request"]
        request["prompt_token_ids"] = tuple(request["prompt_token_ids"])
        request["adapter"] = Path(request["adapter"]) if request["adapter"] else None
        engine.submit(SampleRequest(**request))
    elif call["op"] == "encode":
        messages = [ChatMessage(**m) for m in call["messages"]]
        text = render_chat(described.chat_template, messages, described.bos_token, described.eos_token)
        text += call["answer_prefix"]
        _write(channel, {"text": text, "token_ids": engine.tokenize(text)})
    elif call["op"] == "threads":
        engine.set_threads(call["threads"])
        _write(channel, {"threads": call["threads"]})
    elif call["op"] == "tokenize":
        _write(channel, {"token_ids": engine.tokenize(call["text"], special=False)})
    elif call["op"] == "measure":
        _write(channel, {"rate": engine.measure(call["prompts"], call["seconds"], call["max_new_tokens"])})
    elif call["op"] == "score":
        adapter = Path(call["adapter"]) if call["adapter"] else None
        _write(channel, {"logps": engine.score(call["prompt"], call["completion"], adapter)})


def _write(channel: Any, value: dict[str, Any]) -> None:
    channel.write(json.dumps(value) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
