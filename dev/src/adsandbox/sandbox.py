"""An outside system as an application: its API, the control endpoints and background tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour, Misbehave, behaviour_routes
from adsandbox.control import HEALTH, BadJson, ControlError, control_error, not_found
from adsandbox.database import Database

Renders = Callable[[Request, Exception], Response]


@dataclass(frozen=True)
class Listener:
    """A further port with another protocol than HTTP."""

    name: str
    port: int
    protocol: Callable[[], asyncio.Protocol]


@dataclass(frozen=True)
class Sandbox:
    """An outside system as `__main__` serves it."""

    name: str
    port: int
    app: Starlette
    database: Database
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)


def application(
    routes: list[Route],
    behaviour: Behaviour,
    failure: Callable[[int], Response],
    renders: dict[type[Exception], Renders],
) -> Starlette:
    """Return the application: the system's routes behind the misbehaviour, and the shared control endpoints."""
    return Starlette(
        routes=[HEALTH, *behaviour_routes(behaviour), *routes],
        middleware=[Middleware(Misbehave, behaviour=behaviour, failure=failure)],
        exception_handlers={
            HTTPException: not_found,
            ControlError: control_error,
            BadJson: control_error,
            OverflowError: not_found,
            **renders,
        },
    )
