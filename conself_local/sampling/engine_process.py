"""Run an engine in a separate process: start it, exchange JSON lines with it, and restart it once if it dies or hangs.

`LlamaProcess` samples from a GGUF file with llama.cpp, `MlxProcess` from a folder of MLX weights with mlx-lm (Apple
Silicon), and `OpenVinoProcess` (`openvino_process.py`) from a GGUF file with OpenVINO GenAI. An engine that shows no
progress for `ENGINE_HANG_SECONDS` is killed and counts as dead. A request that was in flight when the engine died is
sent again with the same seed. An engine that dies twice without an answer in between raises `EngineDiedError` with the
last lines of its standard error.
Not covered: decoding and batching (`llama_engine.py`, `mlx_engine.py`, `openvino_engine.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from conself_local.errors import ConselfError, EngineDiedError
from conself_local.machine.child_log import ChildLog
from conself_local.machine.child_pipe import ChildClosedError, ChildHungError, ChildPipe
from conself_local.machine.child_process import close_child, end_child, module_command, start_child
from conself_local.model_files.mlx_adapter import verify_mlx_adapter
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model_file import ModelFile, verify_adapter_file
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest

QUEUED_PER_SLOT = 3
"""Requests in flight per slot, so that a free slot finds the next request at once."""
ENGINE_HANG_SECONDS = 600.0
"""Longest time without any progress of the engine.

