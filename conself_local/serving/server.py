"""Serve the model with its adapter on this computer through an OpenAI-compatible endpoint.

The endpoint is made from the server parts of llama-cpp-python. It listens on loopback only and refuses every request
that a web page in a browser could send: `Host` must be a local name, and so must `Origin` if the request has one
(the application of llama-cpp-python accepts every origin).
Not covered: encryption, several models, and access from other computers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conself_local.errors import ConselfError
from conself_local.machine.child_environment import openmp_waiting

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")
ALIAS = "conself"
"""The model name that clients use."""
_INSTALL_HINT = "install it with: pip install 'conself-local[serve]'"


def make_app(
    model: Path, adapter: Path | None, *, context_tokens: int, threads: int, gpu_layers: int, api_key: str | None
) -> Any:
    """Load the model and return the FastAPI application that serves it.

    `gpu_layers`: number of layers on the graphics card, -1 for all. `api_key`: None lets every local program in.
    Raises ConselfError if the server parts are not installed or llama.cpp cannot load the model.
    """
    os.environ |= openmp_waiting()
    try:
        from fastapi import FastAPI
        from llama_cpp.server.app import router, set_llama_proxy, set_server_settings
        from llama_cpp.server.settings import ModelSettings, ServerSettings
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette_context.middleware import RawContextMiddleware
        from starlette_context.plugins.request_id import RequestIdPlugin

        from conself_local.sampling.amx import amx_is_off
    except ImportError as error:
        raise ConselfError(
            f"the server parts of llama-cpp-python are not installed ({error.name})", _INSTALL_HINT
        ) from error
    set_server_settings(ServerSettings(host=LOCAL_HOSTS[0], api_key=api_key))
    app = FastAPI(
        title="conself",
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_HOSTS)),
            Middleware(_LocalOrigin),
            Middleware(RawContextMiddleware, plugins=(RequestIdPlugin(),)),
        ],
    )
    app.include_router(router)
    settings = ModelSettings(
        model=str(model),
        model_alias=ALIAS,
        lora_path=str(adapter) if adapter else None,
        n_ctx=context_tokens,
        n_threads=threads,
        n_gpu_layers=gpu_layers,
        verbose=False,
    )
    try:
        with amx_is_off():
            set_llama_proxy(model_settings=[settings])
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ConselfError(
            f"llama.cpp cannot load {model}: {error}", "close other programs, or use a smaller --context"
        ) from error
    return app


class _LocalOrigin:
    """Middleware that answers 403 to requests that a page of another site sends through the user's browser."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        origin = dict(scope.get("headers") or ()).get(b"origin")
        if origin is not None and (urlsplit(origin.decode("latin-1")).hostname or "") not in LOCAL_HOSTS:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"only programs on this computer may send requests"})
            return
        await self._app(scope, receive, send)


def serve(app: Any, port: int) -> None:
    """Serve `app` on 127.0.0.1 at `port` until the process is stopped."""
    import uvicorn

    uvicorn.run(app, host=LOCAL_HOSTS[0], port=port, log_level="warning", server_header=False)
