"""The Sampler over any server that speaks OpenAI's `/v1/completions`: llama-server, LM Studio, Ollama, vLLM.

Prompts are rendered with the chat template of the GGUF file that is named for training, and sent as text; answers are
tokenised with that file's vocabulary, since an endpoint tells no token ids. What it cannot give is told: no uncertainty
of an answer, no log-probabilities, no adapters.
Raises ConselfError for an address off this machine (unless accepted), a refusal, or a server that stays unreachable.
"""

from __future__ import annotations

import ipaddress
import json
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from conself_local.errors import ConselfError
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.extract import block_is_closed
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, Finish, SampleRequest

_FENCE = "\n```"
_WAITS_SECONDS = (1.0, 4.0, 15.0)
_ANSWER_SECONDS = 600.0
_MAX_ANSWER_BYTES = 4 * 2**20


class EndpointSampler:
    """A `Sampler`; a context manager. `concurrent` requests are under way at once; `name` is the model's name there."""

    def __init__(
        self,
        url: str,
        name: str,
        model: ModelFile,
        *,
        concurrent: int = 16,
        accept_remote: bool = False,
        waits_seconds: Sequence[float] = _WAITS_SECONDS,
    ) -> None:
        self.url = _checked(url, accept_remote)
        self._name, self._concurrent, self._waits = name, concurrent, waits_seconds
        # its weights are mapped, never read: only template and vocabulary are used
        self._vocabulary = LlamaProcess(model, slots=1, context_tokens=model.context_length, threads=1)
        self._texts: dict[tuple[int, ...], str] = {}

    def encode(self, messages: Sequence[ChatMessage], answer_prefix: str = "") -> EncodedPrompt:
        prompt = self._vocabulary.encode(messages, answer_prefix)
        self._texts[prompt.token_ids] = prompt.text
        return prompt

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """At most `concurrent` requests under way; completions in the order in which they end."""
        source = iter(requests)
        todo: queue.SimpleQueue[SampleRequest | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[SampleRequest, str, Finish] | BaseException] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._work, args=(todo, done), daemon=True) for _ in range(self._concurrent)]
        for thread in threads:
            thread.start()
        under_way = 0
        try:
            while True:
                while under_way < self._concurrent and (request := next(source, None)):
                    todo.put(request)
                    under_way += 1
                if not under_way:
                    return
                answer = done.get()
                if isinstance(answer, BaseException):
                    raise answer
                under_way -= 1
                request, text, finish = answer
                yield Completion(request.key, text, tuple(self._vocabulary.tokenize(text)), finish, None, None)
        finally:
            for _ in threads:
                todo.put(None)

    def _work(
        self,
        todo: queue.SimpleQueue[SampleRequest | None],
        done: queue.SimpleQueue[tuple[SampleRequest, str, Finish] | BaseException],
    ) -> None:
        while (request := todo.get()) is not None:
            try:
                done.put((request, *self._answer(request)))
            except BaseException as error:
                done.put(error)

    def _answer(self, request: SampleRequest) -> tuple[str, Finish]:
        if request.adapter is not None:
            raise ConselfError(
                "an endpoint cannot switch adapters", "sample with the GGUF file itself, or begin with --from-base"
            )
        closes = request.stop_at_fence and not block_is_closed(request.answer_prefix) and "```" in request.answer_prefix
        body = {
            "model": self._name,
            "prompt": self._texts[request.prompt_token_ids],
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stream": False,
        }
        if closes:
            body["stop"] = [_FENCE]
        answer = self._post(body)
        try:
            choice = answer["choices"][0]
            text, ended = str(choice["text"]), choice.get("finish_reason") == "stop"
        except (LookupError, TypeError, AttributeError) as error:
            raise ConselfError(
                f"{self.url} answered in an unknown form", "check that it is an OpenAI-compatible server"
            ) from error
        if ended and closes:
            return text + _FENCE, "fence"
        return text, "end-token" if ended else "length"

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Tried again after a dropped connection or a server's error, not after a refusal."""
        request = urllib.request.Request(
            f"{self.url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        for wait in (*self._waits, None):
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    request, timeout=_ANSWER_SECONDS
                ) as response:
                    answer = json.loads(response.read(_MAX_ANSWER_BYTES))
                return answer if isinstance(answer, dict) else {}
            except urllib.error.HTTPError as error:
                problem = f"{error.code} {error.reason}: {error.read(300).decode(errors='replace')}"
                if error.code < 500 and error.code != 429:
                    raise ConselfError(
                        f"{self.url} refused a request: {problem}", "check the model's name and the server's log"
                    ) from error
            except (OSError, ValueError) as error:
                problem = str(error)
            if wait is not None:
                time.sleep(wait)
        raise ConselfError(
            f"{self.url} does not answer: {problem}",
            "start the server; what was sampled stays, and the next run goes on",
        )

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        raise ConselfError("an endpoint gives no log-probabilities", "use the GGUF file itself")

    def close(self) -> None:
        self._vocabulary.close()

    def __enter__(self) -> EndpointSampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(url: str, accept_remote: bool) -> str:
    """The base address ending in `/v1`; refused where it leaves this machine without the user's word."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConselfError(f"{url} is no address of a server", "give one like http://127.0.0.1:8080/v1")
    if not _is_this_machine(parts.hostname) and not accept_remote:
        raise ConselfError(
            f"{parts.hostname} is not this machine: your problems would be sent to it",
            "add --accept-remote-endpoint if that is what you want",
        )
    base = url.rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
