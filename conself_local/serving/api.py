"""Read the requests of OpenAI's API as editors send them, and write the answers.

A request that asks for something that is not offered (images, tools, grammars, probabilities) is refused with the
reason; options that only shift the sampling (penalties, top-k) are ignored. Not covered: HTTP (`server.py`).
Source: OpenAI's API reference, chat completions and completions; read and restated.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conself_local.foreign_text import is_encodable, shown
from conself_local.sampling.sampler import ChatMessage
from conself_local.serving.verdict import Verdict

MAX_MESSAGES = 2_000
MAX_CHARACTERS = 400_000
MAX_CHOICES = 8
MAX_STOPS = 16
MAX_BEST_OF = 16
_NOT_OFFERED = {
    "tools": "tools", "functions": "tools", "function_call": "tools", "logprobs": "probabilities",
    "top_logprobs": "probabilities", "logit_bias": "biases", "grammar": "grammars", "json_schema": "grammars",
    "guided_json": "grammars", "guided_regex": "grammars", "guided_grammar": "grammars", "audio": "audio",
    "prediction": "predicted answers", "web_search_options": "web search", "suffix": "text after the gap",
    "echo": "the prompt in the answer", "best_of": "the best of several answers",
}  # fmt: skip
"""Field of a request -> what it asks for, which is refused."""
Temperature = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]


class RefusedError(Exception):
    """A request that cannot be answered: the HTTP status, the reason, and the field at fault."""

    def __init__(self, status: int, reason: str, field: str | None = None, code: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.field, self.code = status, reason, field, code

    def body(self) -> dict[str, Any]:
        """Return the error as OpenAI's clients expect it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.reason, "type": kind, "param": self.field, "code": self.code}}


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _StreamOptions(_Loose):
    include_usage: bool = False


class Part(_Loose):
    """One part of a message's content."""

    type: str
    text: str | None = None


class Message(_Loose):
    """One message of a chat; the content of an assistant that only called tools is null."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None

    def text(self) -> str:
        """Return the content as one text. Raises RefusedError for a part that is not text."""
        parts = self.content if isinstance(self.content, list) else [Part(type="text", text=self.content)]
        for part in parts:
            if part.type not in ("text", "input_text", "output_text", "refusal"):
                raise RefusedError(
                    400, f"a message holds a part of type {part.type!r}; only text can be read", "messages"
                )
        return "".join(part.text or "" for part in parts)


class _Request(_Loose):
    """What both kinds of requests share."""

    model: str = ""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    response_format: dict[str, Any] | None = None

    @property
    def stops(self) -> list[str]:
        """The texts at which an answer ends; an empty one ends nothing."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in given if stop]

    @property
    def most_tokens(self) -> int | None:
        """Maximum number of tokens of an answer; None: as many as fit."""
        return self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def verify(self) -> None:
        """Raise RefusedError if the request asks for what is not offered."""
        extra = self.model_extra or {}
        for field, what in _NOT_OFFERED.items():
            if extra.get(field):
                raise RefusedError(400, f"this server offers no {what} ({field})", field)
        kind = (self.response_format or {}).get("type", "text")
        if kind != "text":
            raise RefusedError(400, f"answers are text only, not {str(kind)[:40]!r}", "response_format")


class ChatRequest(_Request):
    """A request for `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_BEST_OF)] | None = None
    """Number of programs to compare before one is shown; None: as the name of the model says."""

    @property
    def most_tokens(self) -> int | None:
        """Maximum number of tokens of an answer; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    def chat(self) -> list[ChatMessage]:
        """Return the messages as a chat template takes them: a developer is a system, a tool's result is a user's text.

        Raises RefusedError if they are not text, or too many.
        """
        if len(self.messages) > MAX_MESSAGES:
            raise RefusedError(413, f"a request may have at most {MAX_MESSAGES} messages", "messages")
        found = [_chat_message(message) for message in self.messages]
        _verify_text("".join(message.content for message in found), "messages")
        return found


class CompletionRequest(_Request):
    """A request for `/v1/completions`: a prompt that the model continues, without a template."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    def text(self) -> str:
        """Return the prompt. Raises RefusedError if it is too long."""
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        _verify_text(text, "prompt")
        if not text:
            raise RefusedError(400, "the prompt is empty", "prompt")
        return text


def read_request(kind: type[ChatRequest] | type[CompletionRequest], values: object) -> ChatRequest | CompletionRequest:
    """Return the request that a JSON value holds. Raises RefusedError that names the first field at fault."""
    try:
        request = kind.model_validate(values)
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise RefusedError(400, "the request is nested too deeply") from error
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])[:100]
        raise RefusedError(400, shown(f"{field or 'the request'}: {first['msg']}"[:300]), field) from error
    request.verify()
    return request


def _chat_message(message: Message) -> ChatMessage:
    text = message.text()
    if message.role in ("tool", "function"):
        return ChatMessage("user", f"Result of the tool{f' {message.name}' if message.name else ''}:\n{text}")
    return ChatMessage("system" if message.role == "developer" else message.role, text)  # type: ignore[arg-type]


def _verify_text(text: str, field: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise RefusedError(413, f"a request may have at most {MAX_CHARACTERS} characters", field)
    if not is_encodable(text):
        raise RefusedError(400, "a text holds half of a surrogate pair, which is no character", field)


# -- answers ------------------------------------------------------------------------------------------------


class Answer:
    """One answer in the making: its id, its model, and whether it is a chat; it writes the JSON that clients expect."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._model, self._chat = model, chat
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._verdict: dict[str, Any] = {}

    def add_verdict(self, verdict: Verdict) -> None:
        """Let what is written from now on say how the answer was found, in the field `conself`."""
        self._verdict = {"conself": verdict.summary()}

    def whole(self, choices: Sequence[tuple[str, str]], usage: dict[str, int]) -> dict[str, Any]:
        """Return the whole answer; `choices` holds (text, reason why it ended) pairs."""
        listed = [
            {"index": i, "finish_reason": reason, "logprobs": None}
            | ({"message": {"role": "assistant", "content": text}} if self._chat else {"text": text})
            for i, (text, reason) in enumerate(choices)
        ]
        return self._object("chat.completion" if self._chat else "text_completion", listed) | {"usage": usage}

    def piece(self, index: int, text: str | None, reason: str | None = None) -> dict[str, Any]:
        """Return one event of a stream: new text of a choice, its end with the reason, or None for its beginning."""
        if not self._chat:
            shown_text: dict[str, Any] = {"text": text or ""}
        elif text is None:
            shown_text = {"delta": {"role": "assistant", "content": ""}}
        else:
            shown_text = {"delta": {"content": text} if text else {}}
        choice = {"index": index, "finish_reason": reason, "logprobs": None} | shown_text
        return self._object("chat.completion.chunk" if self._chat else "text_completion", [choice])

    def usage_piece(self, usage: dict[str, int]) -> dict[str, Any]:
        """Return the last event of a stream for which the number of tokens was asked."""
        return self._object("chat.completion.chunk" if self._chat else "text_completion", []) | {"usage": usage}

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        written = {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}
        return written | self._verdict


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the numbers of tokens as clients expect them."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
