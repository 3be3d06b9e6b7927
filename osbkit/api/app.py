"""The FastAPI application, with the gate around everything."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from osbkit.api import answers, headers, openapi
from osbkit.api.endpoints import KEY, add_routes
from osbkit.api.gate import App, Gate, Started
from osbkit.errors import MethodUnknown, NotThere, RequestRejected

TELEMETRY: TelemetryConfig = {"logs": False, "metrics": False, "tracing": False}
"""FastAPI's own telemetry records exception messages, which may hold secrets."""


class BrokerApp(FastAPI):
    """A FastAPI whose outermost layer is the gate.

    `add_middleware` stands inside of ServerErrorMiddleware, which raises again what
    it answered, and the server would log the exception's text: so the stack
    itself is wrapped.
    """

    def __init__(
        self,
        *,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]],
        started: Callable[[], Started | None],
        waits: Callable[[], str | None],
        mounts: Mapping[str, App],
    ) -> None:
        super().__init__(
            telemetry=TELEMETRY,
            title="Open Service Broker API",
            version="2.17",
            redirect_slashes=False,
            exception_handlers={
                HTTPException: _framework_refused,
                RequestRejected: _rejected,
                Exception: _fault,
            },
        )
        self._start = lifespan
        self._started = started
        self._waits = waits
        self._broker_mounts = mounts
        add_routes(self)

    def openapi(self) -> dict[str, Any]:
        """What `/openapi.json` serves: written, not inferred from the routes."""
        return openapi.document()

    def build_middleware_stack(self) -> Any:
        """Put the gate around what FastAPI builds."""
        return Gate(
            super().build_middleware_stack(),
            lifespan=self._start,
            started=self._started,
            waits=self._waits,
            mounts=self._broker_mounts,
        )


async def _rejected(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRejected)
    call = request.scope.get(KEY)
    return answers.rejected(error, call.version if call else headers.NEWEST)


async def _fault(request: Request, error: Exception) -> Response:
    """Instead of Starlette's text/plain; it is raised on, and the gate logs it."""
    return answers.fault(request.scope["path"])


async def _framework_refused(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, as the specification's error body."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        refusal: RequestRejected = MethodUnknown(
            "This method is not part of the Open Service Broker API at this path."
        )
    else:
        refusal = NotThere(headers.UNKNOWN)
    answer = answers.rejected(refusal)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer
