"""Render chat templates in a limited child process, with what Hugging Face gives to a template.

That is: the loop controls `break` and `continue`, `{% generation %}`, `strftime_now`, `raise_exception`, a `tojson`
that leaves text as it is, `tools` and `documents` that are None, and the special tokens. Not covered: tools, documents.
Source: transformers, utils/chat_template_utils.py; read and restated.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from conself_local.machine.limited_child import serve


class Generation(Extension):
    """`{% generation %}` marks what the model wrote, for training elsewhere; here its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the body of the block as a scope of its own."""
        line = next(parser.stream).lineno
        scope = nodes.Scope(lineno=line)
        scope.body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return scope


def render(request: dict[str, Any]) -> str:
    """Return the prompt for `request["messages"]`; `request["switches"]` are further names for the template.

    Raises ValueError if Jinja cannot render the template.
    """
    try:
        return _compile(request["template"]).render(
            request["special_tokens"],
            messages=request["messages"],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **request["switches"],
        )
    except TemplateError as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


@lru_cache(maxsize=4)
def _compile(text: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    return environment.from_string(text)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: object) -> NoReturn:
    raise TemplateError(str(message))


if __name__ == "__main__":
    serve(render)
