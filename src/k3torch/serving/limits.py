"""What a request may contain, and one-line errors as JSON, as an ASGI middleware and handlers for FastAPI."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from k3torch.errors import InputError, first_line
from starlette.exceptions import HTTPException

MAX_BYTES = 2_000_000  # of the body of a request
MAX_TEXTS, MAX_CHARACTERS = 100, 20_000  # of a request, of a text
MAX_TOTAL = 100_000  # characters of all texts of a request: a word of a long text takes as long as a short text
MAX_ROWS = 10_000  # of a table

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Pages load nothing from elsewhere, run no script that is in the page itself, and are shown in no frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class LimitedBody:
    """Refuses bodies above ``MAX_BYTES`` before they are in memory, whatever their header says of their length."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with ``HEADERS``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BYTES:
                raise HTTPException(413, f"expected a request of up to {MAX_BYTES:,} bytes, got more")
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, limited, with_headers)


def answer_errors(app: FastAPI) -> None:
    """Have an app answer every error by ``{"error": "..."}`` in one line, without a traceback."""

    @app.exception_handler(InputError)
    async def bad_input(_: Request, error: InputError) -> JSONResponse:
        return _answer(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def bad_json(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "JSON"
        return _answer(422, f"expected a request as in /openapi.json, got {where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _answer(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> JSONResponse:
        return _answer(500, f"expected an answer, got an error of the server: {first_line(error, with_type=True)}")


def _answer(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error": " ".join(line.split())}, status)
