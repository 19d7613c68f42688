"""Serve the model on this computer through an OpenAI-compatible endpoint, with our own engine.

Requests that arrive together are decoded together. The model's name chooses the weights: `conself` is the model with
its adapter, `conself-base` without. It listens on loopback only (`guards.py`).
Not covered: several models, encryption, and access from other computers.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, StreamingResponse

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.shared_engine import SharedEngine
from conself_local.serving import HOST
from conself_local.serving.answering import answer, encode
from conself_local.serving.api import Answer, ChatRequest, CompletionRequest, RefusedError, read_request, usage_of
from conself_local.serving.guards import MAX_CONNECTIONS, Guard, PatientProtocol
from conself_local.serving.serve_best_of import BestOfServing, best_of_answer, start_sandbox, wanted_programs

_GRACE_SECONDS = 2


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback. Raises ConselfError if the port is taken or not allowed."""
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise ConselfError(
            f"port {port} cannot be used: {error.strerror}", "another program may listen there; choose one with --port"
        ) from error
    return listening


def make_app(
    open_engine: Callable[[], EngineProcess],
    arms: Mapping[str, Path | None],
    *,
    context: int,
    api_key: str | None,
    say: Callable[[str], None],
    best_of: BestOfServing,
) -> Any:
    """Return the application; the engine is started with it.

    arms: model name -> adapter file, or None for the base. context: maximum number of tokens of prompt and answer
    together. api_key: None lets every local program in. say: called with one line per request. best_of: how
    programs are compared for requests that want it.
    """
    engine = SharedEngine(open_engine)
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.start()
        except ConselfError as error:
            app.state.failure = error
            raise
        yield
        engine.close()
        best_of.runner.close()

    app = FastAPI(
        title="conself", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan,
        middleware=[Middleware(Guard, api_key=api_key)],
    )  # fmt: skip

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        say(f"{error.status} {request.url.path}: {error.reason}")
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(ConselfError)
    async def failed(request: Request, error: ConselfError) -> JSONResponse:
        return await refused(request, RefusedError(503, error.message))

    @app.get("/v1/models")
    async def models() -> Any:
        listed = [{"id": name, "object": "model", "created": started, "owned_by": "this computer"} for name in arms]
        return {"object": "list", "data": listed}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> Any:
        listed = (await models())["data"]
        found = next((one for one in listed if one["id"] == name), None)
        if found is None:
            raise RefusedError(404, f"there is no model {name[:100]!r}; there are {', '.join(arms)}", "model")
        return found

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Any:
        return await respond(request, ChatRequest)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        return await respond(request, CompletionRequest)

    async def respond(http: Request, kind: type[ChatRequest] | type[CompletionRequest]) -> Any:
        try:
            values = json.loads(await http.body())
        except PARSER_ERRORS as error:
            raise RefusedError(400, f"the body is not JSON: {reason(error)}") from error
        asked = read_request(kind, values)
        name = asked.model or next(iter(arms))
        if name not in arms:
            raise RefusedError(404, f"there is no model {name[:100]!r}; there are {', '.join(arms)}", "model")
        begun = time.monotonic()
        most = wanted_programs(asked, name)
        prompt = await encode(engine, asked, context)
        writer = Answer(name, chat=kind is ChatRequest)
        if most and isinstance(asked, ChatRequest):
            await start_sandbox(best_of.runner)
            pieces = best_of_answer(engine, best_of, asked, prompt, arms[name], context, most, writer.add_verdict)
        else:
            pieces = answer(engine, asked, prompt, arms[name], context)
        tokens = 0

        def told(how: str) -> dict[str, int]:
            """Say what happened, and return the count of tokens."""
            seconds = time.monotonic() - begun
            say(f"{how} {http.url.path} {name}: {len(prompt.token_ids)} + {tokens} tokens in {seconds:.1f} s")
            return usage_of(len(prompt.token_ids), tokens)

        async def events() -> AsyncIterator[str]:
            nonlocal tokens
            how = "cancelled"
            try:
                for index in range(asked.n or 1) if kind is ChatRequest else ():
                    yield _event(writer.piece(index, None))
                async for piece in pieces:
                    tokens += piece.tokens
                    if piece.text:
                        yield _event(writer.piece(piece.index, piece.text))
                    elif piece.reason is None:
                        yield ": still at work\n\n"
                    if piece.reason:
                        yield _event(writer.piece(piece.index, "", piece.reason))
                how = "streamed"
                if asked.wants_usage:
                    yield _event(writer.usage_piece(usage_of(len(prompt.token_ids), tokens)))
                yield "data: [DONE]\n\n"
            except ConselfError as error:
                how = f"failed ({error.message})"
                yield _event(RefusedError(503, error.message).body())
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]
                told(how)

        if asked.stream:
            return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-cache"})
        texts, reasons = [""] * (asked.n or 1), [""] * (asked.n or 1)
        try:
            async for piece in _until_disconnected(http, pieces):
                texts[piece.index] += piece.text
                reasons[piece.index] = piece.reason or ""
                tokens += piece.tokens
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]
        usage = told("answered" if all(reasons) else "cancelled")
        return JSONResponse(writer.whole(list(zip(texts, reasons, strict=True)), usage))

    return app


async def _until_disconnected(http: Any, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the pieces as long as the client listens."""
    async for piece in pieces:
        yield piece
        if await http.is_disconnected():
            return


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def serve(app: Any, listening: socket.socket) -> None:
    """Serve `app` on a socket until the process is stopped. Raises ConselfError if the engine cannot be started."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="critical",
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])
    if failure := getattr(app.state, "failure", None):
        raise failure
