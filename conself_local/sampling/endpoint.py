"""Sample from any server that implements OpenAI's `/v1/completions`: llama-server, LM Studio, Ollama, vLLM.

Prompts are rendered with the chat template of the GGUF file that is named for training, and sent as text. Completions
are tokenised with that file's vocabulary, since an endpoint returns no token ids. Not covered, because an endpoint does
not offer them: the uncertainty of a completion (None), log-probabilities and adapters (both raise ConselfError).
Raises ConselfError if the address is not on this machine (unless the user accepted that), if the server refuses a
request, or if it remains unreachable.
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
_RETRY_WAITS_SECONDS = (1.0, 4.0, 15.0)
_REPLY_TIMEOUT_SECONDS = 600.0
_MAX_REPLY_BYTES = 4 * 2**20


class EndpointSampler:
    """A `Sampler` and a context manager.

    `url` is the base address, with or without `/v1`; `name` is the model's name on the server. At most `concurrent`
    requests are in flight at once. `waits_seconds` are the waits before each retry; empty means no retry.
    """

    def __init__(
        self,
        url: str,
        name: str,
        model: ModelFile,
        *,
        concurrent: int = 16,
        accept_remote: bool = False,
        waits_seconds: Sequence[float] = _RETRY_WAITS_SECONDS,
    ) -> None:
        self.url = _base_url(url, accept_remote)
        self._name, self._concurrent, self._waits = name, concurrent, waits_seconds
        # the weights are memory-mapped but never read: only the template and the vocabulary are used
        self._vocabulary = LlamaProcess(model, slots=1, context_tokens=model.context_length, threads=1)
        self._texts: dict[tuple[int, ...], str] = {}

    def encode(self, messages: Sequence[ChatMessage], answer_prefix: str = "") -> EncodedPrompt:
        """Render and tokenise the prompt as the model file does, and remember its text for `sample`."""
        prompt = self._vocabulary.encode(messages, answer_prefix)
        self._texts[prompt.token_ids] = prompt.text
        return prompt

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Yield one completion for every request, in the order in which they end, with at most `concurrent` in flight.

        Every prompt must have been made by `encode` of this sampler.
        """
        source = iter(requests)
        todo: queue.SimpleQueue[SampleRequest | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[SampleRequest, str, Finish] | BaseException] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._work, args=(todo, done), daemon=True) for _ in range(self._concurrent)]
        for thread in threads:
            thread.start()
        in_flight = 0
        try:
            while True:
                while in_flight < self._concurrent and (request := next(source, None)):
                    todo.put(request)
                    in_flight += 1
                if not in_flight:
                    return
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                in_flight -= 1
                request, text, finish = outcome
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
                "an endpoint cannot switch adapters",
                "sample with the GGUF file, or start from the base model with --from-base",
            )
        stops_at_fence = (
            request.stop_at_fence and not block_is_closed(request.answer_prefix) and "```" in request.answer_prefix
        )
        body = {
            "model": self._name,
            "prompt": self._texts[request.prompt_token_ids],
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stream": False,
        }
        if stops_at_fence:
            body["stop"] = [_FENCE]
        reply = self._post(body)
        try:
            choice = reply["choices"][0]
            text, ended = str(choice["text"]), choice.get("finish_reason") == "stop"
        except (LookupError, TypeError, AttributeError) as error:
            raise ConselfError(
                f"{self.url} replied in an unknown form", "check that the server is compatible with OpenAI's API"
            ) from error
        if ended and stops_at_fence:
            return text + _FENCE, "fence"
        return text, "end-token" if ended else "length"

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request; retry after a dropped connection, a server error or HTTP 429, but not after a refusal."""
        request = urllib.request.Request(
            f"{self.url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        for wait in (*self._waits, None):
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    request, timeout=_REPLY_TIMEOUT_SECONDS
                ) as response:
                    reply = json.loads(response.read(_MAX_REPLY_BYTES))
                return reply if isinstance(reply, dict) else {}
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
            "start the server and try again: stored samples are kept, and the run continues",
        )

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Raise ConselfError, because an endpoint returns no log-probabilities."""
        raise ConselfError("an endpoint returns no log-probabilities", "use the GGUF file instead")

    def close(self) -> None:
        """End the process that renders and tokenises the prompts; the server continues to run."""
        self._vocabulary.close()

    def __enter__(self) -> EndpointSampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _base_url(url: str, accept_remote: bool) -> str:
    """Return the base address, ending in `/v1`; raise ConselfError if it is on another machine and not accepted."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConselfError(f"{url} is not the address of a server", "give one like http://127.0.0.1:8080/v1")
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