llama.cpp reports progress within a long decode and while it loads a file (`llama_progress.py`). What reports nothing
meanwhile takes minutes at most: loading MLX weights from a slow disk, or compiling the kernels of a graphics card.
"""
_CRASHES = (signal.SIGSEGV, signal.SIGILL)


class EngineClosedError(Exception):
    """The engine process has ended, or it hung and was killed."""


class EngineProcess:
    """A `Sampler` and a context manager around an engine process.

    `arguments` are those of `engine_server.py`. `package` is the Python package that computes, for the hint after a
    crash. `verify_adapter` is called before the first use of each adapter and raises ConselfError to refuse it.
    `on_notice` is called with a sentence for the user when the engine is restarted. `hang_seconds` is for tests.
    """

    shares_cores: bool = True
    """Whether it computes on cores of this computer, some of which `set_threads` frees for other work."""
    runs_original: bool = True
    """Whether it samples from the original weights, not from converted ones."""
    description: str = ""
    """What it samples from, for people."""

    def __init__(
        self,
        package: str,
        arguments: Sequence[str],
        slots: int,
        verify_adapter: Callable[[Path], None],
        *,
        on_notice: Callable[[str], None] = lambda text: None,
        hang_seconds: float = ENGINE_HANG_SECONDS,
    ) -> None:
        self._package = package
        self._slots = slots
        self._verify_adapter = verify_adapter
        self._on_notice, self._hang_seconds = on_notice, hang_seconds
        self._command = module_command("conself_local.sampling.engine_server", *arguments)
        self._verified: set[Path] = set()
        self._log = ChildLog("engine")
        self._process: subprocess.Popen[bytes] | None = None
        self._hung = False
        self._in_flight: dict[str, SampleRequest] = {}
        self._arrived: list[dict[str, Any]] = []
        self._deaths = 0
        self._start()

    @property
    def pid(self) -> int:
        """Process id of the engine; a restart changes it."""
        assert self._process is not None, "the engine has been closed"
        return self._process.pid

    def _start(self) -> None:
        if self._process is not None:
            close_child(self._process)
        self._process = start_child(self._command, subprocess.PIPE)
        self._log.follow(self._process)
        self._pipe, self._hung = ChildPipe(self._process), False
        with self._raise_engine_died("did not start"):
            self.receive()

    @contextlib.contextmanager
    def _raise_engine_died(self, what: str) -> Iterator[None]:
        try:
            yield
        except EngineClosedError as error:
            raise EngineDiedError(f"the engine {what}: {self._tail_log()}", self._fix_hint()) from error

    def why_it_died(self) -> EngineDiedError:
        """Return the error that says how the engine process, which is dead, has ended."""
        return EngineDiedError(f"the engine died: {self._tail_log()}", self._fix_hint())

    def _fix_hint(self) -> str:
        if self._status() is None:
            return "restart the computer, then start again to continue; a driver or a disk may hang"
        if self._hung:
            return (
                "start again to continue; if it hangs again, compute without the graphics card (--no-gpu), "
                "lower --slots, or use a smaller model"
            )
        if -(self._status() or 0) in _CRASHES:
            command = f"pip install --force-reinstall --no-cache-dir {self._package}"
            return f"{self._package} crashed; rebuild it for this processor: {command}"
        return "start again to continue; if it dies again, lower --slots, close other programs, or use a smaller model"

    def _status(self) -> int | None:
        """Return the status with which the engine ended, as `Popen.wait` does; None if it does not end."""
        return end_child(self._process, is_ending=not self._hung) if self._process else 0

    def _tail_log(self) -> str:
        return f"{self._how_it_ended()}; {' | '.join(self._log.last_lines(3)) or 'it printed no message'}"

    def _how_it_ended(self) -> str:
        code = self._status()
        if code is None:
            return "it hangs in the system and cannot be killed"
        if self._hung:
            return f"it made no progress for {self._hang_seconds:g} s and was killed"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def send(self, call: dict[str, Any]) -> None:
        """Send one call of `engine_server.py`. Raises EngineClosedError if the engine is dead or hangs."""
        assert self._process is not None, "the engine has been closed"
        with self._kill_if_hung(self._process):
            self._pipe.write_line(json.dumps(call, default=str), self._hang_seconds)

    @contextlib.contextmanager
    def _kill_if_hung(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        try:
            yield
        except ChildClosedError as error:
            raise EngineClosedError from error
        except ChildHungError as error:
            self._hung = True
            process.kill()
            raise EngineClosedError from error

    def receive(self, is_awaited: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Return the engine's next reply; an engine that shows no progress while a reply `is_awaited` is killed.

        Raises EngineClosedError if the engine is dead or hangs, and the ConselfError with which it ended itself.
        """
        assert self._process is not None, "the engine has been closed"
        with self._kill_if_hung(self._process):
            reply: dict[str, Any] = json.loads(self._pipe.read_line(self._hang_seconds, is_awaited))
        if "error" in reply:
            printed = self._log.last_lines(3)
            raise ConselfError(
                f"{reply['error']} ({' | '.join(printed)})" if printed else reply["error"], reply["hint"]
            )
        return reply

    def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a call; completions that arrive in between are kept for `sample`."""
        while True:
            try:
                self.send(call)
                while "key" in (reply := self.receive()):
                    self._arrived.append(reply)
                if "refused" in reply:
                    raise ConselfError(reply["refused"], reply["hint"])
                if not self._in_flight:
                    self._deaths = 0
                return reply
            except EngineClosedError:
                self._restart()

    def _restart(self) -> None:
        """Start a new engine and send it the requests in flight; raise after a second death without an answer."""
        self._deaths += 1
        if self._deaths > 1:
            raise EngineDiedError(f"the engine died twice: {self._tail_log()}", self._fix_hint())
        what = "hung" if self._hung else "died"
        self._on_notice(
            f"the engine {what} ({self._how_it_ended()}); it is started again, and its requests are sent again"
        )
        self._start()
        arrived = {completion["key"] for completion in self._arrived}
        for key, request in self._in_flight.items():
            if key not in arrived:
                with contextlib.suppress(EngineClosedError):  # the next read finds that the engine has died again
                    self._submit(request)

    def _submit(self, request: SampleRequest) -> None:
        loaded = dataclasses.replace(request, adapter=self.adapter_to_load(request.adapter))
        self.send({"op": "sample", "request": dataclasses.asdict(loaded)})

    def adapter_to_load(self, adapter: Path | None) -> Path | None:
        """Return what the engine process loads for an adapter: the adapter itself, or a file that is made from it."""
        return adapter

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        """Render the model's own chat template, append the answer prefix, and tokenise the text.

        Raises ConselfError if the template cannot be rendered, EngineDiedError if the engine dies twice.
        """
        call = {
            "op": "encode",
            "messages": [dataclasses.asdict(m) for m in messages],
            "answer_prefix": answer_prefix,
            "thinking": thinking,
        }
        reply = self._ask(call)
        return EncodedPrompt(reply["text"], tuple(reply["token_ids"]))

    def set_threads(self, threads: int) -> None:
        """Use this number of threads from the next batch on; return when the engine has set it."""
        self._ask({"op": "threads", "threads": threads})

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the tokens of a completion: no beginning-of-sequence token, and no text becomes a special token.

        With `special`, the text is a rendered prompt, and is tokenised as `encode` does.
        """
        ids: list[int] = self._ask({"op": "tokenize", "text": text, "special": special})["token_ids"]
        return ids

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens, which the vocabulary must have; special tokens have no text."""
        text: str = self._ask({"op": "detokenize", "token_ids": list(token_ids)})["text"]
        return text

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token; call it only while idle.

        Raises ConselfError if the adapter does not fit the model or the tokens do not fit the context.
        """
        self._verify(adapter)
        call = {
            "op": "score",
            "prompt": list(prompt_token_ids),
            "completion": list(completion_token_ids),
            "adapter": self.adapter_to_load(adapter),
        }
        logps: list[float] = self._ask(call)["logps"]
        return logps

    def measure(self, prompts: Sequence[EncodedPrompt], seconds: float, max_new_tokens: int) -> float:
        """Return tokens per second while every slot works on one of the prompts, over about `seconds`.

        Call it only while idle.
        """
        call = {
            "op": "measure",
            "prompts": [p.token_ids for p in prompts],
            "seconds": seconds,
            "max_new_tokens": max_new_tokens,
        }
        rate: float = self._ask(call)["rate"]
        return rate

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Yield one completion for every request, in the order in which they end.

        Only one `sample` may run at a time. The iterable of requests may call `encode`.
        Raises EngineDiedError if the engine dies twice without a completion in between.
        """
        source = iter(requests)
        self._in_flight.clear()
        self._arrived.clear()
        while True:
            while len(self._in_flight) < QUEUED_PER_SLOT * self._slots and (request := next(source, None)):
                self._verify(request.adapter)
                self._in_flight[request.key] = request
                with contextlib.suppress(EngineClosedError):  # the read below finds that the engine has died
                    self._submit(request)
            if not self._in_flight:
                return
            values = self._next_completion()
            values["token_ids"] = tuple(values["token_ids"])
            completion = Completion(**values)
            self._deaths = 0
            del self._in_flight[completion.key]
            yield completion

    def stream(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[str, str]]:
        """Yield (key, new text) as the text is sampled, until every request has ended.

        Requests of one adapter follow those of another. If the engine dies, EngineDiedError is raised at once, because
        text that was shown cannot be withdrawn.
        """
        texts = dict.fromkeys((request.key for request in requests), "")
        for request in requests:
            self._verify(request.adapter)
        waiting = set(texts)
        with self._raise_engine_died("died"):
            for request in requests:
                self._submit(dataclasses.replace(request, stream=True))
            while waiting:
                reply = self.receive()
                if "partial" in reply:
                    key, new = reply["partial"], reply["text"]
                else:
                    key = reply["key"]
                    new = reply["text"][len(texts[key]) :]
                    waiting.remove(key)
                texts[key] += new
                if new:
                    yield key, new

    def _next_completion(self) -> dict[str, Any]:
        while not self._arrived:
            try:
                return self.receive()
            except EngineClosedError:
                self._restart()
        return self._arrived.pop(0)

    def _verify(self, adapter: Path | None) -> None:
        if adapter is not None and adapter not in self._verified:
            self._verify_adapter(adapter)
            self._verified.add(adapter)

    def close(self) -> None:
        """Kill the engine process; a second call has no effect."""
        if self._process is not None:
            close_child(self._process)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LlamaProcess(EngineProcess):
    """Sample from a GGUF file with llama.cpp; adapters are GGUF LoRA files.

    `weights` is the file whose weights are loaded, by default the model file itself; the chat template is always the
    model file's. `gpu_layers` is the number of layers on the GPU.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        slots: int,
        context_tokens: int,
        threads: int,
        weights: Path | None = None,
        gpu_layers: int = 0,
        on_notice: Callable[[str], None] = lambda text: None,
        hang_seconds: float = ENGINE_HANG_SECONDS,
    ) -> None:
        self.weights = weights or model.path
        self.runs_original = self.weights == model.path
        self.description = self.weights.name
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
        super().__init__(
            "llama-cpp-python",
            arguments,
            slots,
            lambda adapter: verify_adapter_file(adapter, model),
            on_notice=on_notice,
            hang_seconds=hang_seconds,
        )


class MlxProcess(EngineProcess):
    """Sample from a folder of MLX weights with mlx-lm; adapters are mlx-lm's folders.

    Tokenizer and chat template are the folder's. It computes on a GPU, or on cores that it does not give up.
    """

    shares_cores = False

    def __init__(
        self,
        model: MlxFolder,
        *,
        slots: int,
        context_tokens: int,
        on_notice: Callable[[str], None] = lambda text: None,
        hang_seconds: float = ENGINE_HANG_SECONDS,
    ) -> None:
        self.description = model.name
        arguments = ["mlx", "--model", str(model.path), "--slots", str(slots), "--context-tokens", str(context_tokens)]
        super().__init__(
            "mlx-lm",
            arguments,
            slots,
            lambda adapter: verify_mlx_adapter(adapter, model),
            on_notice=on_notice,
            hang_seconds=hang_seconds,
        )
