"""A chat template may use what Hugging Face gives, and a hostile one is refused in time."""

from __future__ import annotations

import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.chat_template import TemplateRenderer, render_chat
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


@pytest.mark.round
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "it's <b> é"),
        ("{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}", "user"),
        ("{% generation %}{% set x = 1 %}{{ messages[0].content }}{% endgeneration %}{{ x }}", "it's <b> é"),
        ("{{ messages[0].content | tojson }}", '"it\'s <b> é"'),
        (
            "{{ messages[0] | tojson(indent=1, sort_keys=True, ensure_ascii=True) }}",
            '{\n "content": "it\'s <b> \\u00e9",\n "role": "user"\n}',
        ),
        ("{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }}", "True True True"),
        ("{{ bos_token }}{{ pad_token }}{{ eos_token }}{{ strftime_now('%Y') | length }}", "<s></s>4"),
    ],
)
def test_a_template_may_use_what_hugging_face_gives(template: str, text: str) -> None:
    assert render_chat(template, [ChatMessage("user", "it's <b> é")], "<s>", "</s>") == text


@pytest.mark.parametrize(
    ("template", "at_once", "thinking"),
    [
        ("Q{% if not enable_thinking | default(true) %}<think></think>{% endif %}", "Q<think></think>", "Q"),
        ("Q{# </think> #}<think>", "Q<think>\n\n</think>\n\n", "Q<think>"),
        ("Q{# </think> #}A", "QA<think>\n\n</think>\n\n", "QA"),
        ("Q{% if thinking %}T{# </think> #}{% endif %}", "Q", "Q"),
        ("Q", "Q", "Q"),
    ],
    ids=["switch", "begun", "mentioned", "switch-by-default", "none"],
)
def test_a_reasoning_model_answers_at_once_unless_it_may_think(template: str, at_once: str, thinking: str) -> None:
    with TemplateRenderer(template, {}) as renderer:
        message = [ChatMessage("user", "hi")]
        assert renderer.render(message) == at_once
        assert renderer.render(message, thinking=True) == thinking
