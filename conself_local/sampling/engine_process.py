"""A Sampler in a process of its own: starts the engine, speaks JSON lines with it, and restarts it once if it dies.

`LlamaProcess` samples a GGUF file by llama.cpp, `MlxProcess` a folder of MLX weights by mlx-lm (Apple Silicon).
A request that was under way when the engine died is asked again with the same seed. An engine that dies twice
without an answer in between raises `EngineDiedError` with the last lines that it said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from conself_local.errors import ConselfError, EngineDiedError
from conself_local.machine.child_environment import child_environment
from conself_local.model_files.mlx_folder import verify_mlx_adapter, verify_mlx_folder
from conself_local.model_files.model_file import ModelFile, verify_adapter_file
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest

QUEUED_PER_SLOT = 3
_CRASHES = (signal.SIGSEGV, signal.SIGILL)


class _Gone(Exception):
    """The engine process closed its end."""


class EngineProcess:
    """A `Sampler`; a context manager. `arguments` are those of `engine_server.py`; an adapter is verified before its first use.

    package: what the engine computes with, to install anew where it crashes.
    """

    def __init__(
        self, package: str, arguments: Sequence[str], slots: int, verify_adapter: Callable[[Path], None]
    ) -> None:
        self._package = package
        self._slots = slots
        self._verify_adapter = verify_adapter
        self._command = [sys.executable, "-m", "conself_local.sampling.engine_server", *arguments]
        self._verified: set[Path] = set()
        self._stderr = tempfile.TemporaryFile()
        self._process: subprocess.Popen[str] | None = None
        self._under_way: dict[str, SampleRequest] = {}
        self._arrived: list[dict[str, Any]] = []
        self._deaths = 0
        self._start()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the engine has been closed"
        return self._process.pid

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
        with self._gone_is_an_error("did not start"):
            self._read()

    @contextlib.contextmanager
    def _gone_is_an_error(self, what: str) -> Iterator[None]:
        try:
            yield
        except (_Gone, BrokenPipeError) as error:
            raise EngineDiedError(f"the engine {what}: {self._last_words()}", self._way_out()) from error

    def _way_out(self) -> str:
        if self._process and -self._process.wait() in _CRASHES:
            anew = f"pip install --force-reinstall --no-cache-dir {self._package}"
            return f"{self._package} itself failed; build it for this processor: {anew}"
        return "start again to go on; if it dies again, lower --slots, close other programs, or use a smaller model"

    def _last_words(self) -> str:
        code = self._process.wait() if self._process else 0
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 2000))
        lines = self._stderr.read().decode(errors="replace").splitlines()
        words = [line.strip() for line in lines if line.strip(" .")]  # llama.cpp draws its progress in dots
        return f"{ended}; {' | '.join(words[-3:]) or 'it said nothing'}"

    def _send(self, call: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None, "the engine has been closed"
        self._process.stdin.write(json.dumps(call, default=str) + "\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None, "the engine has been closed"
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise _Gone
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ConselfError(f"{answer['error']} ({self._last_words()})", answer["hint"])
        return answer

    def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """One call and its answer; completions that come in between are kept for `sample`."""
        while True:
            try:
                self._send(call)
                while "key" in (answer := self._read()):
                    self._arrived.append(answer)
                return answer
            except (_Gone, BrokenPipeError):
                self._restart()

    def _restart(self) -> None:
        """After a death: begin again with what was under way; a second death without an answer is told."""
        self._deaths += 1
        if self._deaths > 1:
            raise EngineDiedError(f"the engine died twice: {self._last_words()}", self._way_out())
        self._start()
        arrived = {answer["key"] for answer in self._arrived}
        for key, request in self._under_way.items():
            if key not in arrived:
                self._submit(request)

    def _submit(self, request: SampleRequest) -> None:
        self._send({"op": "sample", "request": dataclasses.asdict(request)})

    def encode(self, messages: Sequence[ChatMessage], answer_prefix: str = "") -> EncodedPrompt:
        call = {"op": "encode", "messages": [dataclasses.asdict(m) for m in messages], "answer_prefix": answer_prefix}
        answer = self._ask(call)
        return EncodedPrompt(answer["text"], tuple(answer["token_ids"]))

    def set_threads(self, threads: int) -> None:
        """From the next batch on; returns when the engine has taken it."""
        self._ask({"op": "threads", "threads": threads})

    def tokenize(self, text: str) -> list[int]:
        """The tokens of an answer: no beginning token, nothing read as special."""
        ids: list[int] = self._ask({"op": "tokenize", "text": text})["token_ids"]
        return ids

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        self._verify(adapter)
        call = {
            "op": "score",
            "prompt": list(prompt_token_ids),
            "completion": list(completion_token_ids),
            "adapter": adapter,
        }
        logps: list[float] = self._ask(call)["logps"]
        return logps

    def measure(self, prompts: Sequence[EncodedPrompt], seconds: float, max_new_tokens: int) -> float:
        """Tokens a second while every slot answers one of the prompts, over about so many seconds. Only while idle."""
        call = {
            "op": "measure",
            "prompts": [p.token_ids for p in prompts],
            "seconds": seconds,
            "max_new_tokens": max_new_tokens,
        }
        rate: float = self._ask(call)["rate"]
        return rate

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """One call at a time; making the requests may itself `encode`."""
        source = iter(requests)
        self._under_way.clear()
        self._arrived.clear()
        while True:
            while len(self._under_way) < QUEUED_PER_SLOT * self._slots and (request := next(source, None)):
                self._verify(request.adapter)
                self._under_way[request.key] = request
                with contextlib.suppress(BrokenPipeError):  # the read below sees that it is gone
                    self._submit(request)
            if not self._under_way:
                return
            answer = self._next_completion()
            answer["token_ids"] = tuple(answer["token_ids"])
            completion = Completion(**answer)
            self._deaths = 0
            del self._under_way[completion.key]
            yield completion

    def stream(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[str, str]]:
        """(key, the text that has come) as it comes, requests of one adapter after those of another; ends when all have ended.

        A death of the engine is told at once: what was shown cannot be taken back.
        """
        texts = dict.fromkeys((request.key for request in requests), "")
        for request in requests:
            self._verify(request.adapter)
            self._submit(dataclasses.replace(request, stream=True))
        waiting = set(texts)
        with self._gone_is_an_error("died"):
            while waiting:
                answer = self._read()
                if "partial" in answer:
                    key, new = answer["partial"], answer["text"]
                else:
                    key = answer["key"]
                    new = answer["text"][len(texts[key]) :]
                    waiting.remove(key)
                texts[key] += new
                if new:
                    yield key, new

    def _next_completion(self) -> dict[str, Any]:
        while not self._arrived:
            try:
                return self._read()
            except _Gone:
                self._restart()
        return self._arrived.pop(0)

    def _verify(self, adapter: Path | None) -> None:
        if adapter is not None and adapter not in self._verified:
            self._verify_adapter(adapter)
            self._verified.add(adapter)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    if pipe:
                        pipe.close()
            self._process = None
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LlamaProcess(EngineProcess):
    """llama.cpp over a GGUF file. `weights` is the file whose weights run, by default the model file itself."""

    def __init__(
        self,
        model: ModelFile,
        *,
        slots: int,
        context_tokens: int,
        threads: int,
        weights: Path | None = None,
        gpu_layers: int = 0,
    ) -> None:
        self.weights = weights or model.path
        self.runs_original = self.weights == model.path
        arguments = [
            "llama",
            "--model",
            str(self.weights),
            "--described-by",
            str(model.path),
            "--slots",
            str(slots),
            "--context-tokens",
            str(context_tokens),
            "--threads",
            str(threads),
            "--gpu-layers",
            str(gpu_layers),
        ]
        super().__init__("llama-cpp-python", arguments, slots, lambda adapter: verify_adapter_file(adapter, model))


class MlxProcess(EngineProcess):
    """mlx-lm over a folder of MLX weights with its own tokenizer and chat template; adapters are mlx-lm's folders."""

    def __init__(self, folder: Path, *, slots: int, context_tokens: int) -> None:
        verify_mlx_folder(folder)
        arguments = ["mlx", "--model", str(folder), "--slots", str(slots), "--context-tokens", str(context_tokens)]
        super().__init__("mlx-lm", arguments, slots, verify_mlx_adapter)
