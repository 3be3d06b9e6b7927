"""Wrong in headers, credentials, ids in URLs, and fields of strangers."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.kit.matrix import Mutant, answers, fields, headers, tells
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

Change = Callable[[ReferenceBroker], None]
VERSION = "x-broker-api-version"
IDENTITY = "x-broker-api-originating-identity"
REQUEST_ID = "x-broker-api-request-identity"
STRANGER = "x-osb-conformance"


def turns_away(when: Callable[[Asked], bool], status: int = 400) -> Change:
    """Some requests are refused before anything is done."""

    def change(broker: ReferenceBroker) -> None:
        routed = broker.routed

        async def refused(asked: Asked) -> Answer:
            if when(asked):
                raise Refusal(status, "This is not taken.")
            return await routed(asked)

        broker.routed = refused  # type: ignore[method-assign]

    return change


def reads(rewritten: Callable[[Asked], Asked]) -> Change:
    """Every request is read otherwise than it was sent."""

    def change(broker: ReferenceBroker) -> None:
        routed = broker.routed
        broker.routed = lambda asked: routed(rewritten(asked))  # type: ignore[method-assign]

    return change


def authenticates(unless: Callable[[Asked], bool]) -> Change:
    """Some requests need no credentials."""

    def change(broker: ReferenceBroker) -> None:
        authenticate = broker.authenticate

        def careless(asked: Asked) -> None:
            if not unless(asked):
                authenticate(asked)

        broker.authenticate = careless  # type: ignore[method-assign]

    return change


def with_any_credential(kind: str) -> Callable[[Asked], bool]:
    """Whether a request of a kind has a credential, be it wrong."""
    return lambda asked: asked.kind == kind and "authorization" in asked.headers


def does_what_it_refuses(method: str, gate: str = "authenticate") -> Change:
    """A request is refused at a gate after it was done.

    Args:
        gate: the broker's method that refuses.
    """

    def change(broker: ReferenceBroker) -> None:
        routed, guard = broker.routed, getattr(broker, gate)

        async def late(asked: Asked) -> Answer:
            try:
                guard(asked)
            except Refusal:
                if method in {asked.method, asked.kind}:
                    setattr(broker, gate, lambda asked: None)
                    await done(asked)
                raise
            return await routed(asked)

        async def done(asked: Asked) -> None:
            try:
                await routed(asked)
            except Refusal:
                pass
            finally:
                setattr(broker, gate, guard)

        broker.routed = late  # type: ignore[method-assign]

    return change


def versions(check: Callable[[str], None]) -> Change:
    """The version header is looked at in another way, when it is there."""

    def change(broker: ReferenceBroker) -> None:
        usual = broker.check_version

        def other(asked: Asked) -> None:
            version = asked.headers.get(VERSION)
            if version is None:
                usual(asked)
            else:
                check(version)

        broker.check_version = other  # type: ignore[method-assign]

    return change


def compares_texts(version: str) -> None:
    if not "2.11" <= version < "3":
        raise Refusal(412, "Use the API version 2.17.")


def slow(broker: ReferenceBroker) -> None:
    """The first catalog takes a minute."""

    def rewrite(asked: Asked, told: Answer) -> None:
        if asked.kind == "GET catalog" and not broker.now:
            broker.now = 60.0

    broker.rewrite = rewrite


def forgets_case(broker: ReferenceBroker) -> None:
    broker.instances = _Lower()


class _Lower(dict[str, Thing]):
    """Ids are compared in lower case."""

    def get(self, id: str, default: Any = None) -> Any:
        return super().get(id.lower(), default)

    def __setitem__(self, id: str, thing: Thing) -> None:
        super().__setitem__(id.lower(), thing)


def nested_stranger(asked: Asked) -> bool:
    """A stranger's field in an object of the body."""
    if asked.kind != "PUT instance" or STRANGER.encode() not in asked.content:
        return False
    return STRANGER in asked.body.get("context", {})


def sent(name: str) -> Callable[[Asked], str]:
    """A header, empty when it was not sent."""
    return lambda asked: asked.headers.get(name, "")


def with_parts(asked: Asked, *parts: str) -> Asked:
    return replace(asked, parts=list(parts))


def split_late(asked: Asked) -> Asked:
    """The path is decoded first and split after."""
    return with_parts(asked, *"/".join(asked.parts).split("/"))


