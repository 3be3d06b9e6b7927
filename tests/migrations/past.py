"""What the databases of former versions were made with, and are served with again.

A folder of `fixtures/` is named for the version of osbkit that made it:

    state.sqlite    the database as a `kill -9` left it, operations running
    state.key       its key file
    catalog.yaml    what was served
    answers.json    what the platforms were told at that moment, and what was known
    osbkit-….whl    that version itself, to serve beside this one

`make_fixture.py` makes such a folder. Once it is committed nobody changes it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from osbkit import Bound, Description, Endpoint, Failed, ServiceBackend
from osbkit.api.credentials import new_credential
from osbkit.backends.scripted import Hold
from tests.flows.serving import Served

FIXTURES = Path(__file__).parent / "fixtures"
Json = dict[str, Any]

QUEUE = "7b1f6a52-0000-4000-8000-000000000001"
SMALL = "7b1f6a52-0000-4000-8000-000000000011"
LARGE = "7b1f6a52-0000-4000-8000-000000000012"
SLOW = "7b1f6a52-0000-4000-8000-000000000013"
PLATFORMS = ("foundry", "cluster")
CATALOG: Json = {
    "services": [
        {
            "id": QUEUE,
            "name": "queue",
            "description": "A queue of messages",
            "bindable": True,
            "plan_updateable": True,
            "instances_retrievable": True,
            "bindings_retrievable": True,
            "plans": [
                {
                    "id": SMALL,
                    "name": "small",
                    "description": "A hundred messages",
                    "binding_rotatable": True,
                    "maintenance_info": {"version": "1.2.0"},
                },
                {
                    "id": LARGE,
                    "name": "large",
                    "description": "As many as there is room for",
                    "binding_rotatable": True,
                },
                {
                    "id": SLOW,
                    "name": "slow",
                    "description": "Takes its time",
                    "x-osbkit": {"mode": "async", "bind_mode": "async"},
                },
            ],
        }
    ]
}


class Size(BaseModel, extra="forbid"):
    """Parameters of a queue; two of them say how it shall go wrong."""

    size: int = 1
    fails: bool = False
    stays: bool = False


class Role(BaseModel, extra="forbid"):
    """Parameters of a binding."""

    role: str = "reader"


@dataclass(frozen=True)
class Call:
    """A call of the backend: what of, which attempt, and by which name."""

    verb: str
    of: str
    attempt: int
    name: str
    facts: Json | None = None


@dataclass
class Cloud(ServiceBackend[Size, Role]):
    """Makes nothing, and remembers what it was asked.

    Attributes:
        holds: what a call on an instance or binding waits for.
        away: removing fails, whatever it is.
        users: instances whose step `user` was taken in this process.
        secrets: digests of the secret of each creation, by instance.
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    away: bool = False
    calls: list[Call] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    async def provision(self, request: Any, run: Any) -> Json:
        self._called("provision", request.instance_id, request, run)
        secret = digest(run.secret("password"))
        self.secrets[request.instance_id] = secret
        user = await run.step("user", self._make_user, request.instance_id, secret)
        await run.progress("A user is there.", percent=50, poll_after=7)
        await self._hold(request.instance_id)
        if request.parameters.fails:
            raise Failed("There is no room for this queue.")
        return {"name": request.name, "user": user}

    async def _make_user(self, instance_id: str, secret: str) -> Json:
        self.users.append(instance_id)
        return {"user": f"user-of-{instance_id}", "secret": secret}

    async def update(self, request: Any, run: Any) -> Json:
        self._called("update", request.instance_id, request, run)
        return {**request.facts, "size": request.parameters.size}

    async def bind(self, request: Any, run: Any) -> Bound:
        self._called("bind", request.binding_id, request, run)
        await self._hold(request.binding_id)
        return Bound(
            credentials={
                "uri": f"queue://{request.name}",
                "user": request.facts["user"]["user"],
                "role": request.parameters.role,
                "password": run.secret("password"),
            },
            endpoints=[Endpoint(host="queue.example", ports=[5671])],
            facts={"of": request.binding_id},
        )

    async def unbind(self, request: Any, run: Any) -> None:
        facts = request.binding_facts
        self._called("unbind", request.binding_id, request, run, facts)
        self._remove()

    async def deprovision(self, request: Any, run: Any) -> None:
        self._called("deprovision", request.instance_id, request, run)
        self._remove()

    def describe(self, instance: Any) -> Description:
        return Description(
            dashboard_url=f"https://dashboard.example/{instance.name}",
            labels={"size": str(instance.parameters.size)},
        )

    def _called(
        self, verb: str, of: str, request: Any, run: Any, facts: Json | None = None
    ) -> None:
        facts = facts if facts is not None else request.facts
        self.calls.append(Call(verb, of, run.attempt, request.name, facts))

    async def _hold(self, of: str) -> None:
        if of in self.holds:
            await self.holds[of].stay()

    def _remove(self) -> None:
        if self.away:
            raise ConnectionError("the service is away")

    def made(self, verb: str) -> list[Call]:
        """The calls of one verb."""
        return [call for call in self.calls if call.verb == verb]


def digest(secret: str) -> str:
    """A secret as it may stand in a file."""
    return hashlib.sha256(secret.encode()).hexdigest()


def write_catalog(path: Path) -> None:
    """The catalog of the next fixture."""
    path.write_text(yaml.safe_dump(CATALOG, sort_keys=False))


def write_credentials(path: Path) -> dict[str, str]:
    """A credentials file of both platforms; gives their passwords."""
    made = {name: new_credential(name, name, "basic") for name in PLATFORMS}
    entries = "".join(one.snippet for one in made.values())
    path.write_text(f"credentials:\n{entries}")
    return {name: one.secret for name, one in made.items()}


def as_platforms(broker: Served, passwords: Mapping[str, str]) -> dict[str, Served]:
    """The broker as each of them sees it."""
    return {name: broker.of(name, password) for name, password in passwords.items()}


def instance(name: str) -> str:
    """The path of an instance."""
    return f"/service_instances/{name}"


def binding(name: str, of: str) -> str:
    """The path of a binding."""
    return f"{instance(of)}/service_bindings/{name}"


def wanted(plan: str, platform: str = "cluster", **parameters: Any) -> Json:
    """The body of a provision."""
    body: Json = {
        "service_id": QUEUE,
        "plan_id": plan,
        "organization_guid": f"org-of-{platform}",
        "space_guid": f"space-of-{platform}",
        "context": {"platform": platform, "namespace": "dev"},
    }
    return body | ({"parameters": parameters} if parameters else {})


def keys(plan: str, **parameters: Any) -> Json:
    """The body of a bind."""
    body: Json = {
        "service_id": QUEUE,
        "plan_id": plan,
        "bind_resource": {"app_guid": "app-1"},
    }
    return body | ({"parameters": parameters} if parameters else {})
