"""What every request has: headers, credentials, ids in URLs, fields of strangers.

Spec: "Headers", "Vendor Extension Fields", "URL Properties", "Platform to Service
Broker Authentication", and what the other sections say of any request.

Units: seconds.
"""

import json
import re
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan, objects
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Blocked,
    expect,
    expect_no_fault,
    expect_none,
    expect_status,
    skip,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import unchanged
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.sending import IDENTITY, NOTHING, REQUEST_ID, VERSION, basic
from osbkit.conformance.target import OMIT, Target

PROMPT = 10.0  # platforms give up after about 60: far from it, and no one waits long
CATALOG = "/v2/catalog"
UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*")
STRANGER = "x-osb-conformance"


# --- a whole life, with something in every request -----------------------------------


@dataclass(frozen=True, kw_only=True)
class Dress:
    """What every request of a life has that a plain one has not.

    Attributes:
        headers: changed.
        query: added.
        body: makes the dressed body of a plain one.
        allowed: statuses that may refuse the dress.
    """

    headers: Mapping[str, str | None] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[Json], Json] = lambda plain: plain
    allowed: frozenset[int] = frozenset()


class Life:
    """An instance and a binding from beginning to end, every request dressed.

    A refused request is sent again without the dress: only where that one is taken the
    dress was at fault.

    Args:
        old: as a platform before 2.14: nothing is fetched, bindings are made at once.
    """

    def __init__(self, target: Target, dress: Dress, *, old: bool = False) -> None:
        self._target = target
        self._dress = dress
        self._old = old
        self._problems: list[str] = []
        self._seen: list[Exchange] = []

    async def live(self) -> None:
        """Live it.

        Raises:
            Broken: the dress was refused.
            Blocked: provisioning does not work without it, either.
        """
        plan = fullest(self._target, sync_bindings=self._old)
        instance = self._target.instance(plan)
        await self._ask("the catalog", "GET", CATALOG)
        made = await self._ask(
            "provisioning",
            "PUT",
            instance.path,
            {"accepts_incomplete": "true"},
            self._target.provision_body(plan),
        )
        await self._follow(made, instance)
        if not made.good:
            raise Blocked("No instance could be made.", made)
        if plan.offering.instances_retrievable and self._fetches:
            await self._ask("fetching the instance", "GET", instance.path)
        await self._update(instance)
        if plan.facts.bind.succeeded and (not self._old or plan.facts.bind.sync):
            await self._bind(instance.binding())
        await self._delete("deprovisioning", instance, flag=True)
        expect_none(self._problems, *self._seen[:3])

    async def _update(self, instance: Instance) -> None:
        plan = instance.plan
        if not plan.facts.update.succeeded:
            return
        body = {"service_id": plan.offering.id, **plan.facts.update_change}
        query = {"accepts_incomplete": "true"}
        done = await self._ask("updating", "PATCH", instance.path, query, body)
        await self._follow(done, instance)
        instance.plan = next(
            each
            for each in self._target.catalog.plans
            if each.id == body.get("plan_id", plan.id)
        )

    async def _bind(self, binding: Binding) -> None:
        flag = not self._old and self._target.knows("2.14")
        query = {"accepts_incomplete": "true"} if flag else {}
        body = self._target.bind_body(binding.plan)
        made = await self._ask("binding", "PUT", binding.path, query, body)
        await self._follow(made, binding)
        if binding.plan.offering.bindings_retrievable and self._fetches:
            await self._ask("fetching the binding", "GET", binding.path)
        await self._delete("unbinding", binding, flag=flag)

    async def _delete(self, what: str, one: Instance | Binding, *, flag: bool) -> None:
        query = {"service_id": one.plan.offering.id, "plan_id": one.plan.id}
        if flag:
            query["accepts_incomplete"] = "true"
        await self._follow(await self._ask(what, "DELETE", one.path, query), one)

    async def _follow(self, answer: Exchange, one: Instance | Binding) -> None:
        if answer.running:
            operation = answer.get("operation")
            query = {"operation": operation} if isinstance(operation, str) else {}
            await self._ask("polling", "GET", one.poll_path, query)
            await one.ended(answer)

    @property
    def _fetches(self) -> bool:
        return not self._old and self._target.knows("2.14")

    async def _ask(
        self,
        what: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Exchange:
        asked = dict(query or {})
        dressed = await self._target.send(
            method,
            path,
            query={**asked, **self._dress.query},
            json=NOTHING if body is None else self._dress.body(body),
            headers=self._dress.headers,
        )
        if dressed.good:
            return dressed
        plain = await self._target.send(
            method, path, query=asked, json=NOTHING if body is None else body
        )
        if plain.good and dressed.status not in self._dress.allowed:
            self._problems.append(
                f"{what} is answered {dressed.status or dressed.trouble},"
                f" and {plain.status} when plain"
            )
            self._seen.append(dressed)
        return plain


def fullest(target: Target, *, sync_bindings: bool = False) -> Plan:
    """The plan of which most can be tried."""
    binds = wants.bind_sync if sync_bindings else wants.binds
    for more in ((binds, wants.updates), (binds,)):
        if target.plans(wants.usable, *more):
            return target.plan(wants.usable, *more)
    return target.plan(wants.usable)


# --- in general ----------------------------------------------------------------------


@check(
    "GEN-01",
    advice="Answer 202 and work on after the answer when work takes long.",
    alone=True,
)
async def answers_come_soon(target: Target) -> None:
    """No request of the whole run waited for its answer longer than ten seconds."""
    await target.get(CATALOG)
    slow = [each for each in target.session.seen if each.seconds > PROMPT]
    slow.sort(key=lambda each: -each.seconds)
    expect(
        not slow,
        f"{len(slow)} of {len(target.session.seen)} answers took longer than"
        f" {PROMPT:g} seconds, the longest {max([0.0, *(s.seconds for s in slow)]):g}",
        *slow[:3],
    )


@check(
    "GEN-03",
    advice="Ask for nothing that older versions of the API do not know: no context, no"
    " accepts_incomplete of bindings, no plan_id of polls.",
)
async def older_platforms_are_served(target: Target) -> None:
    """What a platform of API version 2.11 sends works as what a newer one sends."""
    known = (await target.get(CATALOG, headers={VERSION: "2.11"})).good
    dress = Dress(
        headers={VERSION: "2.11"} if known else {},
        body=lambda plain: {
            name: each for name, each in plain.items() if name != "context"
        },
    )
    await Life(target, dress, old=True).live()


@check(
    "GEN-04",
    advice="Take any 2.x, or answer 412; ignore fields that you do not know.",
)
async def newer_platforms_are_served(target: Target) -> None:
    """A newer minor version and its fields are taken, or refused with 412."""
    plan = target.plan(wants.usable)
    newer = {VERSION: "2.99"}
    answers = [await target.get(CATALOG, headers=newer)]
    body = target.provision_body(plan, newer_field={"a": [1]})
    answers.append(await target.instance(plan).provision(body=body, headers=newer))
    for answer in answers:
        expect(
            answer.good or answer.status == 412,
            f"API version 2.99 was answered {answer.status}",
            answer,
        )


# --- the version header --------------------------------------------------------------


@check("HDR-01", since="2.17", advice="Serve API version 2.17.")
async def version_is_served(target: Target) -> None:
    """A request that has nothing but credentials and the version 2.17 is served."""
    headers = {VERSION: "2.17", REQUEST_ID: None}
    expect_status(await target.get(CATALOG, headers=headers), 200)


async def asked_in(target: Target, version: str) -> AsyncIterator[Exchange]:
    """What a version is answered to: the catalog, and a poll of nothing."""
    headers = {VERSION: version}
    yield await target.get(CATALOG, headers=headers)
    yield await target.instance().poll(headers=headers)


@check("HDR-03", advice="Answer 412 Precondition Failed, or serve the request.")
async def version_is_refused_with_412(target: Target) -> None:
    """An API version that the broker does not want is refused with 412 alone."""
    for version in ("1.0", "2.0", "3.0", "99.0"):
        answer = await target.get(CATALOG, headers={VERSION: version})
        expect(
            answer.good or answer.status == 412,
            f"version {version} was answered {answer.status}",
            answer,
        )


@check("HDR-04", advice='Say "use API version 2.17" in `description`.')
async def refusal_names_the_version(target: Target) -> None:
    """An answer 412 says in its description which version to use."""
    refused = [
        answer
        for version in ("1.0", "2.0", "3.0", "99.0")
        if (answer := await target.get(CATALOG, headers={VERSION: version})).status
        == 412
    ]
    if not refused:
        skip("The broker refuses no version.")
    for answer in refused:
        words = answer.get("description")
        expect(
            isinstance(words, str) and re.search(r"\d\.\d", words) is not None,
            "the 412 names no version to use",
            answer,
        )


@check(
    "HDR-06",
    since="2.16",
    advice="Answer 400 Bad Request, or serve the request; 412 is for other versions.",
)
async def missing_version_is_400(target: Target) -> None:
    """A request without the version header is served, or refused with 400 alone."""
    bare = {VERSION: None}
    plan = target.plan(wants.usable)
    for answer in (
        await target.get(CATALOG, headers=bare),
        await target.instance(plan).provision(headers=bare),
    ):
        expect(
            answer.good or answer.status == 400,
            f"without the header the answer is {answer.status}",
            answer,
        )
    async for route, answer in routes(target.instance(plan), headers=bare):
        expect(
            answer.status != 412 and answer.status < 500,
            f"{route} without the header is answered {answer.status}",
            answer,
        )


@check("HDR-07", advice="Answer 400 or 412, or serve the request.")
async def malformed_version_is_no_fault(target: Target) -> None:
    """A version header that is none gives 2xx, 400 or 412."""
    for version in ("abc", "2", "2.x", "-1.0", "2.", ".17", "", "9" * 400 + ".0"):
        async for answer in asked_in(target, version):
            allowed = {400, 412} | ({404, 410} if answer.verb != "catalog" else set())
            expect(
                answer.good or answer.status in allowed,
                f"version {version[:8]!r} was answered {answer.status}",
                answer,
            )


@check("HDR-08", advice="Compare major and minor as numbers, not as text.")
async def versions_are_numbers(target: Target) -> None:
    """Versions are compared number by number: 2.9 is older than 2.10."""
    seen = {
        version: await target.get(CATALOG, headers={VERSION: version})
        for version in ("2.2", "2.9", "2.10", "2.17", "2.17.1", "2.100")
    }
    for version, answer in seen.items():
        expect(
            0 < answer.status < 500,
            f"version {version} was answered {answer.status}",
            answer,
        )
    for older, newer in (("2.2", "2.10"), ("2.9", "2.10")):
        expect(
            not (seen[older].good and seen[newer].status == 412 and seen["2.17"].good),
            f"{older} and 2.17 are served, {newer} is not",
            seen[older],
            seen[newer],
        )


@check("HDR-09", advice="Look headers up without regard to case.")
async def header_names_have_no_case(target: Target) -> None:
    """Header names are read in lower case and in upper case."""
    usual = {VERSION: target.version, REQUEST_ID: str(uuid.uuid4())}
    credential = target.session.connection.credentials.header
    if credential is not None:
        usual["Authorization"] = credential
    for changed in (str.lower, str.upper):
        headers = {changed(name): each for name, each in usual.items()}
        answer = await target.get(CATALOG, headers=headers)
        expect(
            answer.status == 200,
            f"header names like {changed(VERSION)} were answered {answer.status}",
            answer,
        )


# --- who asks, and which request it is -----------------------------------------------


def identity(platform: str, value: Any) -> str:
    """A well-formed X-Broker-API-Originating-Identity."""
    return f"{platform} {b64encode(json.dumps(value).encode()).decode()}"


WELL_FORMED = (
    identity("cloudfoundry", {"user_id": "683ea748-3092-4ff4-b656-39cacc4d5360"}),
    identity(
        "kubernetes",
        {
            "username": "duke",
            "uid": "c2dde242-5ce4-11e7-988c-000c2946f14f",
            "groups": ["admin", "dev"],
            "extra": {"mydata": ["data1", "data3"]},
        },
    ),
    identity("conformance", {"who": {"anyone": [1, None, True, "ü"]}}),
)
MALFORMED = (
    "",
    "cloudfoundry",
    "cloudfoundry not/base64!",
    "cloudfoundry " + b64encode(b"not json").decode(),
    "cloudfoundry " + b64encode(b"\xff\xfe").decode(),
    identity("kubernetes", ["an", "array"]),
    identity("kubernetes", None),
    identity("cloudfoundry", {"user_id": 7}) + " and more",
)


@check("HDR-10", advice="Take the header as an extra; ask for it nowhere.")
async def identity_may_come_with_any_request(target: Target) -> None:
    """Every request works with an originating identity, as it works without."""
    await Life(target, Dress(headers={IDENTITY: WELL_FORMED[0]})).live()


@check("HDR-11", advice="Take any platform's name and any JSON object.")
async def identity_may_be_of_any_platform(target: Target) -> None:
    """A well-formed originating identity of any platform disturbs nothing."""
    plan = target.plan(wants.usable)
    for value in WELL_FORMED:
        headers = {IDENTITY: value}
        platform = value.partition(" ")[0]
        for answer in (
            await target.get(CATALOG, headers=headers),
            await target.instance(plan).provision(headers=headers),
        ):
            expect(
                answer.good,
                f"an identity of {platform} was answered {answer.status}",
                answer,
            )


@check("HDR-12", advice="Answer 400, or ignore the header.")
async def malformed_identity_is_no_fault(target: Target) -> None:
    """A malformed originating identity gives 2xx or 400."""
    plan = target.plan(wants.usable)
    for value in MALFORMED:
        answer = await target.instance(plan).provision(headers={IDENTITY: value})
        expect(
            answer.good or answer.status == 400,
            f"a malformed identity was answered {answer.status}",
            answer,
        )


def request_identity(seen: Exchange) -> str | None:
    """As it was sent; None without."""
    names = {name.lower(): value for name, value in seen.sent_headers}
    return names.get(REQUEST_ID.lower())


def _comes_back(seen: Exchange) -> None:
    back = seen.headers.get(REQUEST_ID)
    said = "does not come back" if back is None else "comes back changed"
    expect(
        back == request_identity(seen),
        f"the request identity {said} on a {seen.status}",
        seen,
    )


@every_answer(
    "HDR-14",
    when=lambda seen: seen.status < 400 and request_identity(seen) is not None,
    since="2.15",
    advice=f"Copy {REQUEST_ID} from the request to the answer.",
)
def request_identity_comes_back(seen: Exchange) -> None:
    """The request identity comes back on a success, with the same value."""
    _comes_back(seen)


@every_answer(
    "HDR-15",
    when=lambda seen: seen.status >= 400 and request_identity(seen) is not None,
    since="2.15",
    advice=f"Copy {REQUEST_ID} to errors as well: 400, 401, 404, 410, 422.",
)
def request_identity_comes_back_on_errors(seen: Exchange) -> None:
    """The request identity comes back on an error, with the same value."""
    _comes_back(seen)


# --- fields of strangers -------------------------------------------------------------


def extended(plain: Json) -> Json:
    """A body with fields that nobody knows, in it and in its objects."""
    nested = ("context", "bind_resource", "maintenance_info", "previous_values")
    body = {
        name: {**each, STRANGER: "nested"}
        if name in nested and isinstance(each, dict)
        else each
        for name, each in plain.items()
    }
    return body | {STRANGER: {"a": [1, None]}, f"{STRANGER}-text": "ü"}


@check("EXT-02", advice="Ignore fields that you do not know, nested ones too.")
async def unknown_fields_stop_nothing(target: Target) -> None:
    """Requests with unknown fields, at the top and nested, work as without them."""
    await Life(target, Dress(body=extended)).live()


@check("EXT-01", advice="Compare the fields that the specification knows, no others.")
async def unknown_fields_are_ignored(target: Target) -> None:
    """A repeated PUT that differs in an unknown field only is the same request."""
    instance = await target.provisioned(target.plan(wants.usable))
    answer = await instance.provision(**{STRANGER: "new"})
    again = answer if answer.good else await instance.provision()
    expect(
        answer.status == again.status,
        f"with an unknown field a repeat is answered {answer.status},"
        f" without it {again.status}",
        answer,
        again,
    )


_NAMES = (
    "services id name description tags requires bindable instances_retrievable"
    " bindings_retrievable allow_context_updates metadata dashboard_client"
    " plan_updateable plans free schemas maximum_polling_duration maintenance_info"
    " binding_rotatable secret redirect_uri version dashboard_url operation service_id"
    " plan_id parameters credentials syslog_drain_url route_service_url volume_mounts"
    " endpoints state instance_usable update_repeatable error"
)
KNOWN = frozenset(_NAMES.split())


def _own_fields(value: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields that the specification does not know."""
    yield from (name for name in value if name not in KNOWN)
    for offering in objects(value.get("services")):
        yield from _own_fields(offering)
    for plan in objects(value.get("plans")):
        yield from _own_fields(plan)
    for name in ("dashboard_client", "maintenance_info"):
        if isinstance(inner := value.get(name), dict):
            yield from _own_fields(inner)


@every_answer(
    "EXT-04",
    when=lambda seen: seen.good and bool(seen.object),
    advice="Put a prefix of your own before it, such as `acme-`, or let it go.",
)
def own_fields_have_a_prefix(seen: Exchange) -> None:
    """Fields that the broker adds to its answers have a prefix."""
    plain = [name for name in _own_fields(seen.object) if not re.search(r"\W|_", name)]
    expect(not plain, f"fields without a prefix: {', '.join(plain[:5])}", seen)


@check("EXT-05", advice="Ignore query parameters that you do not know.")
async def unknown_queries_are_ignored(target: Target) -> None:
    """Requests with an unknown query parameter work as without it."""
    await Life(target, Dress(query={STRANGER: "1"})).live()


# --- authentication ------------------------------------------------------------------

NOBODY = {"Authorization": None}


async def routes(
    instance: Instance, binding: Binding | None = None, **how: Any
) -> AsyncIterator[tuple[str, Exchange]]:
    """Each of the ten endpoints asked once: what it is, and the answer.

    What is asked last would remove the instance, if it were done.
    """
    binding = binding or instance.binding()
    yield "the catalog", await instance.target.get(CATALOG, **how)
    yield "fetching an instance", await instance.fetch(**how)
    yield "polling an instance", await instance.poll(**how)
    yield "fetching a binding", await binding.fetch(**how)
    yield "polling a binding", await binding.poll(**how)
    yield "updating", await instance.update(**how)
    yield "binding", await binding.bind(**how)
    yield "unbinding", await binding.delete(**how)
    yield "provisioning", await instance.provision(**how)
    yield "deprovisioning", await instance.delete(**how)


def authenticated(target: Target) -> None:
    """Skip unless there is a credential that could be left out."""
    if not target.authenticates:
        skip("The kit was given no credential, so none can be left out.")


@check("AUTH-01", advice="Serve https, or stand behind something that does.")
async def traffic_is_encrypted(target: Target) -> None:
    """The broker is reached by https, unless it is on the same machine."""
    url = target.session.connection.url
    if url.scheme != "https" and _is_here(url.host):
        skip("The broker is on this machine; nothing is sent over a network.")
    expect(url.scheme == "https", f"the broker's URL is {url.scheme}")


def _is_here(host: str) -> bool:
    """The host is this machine: by name, or by any address of the loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@check("AUTH-01", advice="Ask every caller for a credential.")
async def strangers_see_no_catalog(target: Target) -> None:
    """The catalog is not shown without a credential."""
    answer = await target.get(CATALOG, headers=NOBODY)
    expect(answer.rejected, f"it is answered {answer.status}", answer)


@check("AUTH-02", advice="Ask for the credential on this endpoint as on the others.")
async def every_endpoint_authenticates(target: Target) -> None:
    """Without credentials each of the ten endpoints is answered 401."""
    authenticated(target)
    instance = await target.provisioned(fullest(target))
    binding = None
    if instance.plan.facts.bind.succeeded:
        binding = await instance.bound()
    async for route, answer in routes(instance, binding, headers=NOBODY):
        expect_status(answer, 401, said=f"{route} without credentials")


def wrong_credentials(target: Target) -> dict[str, str]:
    """Values of Authorization that are not right, by what is wrong with them."""
    given = target.session.connection.credentials
    user, password = given.user or "conformance", given.password or "conformance"
    token = given.token or b64encode(f"{user}:{password}".encode()).decode()
    blank = b64encode(b"no colon").decode()
    values = {
        "a wrong password": basic(user, f"{password}-wrong"),
        "the beginning of the password": basic(user, password[:-1]),
        "an empty password": basic(user, ""),
        "a wrong user": basic(f"{user}-wrong", password),
        "a password that is not ASCII": basic(user, "pässwörd-\N{SNOWMAN}"),
        "a wrong token": f"Bearer {token}-wrong",
        "an unknown scheme": f"Conformance {token}",
        "a scheme alone": "Basic",
        "what is not base64": "Basic !!!",
        "base64 without a colon": f"Basic {blank}",
        "bytes that are no text": "Basic " + b64encode(b"\xff\xfe:\xfd").decode(),
        "nothing": "",
    }
    return {what: each for what, each in values.items() if each != given.header}


@check("AUTH-03", advice="Compare the credential on this endpoint as on the others.")
async def every_endpoint_compares_credentials(target: Target) -> None:
    """With a wrong credential each of the ten endpoints is answered 401."""
    authenticated(target)
    instance = await target.provisioned(fullest(target))
    binding = None
    if instance.plan.facts.bind.succeeded:
        binding = await instance.bound()
    given = target.session.connection.credentials
    what = "a wrong token" if given.token else "a wrong password"
    wrong = {"Authorization": wrong_credentials(target)[what]}
    async for route, answer in routes(instance, binding, headers=wrong):
        expect_status(answer, 401, said=f"{route} with {what}")


@check("AUTH-03", advice="Answer 401 Unauthorized, no other status.")
async def wrong_credentials_are_401(target: Target) -> None:
    """Wrong, foreign and malformed credentials are answered 401."""
    authenticated(target)
    for what, value in wrong_credentials(target).items():
        answer = await target.get(CATALOG, headers={"Authorization": value})
        expect_status(answer, 401, said=what)


def refused(answer: Exchange) -> None:
    """Skip if a request without credentials was taken: another check says so."""
    if not answer.rejected:
        skip(f"Without credentials the answer was {answer.status}, not a 4xx.")


@check("AUTH-06", advice="Authenticate before anything else is done.")
async def nobody_makes_anything(target: Target) -> None:
    """A PUT without credentials has made no instance and no binding."""
    authenticated(target)
    plan = fullest(target)
    made = target.instance(plan)
    refused(await made.provision(headers=NOBODY))
    answer = await made.delete()
    expect(not answer.good, "a PUT that was refused made an instance", answer)
    if plan.facts.bind.succeeded:
        binding = (await target.provisioned(plan)).binding()
        refused(await binding.bind(headers=NOBODY))
        answer = await binding.delete()
        expect(not answer.good, "a PUT that was refused made a binding", answer)


@check("AUTH-06", advice="Authenticate before anything else is done.")
async def nobody_changes_anything(target: Target) -> None:
    """A PATCH without credentials has changed nothing."""
    authenticated(target)
    plan = target.plan(wants.usable, wants.retrievable, wants.updates)
    instance = await target.provisioned(plan)
    change = plan.facts.update_change
    patch = partial(instance.update, headers=NOBODY, **change)
    refused(await unchanged(instance, patch))


@check("AUTH-06", advice="Authenticate before anything else is done.")
async def nobody_removes_anything(target: Target) -> None:
    """A DELETE without credentials has removed nothing."""
    authenticated(target)
    instance = await target.provisioned(fullest(target))
    if instance.plan.facts.bind.succeeded:
        binding = await instance.bound()
        refused(await binding.delete(headers=NOBODY))
        answer = await binding.delete()
        expect(answer.good, "a DELETE that was refused removed a binding", answer)
        await binding.ended(answer)
    refused(await instance.delete(headers=NOBODY))
    answer = await instance.delete()
    expect(answer.good, "a DELETE that was refused removed an instance", answer)
    await instance.ended(answer)


@check(
    "AUTH-07", advice="Authenticate before the body, the ids and the query are read."
)
async def credentials_come_first(target: Target) -> None:
    """What is wrong otherwise, too, is still answered 401 without credentials."""
    authenticated(target)
    plan = target.plan(wants.usable)
    instance = target.instance(plan)
    for what, answer in {
        "a body that is not JSON": await instance.provision(
            content=b'{"service_id": ', headers=NOBODY
        ),
        "a body that is an array": await instance.update(body=[], headers=NOBODY),
        "a body without fields": await instance.binding().bind(body={}, headers=NOBODY),
        "an unknown plan": await instance.provision(plan_id="?", headers=NOBODY),
        "a poll of nothing": await instance.poll(headers=NOBODY),
        "a DELETE without its query": await instance.delete(
            service_id=OMIT, plan_id=OMIT, flag=None, headers=NOBODY
        ),
    }.items():
        expect_status(answer, 401, said=f"{what}, without credentials")


@every_answer(
    "AUTH-08",
    when=lambda seen: seen.status == 401,
    advice='Add WWW-Authenticate, for example `Basic realm="broker"`.',
)
def challenge_is_given(seen: Exchange) -> None:
    """An answer 401 has the header WWW-Authenticate."""
    given = seen.headers.get("WWW-Authenticate", "")
    expect(given.strip() != "", "the 401 has no WWW-Authenticate", seen)


# --- ids in URLs ---------------------------------------------------------------------


@check("URL-01", advice="Take an id as text; it need not be a UUID.")
async def ids_are_any_unreserved_text(target: Target) -> None:
    """Ids of instances and bindings may hold any unreserved character."""
    plan = fullest(target)
    instance = target.instance(plan, f"Kit.{uuid.uuid4().hex}_AZaz-09~")
    answer = await instance.provision()
    expect(answer.good, f"such an instance's id is answered {answer.status}", answer)
    await instance.ended(answer)
    if plan.facts.bind.succeeded:
        binding = instance.binding(f"b~{uuid.uuid4().hex}.Of_The-Kit")
        answer = await binding.bind()
        expect(answer.good, f"such a binding's id is answered {answer.status}", answer)
        await binding.ended(answer)
        answer = await binding.delete()
        expect(answer.good, f"unbinding such an id: {answer.status}", answer)
        await binding.ended(answer)
    answer = await instance.delete()
    expect(answer.good, f"deprovisioning such an id: {answer.status}", answer)
    await instance.ended(answer)


@check("URL-05", advice="Percent-decode ids once; `+` is no blank in a path.")
async def encoded_ids_are_decoded(target: Target) -> None:
    """Ids with reserved characters, percent-encoded, work and stay apart."""
    plan = target.plan(wants.usable)
    some = uuid.uuid4().hex
    names = (" a", "+a", "%20a", ":@a", "-ü-日")
    made = {name: target.instance(plan, some + name) for name in names}
    for name, instance in made.items():
        answer = await instance.provision()
        expect(
            answer.good,
            f"a new id that ends in {name!r} is answered {answer.status}",
            answer,
        )
        await instance.ended(answer)
    for name, instance in made.items():
        instance.path = re.sub("%..", lambda each: each[0].lower(), instance.path)
        answer = await instance.delete()
        expect(
            answer.good,
            f"an id that ends in {name!r} is not found by its lower-case"
            f" percent-encoding: {answer.status}",
            answer,
        )
        await instance.ended(answer)


def _id_faults(catalog: Mapping[str, Any]) -> Iterator[str]:
    for offering in objects(catalog.get("services")):
        for kind, one in [
            ("an offering", offering),
            *(("a plan", plan) for plan in objects(offering.get("plans"))),
        ]:
            id = one.get("id")
            if isinstance(id, str) and not UNRESERVED.fullmatch(id):
                yield f"the id {id!r} of {kind}"


@every_answer(
    "URL-02",
    when=lambda seen: (
        (seen.verb == "catalog" and seen.good)
        or (seen.running and isinstance(seen.get("operation"), str))
    ),
    advice="Use letters, digits and `-._~` only.",
)
def brokers_ids_are_unreserved(seen: Exchange) -> None:
    """Ids of offerings, plans and operations hold unreserved characters only."""
    faults = list(_id_faults(seen.object))
    operation = seen.get("operation")
    if isinstance(operation, str) and not UNRESERVED.fullmatch(operation):
        faults.append("an operation")
    expect_none([f"{each} holds other characters" for each in faults], seen)


@check("URL-03", advice="Split the path first, decode its parts after.")
async def encoded_slash_splits_nothing(target: Target) -> None:
    """An encoded slash in an id reaches no other resource, and causes no 5xx."""
    plan = fullest(target)
    instance = await target.provisioned(plan)
    other = target.instance(plan, f"{uuid.uuid4()}/x")
    answer = await other.provision()
    expect_no_fault(answer, said="an id with a slash")
    await other.ended(answer)
    if not plan.facts.bind.succeeded:
        return
    binding = await instance.bound()
    inside = target.instance(plan, f"{instance.id}/service_bindings/{binding.id}")
    answer = await inside.delete()
    expect(
        not answer.good,
        "an instance whose id holds a slash was taken for a binding",
        answer,
    )


@check("URL-04", advice="Compare ids as they are: no lower case, no trimming.")
async def case_makes_another_id(target: Target) -> None:
    """Two ids that differ in case are two resources."""
    plan = fullest(target)
    some = f"abcdef-{uuid.uuid4().hex}"
    lower = await target.provisioned(plan, some)
    upper = target.instance(plan, some.upper())
    answer = await upper.provision()
    expect(
        answer.good,
        f"an instance's id in upper case is answered {answer.status}",
        answer,
    )
    await upper.ended(answer)
    if plan.facts.bind.succeeded:
        await lower.bound(some)
        other = lower.binding(some.upper())
        answer = await other.delete()
        expect(
            not answer.good,
            "the id in upper case removed a binding with one in lower case",
            answer,
        )
    await upper.removed()
    answer = await lower.delete()
    expect(answer.good, "deleting the one removed the other", answer)
    await lower.ended(answer)
