"""Guard the server: local programs only, with the key, within limits of size, time and number of connections.

A web page in the user's browser can send requests to 127.0.0.1, so `Host` must be a local name, and so must `Origin` if
a request has one. Not covered: encryption, and access from other computers.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any
from urllib.parse import urlsplit

from uvicorn.protocols.http.h11_impl import H11Protocol

from conself_local.serving.api import RefusedError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")
MAX_BODY_BYTES = 4 * 2**20
BODY_SECONDS = 30.0
"""Time within which a request must have arrived as a whole."""
MAX_CONNECTIONS = 128


class Guard:
    """Middleware that refuses requests of web pages, without the key, too large or too slow."""

    def __init__(self, app: Any, api_key: str | None) -> None:
        self._app, self._api_key = app, api_key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._verify({name.lower(): value.decode("latin-1") for name, value in scope["headers"]})
            body = await asyncio.wait_for(_read_body(receive), BODY_SECONDS)
        except (RefusedError, TimeoutError) as error:
            refusal = error if isinstance(error, RefusedError) else RefusedError(408, "the request took too long")
            await _refuse(refusal, send)
            return
        delivered = False

        async def receive_whole() -> Any:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_whole, send)

    def _verify(self, headers: dict[bytes, str]) -> None:
        """Raise RefusedError unless the headers are those of a local program that knows the key."""
        try:
            host = urlsplit(f"//{headers.get(b'host', '')}").hostname or ""
            origin = urlsplit(headers[b"origin"]).hostname or "" if b"origin" in headers else None
        except ValueError:
            raise RefusedError(400, "Host or Origin cannot be read") from None
        if host not in LOCAL_HOSTS:
            raise RefusedError(400, "Host must be a name of this computer, as 127.0.0.1 or localhost")
        if origin is not None and origin not in LOCAL_HOSTS:
            raise RefusedError(403, "only programs on this computer may send requests")
        if self._api_key is not None:
            given = headers.get(b"authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._api_key.encode()):
                raise RefusedError(401, "the API key is missing or wrong", code="invalid_api_key")


async def _read_body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"a request may have at most {MAX_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


async def _refuse(refusal: RefusedError, send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(refusal.body()).encode()})


class PatientProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, which closes a connection that sends no whole header in time."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(BODY_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
