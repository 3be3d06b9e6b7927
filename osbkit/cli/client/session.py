"""What every client command has: a broker to ask, a clock, a way to print.

`connected` gives a command the options of a connection and a `Session` in their
place; problems end here, as words for people and as one object for programs.
"""

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Concatenate, ParamSpec

import httpx
import typer

from osbkit.cli.caller import Password, Token, User
from osbkit.cli.client.choosing import offerings_in
from osbkit.cli.client.hints import expect
from osbkit.cli.client.polling import Clock
from osbkit.cli.client.remote import DEFAULT_URL, Remote, Target
from osbkit.cli.terminal import Problem, complain, print_facts, print_json

Json = dict[str, Any]
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a command meets outside itself; a test puts its own in `obj`."""

    transport: httpx.BaseTransport | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command at work.

    Attributes:
        as_json: print one object for a program instead of a table.
        about: what the command is about (ids, the operation), as far as it is
            known by now; part of everything printed, problems included.
    """

    remote: Remote
    clock: Clock
    as_json: bool
    about: Json = field(default_factory=dict)

    def offerings(self) -> list[Json]:
        """The broker's catalog."""
        answer = self.remote.ask("GET", "/v2/catalog")
        action = "give its catalog"
        return offerings_in(expect(answer, {200}, action, self.remote.target))

    def print(self, title: str, result: Json) -> None:
        """Print a result: the fields of the broker's body and what they are about."""
        if self.as_json:
            print_json({**result, **self.about})
        else:
            print_facts(title, _facts({**self.about, **result}))


def _facts(fields: Json) -> list[tuple[str, str]]:
    """Label and text; objects are opened one level deep."""
    facts = []
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            facts += [(f"{key}.{inner}", _text(item)) for inner, item in value.items()]
        else:
            facts.append((key, _text(value)))
    return facts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def connection(
    *,
    url: Annotated[
        str,
        typer.Option(envvar="OSB_URL", help="The broker's root, without /v2."),
    ] = DEFAULT_URL,
    user: User = None,
    password: Password = None,
    token: Token = None,
    api_version: Annotated[
        str, typer.Option(help="Sent as X-Broker-API-Version.")
    ] = "2.17",
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one request.")
    ] = 60.0,
) -> Target:
    """The options of a connection, as every client command has them."""
    return Target.given(
        url=url,
        user=user,
        password=password,
        token=token,
        api_version=api_version,
        timeout=timeout,
    )


AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, for programs.")
]


def connected(
    command: Callable[Concatenate[Session, Arguments], None],
) -> Callable[..., None]:
    """A typer command from one that wants a Session first.

    Its signature is that of `command` without the session, and after it the
    options of `connection` and `--json`.
    """
    of_connection = inspect.signature(connection).parameters
    _, *own = inspect.signature(command).parameters.values()
    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    as_json = inspect.Parameter(
        "as_json", inspect.Parameter.KEYWORD_ONLY, annotation=AsJson, default=False
    )

    work: Callable[..., None] = command

    @functools.wraps(command)
    def run(ctx: typer.Context, as_json: bool, **given: Any) -> None:
        target = connection(**{name: given.pop(name) for name in of_connection})
        around = ctx.find_object(Surroundings) or Surroundings()
        about: Json = {}
        try:
            with Remote(target.checked(), around.transport) as remote:
                session = Session(
                    remote=remote, clock=around.clock, as_json=as_json, about=about
                )
                work(session, **given)
        except Problem as problem:
            if as_json:
                print_json({**problem.as_json(), **about})
            complain(problem)
            raise typer.Exit(problem.status) from problem

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [context, *own, *of_connection.values(), as_json]
    )
    run.__annotations__ = {}
    return run
