"""Speak with one server of OpenAI's `/v1/completions`, and find out what else it can do.

What a server can do is asked once: llama-server and vLLM return token ids and log-probabilities and switch adapters;
of others (LM Studio, Ollama, mlx_lm.server) only the text is taken. llama-server was tried; vLLM, LM Studio and Ollama
never ran here, what is sent to them was written from their documents.
Sources: llama.cpp, tools/server/README.md; vLLM, OpenAI-compatible server and LoRA adapters; read and restated.
"""

from __future__ import annotations

import ipaddress
import json
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS
from conself_local.sampling.extract import block_is_closed
from conself_local.sampling.sampler import EncodedPrompt, Finish, SampleRequest

Kind = Literal["llama-server", "vLLM", "other"]
FENCE = "\n```"
_REPLY_SECONDS = 600.0
"""Longest wait for a reply: a busy server answers the requests before ours first, and a slow one takes minutes each."""
_PROBE_SECONDS = 5.0
_MAX_REPLY_BYTES = 4 * 2**20
_SIDE_BY_SIDE: dict[Kind, int] = {"llama-server": 4, "vLLM": 64, "other": 16}
"""Requests that a server gets at once if it does not say how many it handles."""


class ServerGoneError(Exception):
    """A server that does not answer any more, and why."""


@dataclass(frozen=True)
class Answer:
    """What a server sampled."""

    text: str
    finish: Finish
    token_ids: tuple[int, ...] | None = None
    """None if the server does not return them."""
    logps: tuple[float, ...] | None = None
    """Log-probability (nats, temperature 1) of the tokens up to a fence, whose own llama-server leaves out.

    None if the server does not return them.
    """


