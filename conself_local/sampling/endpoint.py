"""Sample from servers instead of the engine: one queue for all of them, and a server that dies gives its work back.

Prompts are rendered with the chat template of the GGUF file that is named for training. Completions of a server that
returns no token ids are tokenised with that file's vocabulary. Not covered: what one server can do and how it is asked
(`model_server.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from types import TracebackType

from conself_local.errors import ConselfError
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.model_server import Answer, ModelServer, ServerGoneError
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest

_RETRY_WAITS_SECONDS = (1.0, 4.0, 15.0)
_MEASURED = 8
_Outcome = tuple[SampleRequest, Answer] | BaseException


class EndpointSampler:
    """A `Sampler` and a context manager over one or several servers of the same model.

    urls: base addresses, with or without `/v1`; `name` is the model's name on the servers. concurrent: requests that
    each server gets at once; None: as many as it handles well. waits_seconds: the waits before each retry.
    on_notice: called with a sentence when a server is left out; on_restart: when the process for prompts is restarted.
    Raises ConselfError if an address is not on this machine, unless the user accepted that.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        name: str,
        model: ModelFile,
        *,
        concurrent: int | None = None,
        accept_remote: bool = False,
        waits_seconds: Sequence[float] = _RETRY_WAITS_SECONDS,
        on_notice: Callable[[str], None] = lambda text: None,
        on_restart: Callable[[str], None] = lambda text: None,
    ) -> None:
        listed = [urls] if isinstance(urls, str) else list(urls)
        self._servers = [
            ModelServer(url, name, accept_remote=accept_remote, waits_seconds=waits_seconds) for url in listed
        ]
        self._concurrent, self._on_notice = concurrent, on_notice
        # the weights are memory-mapped but never read: only the template and the vocabulary are used
        self._vocabulary = LlamaProcess(
            model, slots=1, context_tokens=model.context_length, threads=1, on_notice=on_restart
        )
        self._prompts: dict[tuple[int, ...], EncodedPrompt] = {}
        self.measured: list[tuple[SampleRequest, Completion, tuple[float, ...]]] = []
        """The first completions whose log-probabilities a server returned, to compare its weights with the file's."""

    def describe(self) -> str:
        """Return which servers sample and what is taken from them, for the user."""
        return ", ".join(server.describe() for server in self._servers)

    def keep_servers_for(self, adapters: Iterable[Path | None]) -> bool:
        """Leave out the servers that cannot use one of the adapters; return False, and leave none out, if none can."""
        wanted = list(adapters)
        able = [server for server in self._servers if all(server.can_use(adapter) for adapter in wanted)]
        for server in self._servers if able else ():
            if server not in able:
                self._on_notice(f"{server.url} does not have the adapter, so it is left out")
                server.close()
        self._servers = able or self._servers
        return bool(able)

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        """Render and tokenise the prompt as the model file does, and remember it for `sample`."""
        prompt = self._vocabulary.encode(messages, answer_prefix, thinking=thinking)
        self._prompts[prompt.token_ids] = prompt
        return prompt

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Yield one completion for every request, in the order in which they end.

        Every prompt must have been made by `encode` of this sampler. A server that does not answer any more is left
        out, and its requests, with their seeds, go to the others. Raises ConselfError if none is left, if a server
        refuses a request, or if it cannot use the adapter of one.
        """
        source = iter(requests)
        todo: queue.SimpleQueue[SampleRequest | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        workers: dict[ModelServer, int] = {server: self._concurrent or server.slots for server in self._servers}
        for server, count in workers.items():
            for _ in range(count):
                threading.Thread(target=self._work, args=(server, todo, done), daemon=True).start()
        in_flight = 0
        try:
            while True:
                while in_flight < sum(self._concurrent or server.slots for server in self._servers) and (
                    request := next(source, None)
                ):
                    todo.put(request)
                    in_flight += 1
                if not in_flight:
                    return
                outcome = done.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                in_flight -= 1
                yield self._completion(*outcome)
        finally:
            for _ in range(sum(workers.values())):
                todo.put(None)

    def _completion(self, request: SampleRequest, answer: Answer) -> Completion:
        tokens = answer.token_ids or tuple(self._vocabulary.tokenize(answer.text))
        mean_nll = -fmean(answer.logps) if answer.logps else None
        completion = Completion(request.key, answer.text, tokens, answer.finish, mean_nll, None)
        if answer.logps and len(self.measured) < _MEASURED:
            self.measured.append((request, completion, answer.logps))
        return completion

    def _work(
        self, server: ModelServer, todo: queue.SimpleQueue[SampleRequest | None], done: queue.SimpleQueue[_Outcome]
    ) -> None:
        """Answer requests with one server until there are none or the server is dead; runs in a thread of its own."""
        while (request := todo.get()) is not None:
            if server not in self._servers:  # another thread has found that it is dead
                todo.put(request)
                return
            try:
                if not server.can_use(request.adapter):
                    raise ConselfError(
                        f"{server.url} cannot switch to the adapters of this round",
                        "sample with the GGUF file, or start from the base model with --from-base",
                    )
                done.put((request, server.complete(request, self._prompts[request.prompt_token_ids])))
            except ServerGoneError as error:
                if not self._leave_out(server, str(error)):
                    done.put(
                        ConselfError(
                            f"{server.url} does not answer: {error}",
                            "start the server and try again: stored samples are kept, and the run continues",
                        )
                    )
                todo.put(request)
                return
            except BaseException as error:
                done.put(error)

    def _leave_out(self, server: ModelServer, why: str) -> bool:
        """Leave a dead server out; return whether another one is left."""
        others = [other for other in self._servers if other is not server]
        if others and server in self._servers:
            self._servers = others
            self._on_notice(f"{server.url} does not answer ({why[:200]}); the others take over its requests")
        return bool(others)

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Raise ConselfError, because a server returns no log-probabilities of a given completion."""
        raise ConselfError("an endpoint returns no log-probabilities of a given text", "use the GGUF file instead")

    def close(self) -> None:
        """End the process that renders and tokenises the prompts; the servers continue to run."""
        for server in self._servers:
            server.close()
        self._vocabulary.close()

    def __enter__(self) -> EndpointSampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
