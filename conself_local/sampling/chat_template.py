"""Render the chat template of a model file: untrusted Jinja, so in Jinja's immutable sandbox and with a time limit.

Not covered: templates that call tools or need documents. Raises `ConselfError` if the template is broken or too slow,
or if the prompt that it renders is too long. A model file without a template is refused by `load_model_file`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from conself_local.errors import ConselfError
from conself_local.sampling.sampler import ChatMessage

RENDER_SECONDS = 2.0
MAX_PROMPT_CHARACTERS = 200_000


def render_chat(template: str, messages: Sequence[ChatMessage], bos_token: str, eos_token: str) -> str:
    """Return the text of the prompt, with the generation prompt at its end.

    Call it from the main thread only: the time limit is an alarm signal.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        with _time_limit(RENDER_SECONDS):
            text = environment.from_string(template).render(
                messages=[{"role": m.role, "content": m.content} for m in messages],
                add_generation_prompt=True,
                bos_token=bos_token,
                eos_token=eos_token,
            )
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
        MemoryError,
        TimeoutError,
    ) as error:
        raise ConselfError(
            f"the model's chat template cannot be rendered ({type(error).__name__}: {error})",
            "use a GGUF of an instruct model whose chat template takes plain user messages",
        ) from error
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise ConselfError(
            f"the model's chat template rendered a prompt of {len(text)} characters",
            f"the limit is {MAX_PROMPT_CHARACTERS} characters; use another model file",
        )
    return text


def _refuse(message: str) -> NoReturn:
    raise TemplateError(str(message))


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def on_alarm(signum: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"it took longer than {seconds} s")

    previous_handler = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)
