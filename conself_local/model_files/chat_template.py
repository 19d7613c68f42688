"""Render the chat template of a model file: untrusted Jinja, so in a child process with little memory and time.

A reasoning model thinks before it answers. Its template has a switch for that, or the prompt ends with an empty
thinking block, so that the answer begins at once. What a template may use is in `template_child.py`. A model without
a template is refused when it is opened (`model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

from conself_local.errors import ConselfError
from conself_local.machine.limited_child import LimitedChild, LimitError
from conself_local.model_files.model import Model

_ANSWER_AT_ONCE = {"enable_thinking": False, "thinking": False, "thinking_budget": 0, "reasoning_effort": "low"}
"""Names by which templates ask whether the model is to think, with the values for no; others ignore them."""
_BEGIN, _END = "<think>", "</think>"
MAX_PROMPT_CHARACTERS = 200_000
MAX_TEMPLATE_CHARACTERS = 256_000


class Message(Protocol):
    """One message of a chat; `ChatMessage` of `sampling/sampler.py` is one."""

    @property
    def role(self) -> str:
        """`system`, `user` or `assistant`."""

    @property
    def content(self) -> str:
        """The text of the message."""


class TemplateRenderer:
    """A context manager that renders one template many times; its child process is started at the first prompt.

    special_tokens: name in the template (`bos_token`, `eos_token`, ...) -> text of the token.
    """

    def __init__(self, template: str, special_tokens: Mapping[str, str]) -> None:
        self._template, self._special_tokens = template, dict(special_tokens)
        self._child = LimitedChild("conself_local.model_files.template_child")

    def __enter__(self) -> TemplateRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child process."""
        self._child.close()

    def render(self, messages: Sequence[Message], *, thinking: bool = False) -> str:
        """Return the text of the prompt, with the generation prompt at its end.

        thinking: leave it to the template whether the model thinks first; otherwise it is to answer at once.
        Raises ConselfError if the template is broken, too slow or too large, or if its prompt is too long.
        """
        if len(self._template) > MAX_TEMPLATE_CHARACTERS:
            raise _refusal(f"it is longer than {MAX_TEMPLATE_CHARACTERS} characters")
        request = {
            "template": self._template,
            "special_tokens": self._special_tokens,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "switches": {} if thinking else _ANSWER_AT_ONCE,
        }
        try:
            text: str = self._child.ask(request)
        except LimitError as error:
            raise _refusal(str(error)) from error
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise ConselfError(
                f"the model's chat template rendered a prompt of {len(text)} characters",
                f"the limit is {MAX_PROMPT_CHARACTERS} characters; use another model file",
            )
        return text if thinking else without_thinking(self._template, text)


def without_thinking(template: str, prompt: str) -> str:
    """Return the prompt with an empty thinking block at its end if the model would begin its answer with thoughts.

    A template that ends the prompt with such a block, or that has a switch, needs none.
    """
    if prompt.rstrip().endswith(_BEGIN):
        return f"{prompt.rstrip()}\n\n{_END}\n\n"
    has_switch = any(name in template for name in _ANSWER_AT_ONCE)
    if _END not in template or has_switch or prompt.rstrip().endswith(_END):
        return prompt
    return f"{prompt}{_BEGIN}\n\n{_END}\n\n"


def render_chat(template: str, messages: Sequence[Message], bos_token: str, eos_token: str) -> str:
    """Render one prompt; `TemplateRenderer` is faster for many. Raises ConselfError as its `render` does."""
    with TemplateRenderer(template, {"bos_token": bos_token, "eos_token": eos_token}) as renderer:
        return renderer.render(messages)


class _Question:
    role, content = "user", "Write a function."


def template_fault(model: Model) -> str:
    """Return why the model's template cannot render a plain question, or an empty text if it can."""
    try:
        with TemplateRenderer(model.chat_template, model.special_tokens) as renderer:
            renderer.render([_Question()])
    except ConselfError as error:
        return error.message
    return ""


def _refusal(why: str) -> ConselfError:
    return ConselfError(
        f"the model's chat template cannot be rendered ({why})",
        "use an instruct model whose chat template takes plain user messages",
    )
