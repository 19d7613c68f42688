"""A hostile chat template is refused in time."""

from __future__ import annotations

import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.chat_template import render_chat
from conself_local.sampling.sampler import ChatMessage


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content.__class__.__mro__ }}{% endfor %}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
        "{% for",
        "{{ 'x' * 10**9 }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_hostile_templates_are_refused_in_time(template: str) -> None:
    with pytest.raises(ConselfError, match="chat template"):
        render_chat(template, [ChatMessage("user", "hi")], "<s>", "</s>")
