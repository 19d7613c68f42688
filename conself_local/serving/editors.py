"""Write what a user pastes into an editor, so that it uses the server.

Sources: the documentation of Continue (config.yaml), Zed (language_models), aider (OpenAI-compatible) and the openai
package; read and restated.
"""

from __future__ import annotations

from conself_local.serving import ADAPTER_NAME, BASE_NAME, HOST

_CONFIGURATIONS = {
    "continue": """# ~/.continue/config.yaml
name: conself
version: 1.0.0
schema: v1
models:
  - name: {name}
    provider: openai
    model: {name}
    apiBase: {url}
    apiKey: {key}
    roles: [chat, edit]
    defaultCompletionOptions:
      contextLength: {context}
""",
    "zed": """// settings.json; the key is asked for in Zed's settings of this provider: {key}
{{
  "language_models": {{
    "openai_compatible": {{
      "conself": {{
        "api_url": "{url}",
        "available_models": [
          {{
            "name": "{name}",
            "max_tokens": {context},
            "capabilities": {{"tools": false, "images": false, "parallel_tool_calls": false, "prompt_cache_key": false}}
          }}
        ]
      }}
    }}
  }}
}}
""",
    "aider": """export OPENAI_API_BASE={url}
export OPENAI_API_KEY={key}
aider --model openai/{name} --no-show-model-warnings
""",
    "openai": """import openai

client = openai.OpenAI(base_url="{url}", api_key="{key}")
messages = [{{"role": "user", "content": "Write a function that doubles a number."}}]
print(client.chat.completions.create(model="{name}", messages=messages).choices[0].message.content)
""",
}
EDITORS = tuple(_CONFIGURATIONS)


def configuration(editor: str, *, port: int, context: int, has_key: bool, base: bool) -> str:
    """Return the configuration of one of `EDITORS`; a key that the server wants is not written down."""
    return _CONFIGURATIONS[editor].format(
        url=f"http://{HOST}:{port}/v1",
        name=BASE_NAME if base else ADAPTER_NAME,
        context=context,
        key="YOUR-KEY" if has_key else "none",
    )