class ModelServer:
    """One server. `url` is its base address, with or without `/v1`; `name` is the model's name on it.

    waits_seconds: the waits before each retry; empty means no retry. Raises ConselfError if the address is not one, or
    is on another computer and the user did not accept that.
    """

    def __init__(self, url: str, name: str, *, accept_remote: bool, waits_seconds: Sequence[float]) -> None:
        self.url = _base_url(url, accept_remote)
        self._name, self._waits = name, waits_seconds
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(_REPLY_SECONDS, connect=10.0), trust_env=False, follow_redirects=False
        )
        self._lock = threading.Lock()
        self._kind: Kind | None = None
        self._slots = 0
        self._adapters: dict[Path, int | str] = {}
        """Adapter file -> its number (llama-server) or its name (vLLM) on the server."""
        self._numbers: list[int] = []
        """All adapters of a llama-server."""

    def close(self) -> None:
        """Close the connections; the server continues to run."""
        self._client.close()

    @property
    def kind(self) -> Kind:
        """What kind of server it is, asked once."""
        with self._lock:
            if self._kind is None:
                self._kind = self._find_kind()
            return self._kind

    @property
    def slots(self) -> int:
        """How many requests it handles well at once."""
        kind = self.kind
        return self._slots or _SIDE_BY_SIDE[kind]

    def describe(self) -> str:
        """Return what the server is and what is taken from it, for the user."""
        if self.kind == "other":
            return f"{self.url} (text only)"
        return f"{self.url} ({self.kind}: token ids, log-probabilities, adapters)"

    def can_use(self, adapter: Path | None) -> bool:
        """Return whether the server can answer with this adapter; a vLLM loads it now, a llama-server must have it."""
        if adapter is None or adapter in self._adapters:
            return True
        if self.kind == "vLLM":
            name = f"conself-{adapter.parent.name}"
            body = {"lora_name": name, "lora_path": str(adapter.parent / "peft")}
            if self._ask("POST", "/v1/load_lora_adapter", body) is None:
                return False
            self._adapters[adapter] = name
        elif self.kind == "llama-server":
            self._list_adapters()
        return adapter in self._adapters

    def complete(self, request: SampleRequest, prompt: EncodedPrompt) -> Answer:
        """Return the answer to one request.

        Raises ServerGoneError if the server does not answer any more, ConselfError if it refuses.
        """
        closes = request.stop_at_fence and "```" in request.answer_prefix and not block_is_closed(request.answer_prefix)
        if self.kind == "llama-server":
            reply = self._post(f"{self.url.removesuffix('/v1')}/completion", self._native(request, prompt, closes))
            read = _read_native
        else:
            reply = self._post(f"{self.url}/completions", self._openai(request, prompt, closes))
            read = _read_openai
        try:
            return read(reply, closes)
        except PARSER_ERRORS as error:
            raise ConselfError(
                f"{self.url} replied in an unknown form", "check that the server is compatible with OpenAI's API"
            ) from error

    # -- what is sent ---------------------------------------------------------------------------------------

    def _native(self, request: SampleRequest, prompt: EncodedPrompt, closes: bool) -> dict[str, Any]:
        """Return a request in llama-server's own form; top-k and min-p are off, as in our engine."""
        chosen = self._adapters.get(request.adapter) if request.adapter else None
        return {
            "prompt": list(prompt.token_ids),
            "n_predict": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "seed": request.seed,
            "stop": [FENCE] if closes else [],
            "n_probs": 1,
            "return_tokens": True,
            "lora": [{"id": number, "scale": float(number == chosen)} for number in self._numbers],
        }

    def _openai(self, request: SampleRequest, prompt: EncodedPrompt, closes: bool) -> dict[str, Any]:
        is_vllm = self.kind == "vLLM"
        adapter = self._adapters.get(request.adapter) if request.adapter else None
        body: dict[str, Any] = {
            "model": adapter or self._name,
            "prompt": list(prompt.token_ids) if is_vllm else prompt.text,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stream": False,
        }
        if closes:
            body["stop"] = [FENCE]
        return body | ({"return_token_ids": True, "logprobs": 0} if is_vllm else {})

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        """Send a request; retry after a dropped connection, a server error or HTTP 429.

        There is no retry after a refusal, nor if the server accepts a request and then is silent: it hangs.
        """
        problem = ""
        for wait in (*self._waits, None):
            try:
                with self._client.stream("POST", url, json=body) as response:
                    raw = _read_bounded(response)
                if response.status_code == 200:
                    return json.loads(raw)
                problem = f"{response.status_code} {response.reason_phrase}: {raw[:300].decode(errors='replace')}"
                if response.status_code < 500 and response.status_code != 429:
                    raise ConselfError(
                        f"{self.url} refused a request: {problem}", "check the model's name and the server's log"
                    )
            except httpx2.ReadTimeout as error:
                raise ServerGoneError(f"it did not answer within {_REPLY_SECONDS:g} s") from error
            except (httpx2.HTTPError, OSError, *PARSER_ERRORS) as error:
                problem = str(error) or type(error).__name__
            if wait is not None:
                time.sleep(wait)
        raise ServerGoneError(problem)

    # -- what a server can do -------------------------------------------------------------------------------

    def _find_kind(self) -> Kind:
        props = self._ask("GET", "/props")
        if isinstance(props, dict) and "default_generation_settings" in props:
            slots = props.get("total_slots")
            self._slots = slots if type(slots) is int and 0 < slots <= 1024 else 0
            self._list_adapters()
            return "llama-server"
        version = self._ask("GET", "/version")
        return "vLLM" if isinstance(version, dict) and "version" in version else "other"

    def _list_adapters(self) -> None:
        listed = self._ask("GET", "/lora-adapters")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and type(one.get("id")) is int and isinstance(one.get("path"), str):
                self._adapters[Path(one["path"])] = one["id"]
                self._numbers = sorted({*self._numbers, one["id"]})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON value of a reply, or None if the server does not know the path or does not answer."""
        try:
            url = f"{self.url.removesuffix('/v1')}{path}"
            with self._client.stream(method, url, json=body, timeout=_PROBE_SECONDS) as response:
                raw = _read_bounded(response)
            return (json.loads(raw) if raw.startswith((b"{", b"[")) else True) if response.status_code == 200 else None
        except (httpx2.HTTPError, OSError, *PARSER_ERRORS):
            return None  # another kind of server, or one whose death `complete` will report


def _read_bounded(response: httpx2.Response) -> bytes:
    raw = bytearray()
    for chunk in response.iter_bytes():
        raw += chunk
        if len(raw) > _MAX_REPLY_BYTES:
            raise ValueError(f"a reply of more than {_MAX_REPLY_BYTES} bytes")
    return bytes(raw)


def _read_native(reply: Any, closes: bool) -> Answer:
    """Read llama-server's own answer; a text that ended at the fence, as only `closes` allows, gets it back."""
    tokens = tuple(int(token) for token in reply["tokens"])
    logps = tuple(float(one["logprob"]) for one in reply.get("completion_probabilities") or ())
    finishes: dict[str, Finish] = {"eos": "end-token", "word": "fence" if closes else "end-token", "limit": "length"}
    finish = finishes[reply["stop_type"]]
    text = str(reply["content"]) + (FENCE if finish == "fence" else "")
    return Answer(text, finish, tokens or None, logps if 0 < len(logps) <= len(tokens) else None)


def _read_openai(reply: Any, closes: bool) -> Answer:
    choice = reply["choices"][0]
    text, ended = str(choice["text"]), choice.get("finish_reason") == "stop"
    tokens = tuple(int(token) for token in choice.get("token_ids") or ())
    logps = tuple(float(p) for p in (choice.get("logprobs") or {}).get("token_logprobs") or ())
    at_fence = closes and ended and choice.get("stop_reason", FENCE) == FENCE
    finish: Finish = "fence" if at_fence else "end-token" if ended else "length"
    return Answer(
        text + (FENCE if at_fence else ""), finish, tokens or None, logps if len(logps) == len(tokens) > 0 else None
    )


def _base_url(url: str, accept_remote: bool) -> str:
    """Return the base address, ending in `/v1`; raise ConselfError if it is on another machine and not accepted."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise ConselfError(f"{url} is not the address of a server", "give one like http://127.0.0.1:8080/v1")
    if not _is_this_machine(host) and not accept_remote:
        raise ConselfError(
            f"{host} is not this machine: your problems would be sent to it",
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