def drops_identity(when: Callable[[int], bool]) -> Change:
    def becomes(asked: Asked, told: Answer) -> Answer:
        if when(told.status):
            told.headers.pop(REQUEST_ID, None)
        return told

    return answers("GET instance poll", None, becomes)


MUTANTS = [
    Mutant(
        "slow_catalog",
        "The catalog takes a minute.",
        fails=("answers_come_soon",),
        change=slow,
    ),
    Mutant(
        "needs_context",
        "A platform of version 2.11 must send a context, which it does not know.",
        fails=("older_platforms_are_served",),
        change=turns_away(
            lambda asked: (
                asked.kind == "PUT instance"
                and sent(VERSION)(asked) == "2.11"
                and b'"context"' not in asked.content
            )
        ),
    ),
    Mutant(
        "newer_is_400",
        "A newer minor version is answered 400.",
        fails=("newer_platforms_are_served",),
        change=turns_away(lambda asked: sent(VERSION)(asked) == "2.99"),
    ),
    Mutant(
        "refuses_2_17",
        "The version 2.17 is refused to who names no request.",
        fails=("version_is_served",),
        change=turns_away(
            lambda asked: (
                sent(VERSION)(asked) == "2.17" and REQUEST_ID not in asked.headers
            ),
            412,
        ),
    ),
    Mutant(
        "unsupported_is_400",
        "A version that is not supported is answered 400.",
        fails=("version_is_refused_with_412",),
        change=turns_away(lambda asked: sent(VERSION)(asked) == "3.0"),
    ),
    Mutant(
        "silent_412",
        "The 412 does not say which version to use.",
        fails=("refusal_names_the_version",),
        change=answers("", 412, fields(description="This version is not supported.")),
    ),
    Mutant(
        "missing_version_is_412",
        "A request without the version header is answered 412.",
        fails=("missing_version_is_400",),
        change=turns_away(lambda asked: VERSION not in asked.headers, 412),
    ),
    Mutant(
        "malformed_version_is_500",
        "A version that is none is answered 500.",
        fails=("malformed_version_is_no_fault",),
        change=turns_away(lambda asked: sent(VERSION)(asked) == "abc", 500),
    ),
    Mutant(
        "versions_are_texts",
        "Versions are compared as texts.",
        fails=("versions_are_numbers",),
        change=versions(compares_texts),
    ),
    Mutant(
        "version_header_has_a_case",
        "The version header is found in one case only.",
        fails=("header_names_have_no_case",),
        change=turns_away(
            lambda asked: VERSION in asked.headers and VERSION.upper() in asked.names
        ),
    ),
    Mutant(
        "identity_cannot_unbind",
        "An originating identity is not taken where something is unbound.",
        fails=("identity_may_come_with_any_request",),
        change=turns_away(
            lambda asked: asked.kind == "DELETE binding" and IDENTITY in asked.headers
        ),
    ),
    Mutant(
        "identities_of_two_platforms",
        "An identity of a platform that is not known is refused.",
        fails=("identity_may_be_of_any_platform",),
        change=turns_away(
            lambda asked: (
                re.match("(cloudfoundry|kubernetes|)( |$)", sent(IDENTITY)(asked))
                is None
            )
        ),
    ),
    Mutant(
        "malformed_identity_is_500",
        "An identity without a value is answered 500.",
        fails=("malformed_identity_is_no_fault",),
        change=turns_away(lambda asked: sent(IDENTITY)(asked) == "cloudfoundry", 500),
    ),
    Mutant(
        "request_identity_is_lost",
        "Polls do not bring the request identity back.",
        fails=("request_identity_comes_back",),
        change=drops_identity(lambda status: status < 400),
    ),
    Mutant(
        "request_identity_is_changed",
        "Polls bring another request identity back.",
        fails=("request_identity_comes_back",),
        change=answers(
            "GET instance poll", 200, headers(x_broker_api_request_identity="another")
        ),
    ),
    Mutant(
        "request_identity_is_lost_on_errors",
        "Polls of what does not exist do not bring the request identity back.",
        fails=("request_identity_comes_back_on_errors",),
        change=drops_identity(lambda status: status >= 400),
    ),
    Mutant(
        "nested_strangers_are_400",
        "An unknown field in the context is refused.",
        fails=("unknown_fields_stop_nothing",),
        change=turns_away(nested_stranger),
    ),
    Mutant(
        "strangers_are_409",
        "An unknown field makes a repeated PUT another request.",
        fails=("unknown_fields_are_ignored",),
        change=turns_away(
            lambda asked: (
                asked.kind == "PUT instance"
                and f'"{STRANGER}": "new"'.encode() in asked.content
            ),
            409,
        ),
    ),
    Mutant(
        "own_field_without_prefix",
        "Plans have a field of the broker's own that is called owner.",
        fails=("own_fields_have_a_prefix",),
        change=tells(lambda told: told["services"][0]["plans"][0].update(owner="x")),
    ),
    Mutant(
        "unknown_query_is_400",
        "A poll with an unknown query parameter is refused.",
        fails=("unknown_queries_are_ignored",),
        change=turns_away(
            lambda asked: asked.method == "DELETE" and STRANGER in asked.query
        ),
    ),
    Mutant(
        "reached_in_the_clear",
        "The broker is on a network, and reached by http.",
        fails=("traffic_is_encrypted",),
        url="http://reference.example",
    ),
    Mutant(
        "public_catalog",
        "The catalog needs no credentials.",
        fails=(
            "strangers_see_no_catalog",
            "every_endpoint_authenticates",
            "every_endpoint_compares_credentials",
            "wrong_credentials_are_401",
        ),
        change=authenticates(unless=lambda asked: asked.kind == "GET catalog"),
    ),
    Mutant(
        "public_polls",
        "Polls of bindings need no credentials; wrong ones are refused.",
        fails=("every_endpoint_authenticates",),
        change=authenticates(
            unless=lambda asked: (
                asked.kind == "GET binding poll"
                and "authorization" not in asked.headers
            )
        ),
    ),
    Mutant(
        "foreign_schemes_are_403",
        "Another scheme than Basic is answered 403.",
        fails=("wrong_credentials_are_401",),
        change=turns_away(
            lambda asked: sent("authorization")(asked).startswith(
                ("Bearer", "Conformance")
            ),
            403,
        ),
    ),
    Mutant(
        "makes_before_401",
        "A PUT without credentials is done before it is refused.",
        fails=("nobody_makes_anything",),
        change=does_what_it_refuses("PUT"),
    ),
    Mutant(
        "changes_before_401",
        "A PATCH without credentials is done before it is refused.",
        fails=("nobody_changes_anything",),
        change=does_what_it_refuses("PATCH"),
    ),
    *(
        Mutant(
            f"takes_any_password_for_{kind.lower().replace(' ', '_')}",
            f"{kind} needs a credential, and any will do.",
            fails=("every_endpoint_compares_credentials",),
            change=authenticates(unless=with_any_credential(kind)),
        )
        for kind in (
            "GET instance",
            "GET instance poll",
            "GET binding",
            "GET binding poll",
            "PATCH instance",
            "PUT binding",
            "DELETE binding",
            "PUT instance",
            "DELETE instance",
        )
    ),
    Mutant(
        "removes_before_401",
        "A DELETE without credentials is done before it is refused.",
        fails=("nobody_removes_anything",),
        change=does_what_it_refuses("DELETE"),
    ),
    Mutant(
        "body_before_credentials",
        "A body that is an array is answered 400 before the credentials are read.",
        fails=("credentials_come_first",),
        change=turns_away(
            lambda asked: asked.content == b"[]" and not sent("authorization")(asked)
        ),
    ),
    Mutant(
        "no_challenge",
        "The 401 has no WWW-Authenticate.",
        fails=("challenge_is_given",),
        change=answers("", 401, headers(www_authenticate=None)),
    ),
    Mutant(
        "ids_without_tilde",
        "An id that holds a tilde is refused.",
        fails=("ids_are_any_unreserved_text",),
        change=turns_away(lambda asked: any("~" in each for each in asked.parts)),
    ),
    Mutant(
        "plus_is_a_blank",
        "A plus in a path is taken for a blank.",
        fails=("encoded_ids_are_decoded",),
        change=reads(
            lambda asked: with_parts(
                asked, *(each.replace("+", " ") for each in asked.parts)
            )
        ),
    ),
    Mutant(
        "operations_with_blanks",
        "The operation of an unbinding holds a blank.",
        fails=("brokers_ids_are_unreserved",),
        change=answers("DELETE binding", 202, fields(operation="un bind")),
    ),
    Mutant(
        "split_late",
        "The path is decoded before it is split.",
        fails=("encoded_slash_splits_nothing",),
        change=reads(split_late),
    ),
    Mutant(
        "ids_without_case",
        "Ids of instances are compared in lower case.",
        fails=("case_makes_another_id",),
        change=forgets_case,
    ),
]
