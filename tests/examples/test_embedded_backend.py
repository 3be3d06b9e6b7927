"""The embedded queue as a service: every verb, twice, in any order."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import structlog

from examples.queue_broker import backend as backend_module
from examples.queue_broker.backend import (
    PLANS,
    EmbeddedQueueBackend,
    QueueBinding,
    QueueParameters,
)
from examples.queue_broker.messages import MessagesApp
from examples.queue_broker.queue_file import NotAuthorized, Role
from examples.queue_broker.queue_store import QueueStore
from examples.queue_broker.settings import QueueBrokerSettings
from osbkit import (
    BindRequest,
    DeprovisionRequest,
    Failed,
    InstanceView,
    ProvisionRequest,
    Refused,
    Run,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.backends.contract import BrokerInfo
from osbkit.catalog.model import Catalog
from osbkit.errors import SettingsInvalid

from .conftest import SMALL
from .test_queue_store import until_waiting

INSTANCE = "osb-aaaaaaaaaaaaaaaaaaaa"
BINDING = "osb-bbbbbbbbbbbbbbbbbbbb"


class ARun(Run):
    """One attempt; equal ids give equal secrets."""

    def __init__(self, operation="one"):
        self.id = operation
        self.attempt = 1
        self.deadline = datetime.max.replace(tzinfo=UTC)
        self.log = structlog.get_logger()
        self.told = []

    async def progress(self, text, *, percent=None, poll_after=None):
        self.told.append((text, percent, poll_after))

    async def step(self, name, call, *args):
        return await call(*args)

    def secret(self, name, *, length=32):
        return hashlib.sha256(f"{self.id} {name}".encode()).hexdigest()[:length]


class Sleeps:
    """Waits for nothing and remembers for how long."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


def about(name=INSTANCE, plan="tiny"):
    return {
        "name": name,
        "instance_id": "instance-1",
        "offering": "osbkit-queue",
        "plan": plan,
        "platform": "default",
    }


def provisioning(name=INSTANCE, plan="tiny", **parameters):
    return ProvisionRequest(
        **about(name, plan),
        parameters=QueueParameters(**parameters),
        organization_guid="",
        space_guid="",
    )


def view(name=INSTANCE, plan="tiny", **parameters):
    return InstanceView(**about(name, plan), parameters=QueueParameters(**parameters))


def updating(plan="tiny", **parameters):
    return UpdateRequest(
        **about(plan=plan),
        parameters=QueueParameters(**parameters),
        changed=frozenset({"plan", "parameters"}),
        previous=view(),
    )


def binding(name=BINDING, instance=INSTANCE, plan="tiny", **parameters):
    return BindRequest(
        **about(name, plan),
        binding_id="binding-1",
        parameters=QueueBinding(**parameters),
        instance=view(instance, plan),
    )


def unbinding(name=BINDING, instance=INSTANCE, plan="tiny"):
    return UnbindRequest(
        **about(name, plan), binding_id="binding-1", instance_name=instance
    )


def deprovisioning(name=INSTANCE, plan="tiny"):
    return DeprovisionRequest(**about(name, plan))


@pytest.fixture
def store():
    return QueueStore()


@pytest.fixture
def sleeps():
    return Sleeps()


@pytest.fixture
async def backend(store, sleeps, tmp_path):
    settings = QueueBrokerSettings(directory=tmp_path / "queues", slow_seconds=3)
    made = EmbeddedQueueBackend(store, settings=lambda: settings, sleep=sleeps)
    made.broker = BrokerInfo(id="broker-1", public_url="https://queues.example:8443")
    await made.open()
    yield made
    await made.close()


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "queues").iterdir())


async def test_provisioning_twice_is_provisioning_once(backend, store, tmp_path):
    await backend.provision(provisioning(max_receives=7), ARun())
    await backend.provision(provisioning(max_receives=7), ARun())

    assert await store.names() == [INSTANCE]
    state = await store.state(INSTANCE)
    assert state.settings.max_receives == 7
    assert state.settings.max_messages == 1_000


async def test_binding_twice_gives_the_same_credentials(backend, store):
    await backend.provision(provisioning(), ARun())

    first = await backend.bind(binding(), ARun("bind"))
    again = await backend.bind(binding(), ARun("bind"))

    assert first.credentials == again.credentials
    await store.send(INSTANCE, first.credentials["token"], b"1")


async def test_credentials_say_where_and_as_what(backend):
    await backend.provision(provisioning(), ARun())

    bound = await backend.bind(binding(role="producer"), ARun("bind"))

    uri = f"https://queues.example:8443/v1/queues/{INSTANCE}"
    assert bound.credentials == {
        "uri": uri,
        "send_url": f"{uri}/messages",
        "receive_url": f"{uri}/receive",
        "token": ARun("bind").secret("token"),
        "queue": INSTANCE,
        "role": "producer",
    }
    [endpoint] = bound.endpoints
    assert (endpoint.host, list(endpoint.ports), endpoint.protocol) == (
        "queues.example",
        [8443],
        "tcp",
    )
    assert bound.credentials["token"] not in repr(bound)


@pytest.mark.parametrize(
    ("public_url", "port"), [("http://queues.example", 80), ("https://[::1]/b", 443)]
)
async def test_endpoint_has_the_port_of_its_scheme(backend, public_url, port):
    backend.broker = BrokerInfo(id="broker-1", public_url=public_url)
    await backend.provision(provisioning(), ARun())

    [endpoint] = (await backend.bind(binding(), ARun())).endpoints

    assert list(endpoint.ports) == [port]


@pytest.mark.parametrize(
    ("role", "send", "receive"),
    [("readwrite", 201, 200), ("producer", 201, 403), ("consumer", 403, 200)],
)
async def test_credential_does_what_its_role_says(backend, store, role, send, receive):
    await backend.provision(provisioning(), ARun())
    full = await backend.bind(binding(), ARun("full"))
    await store.send(INSTANCE, full.credentials["token"], b"1")
    bound = await backend.bind(binding("osb-second", role=role), ARun("bind"))

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(MessagesApp(store), root_path="/v1/queues"),
        headers={"Authorization": f"Bearer {bound.credentials['token']}"},
    ) as http:
        sent = await http.post(bound.credentials["send_url"], json=1)
        received = await http.post(bound.credentials["receive_url"])

    assert (sent.status_code, received.status_code) == (send, receive)


async def test_credential_of_a_neighbour_is_refused(backend, store):
    await backend.provision(provisioning(), ARun())
    await backend.provision(provisioning("osb-neighbour"), ARun())
    bound = await backend.bind(
        binding("osb-nb", instance="osb-neighbour"), ARun("bind")
    )

    with pytest.raises(NotAuthorized):
        await store.receive(INSTANCE, bound.credentials["token"])


async def test_unbinding_cuts_a_live_long_poll_and_keeps_the_messages(backend, store):
    await backend.provision(provisioning(), ARun())
    first = (await backend.bind(binding(), ARun("first"))).credentials["token"]
    second = (await backend.bind(binding("osb-second"), ARun("second"))).credentials[
        "token"
    ]
    polling = asyncio.create_task(store.receive(INSTANCE, first, wait=600))
    await until_waiting(store)

    await backend.unbind(unbinding(), ARun())
    await backend.unbind(unbinding(), ARun())

    with pytest.raises(NotAuthorized):
        await polling
    await store.send(INSTANCE, second, b"1")
    await backend.unbind(unbinding("osb-second"), ARun())
    third = await backend.bind(binding("osb-third"), ARun("third"))
    message = await store.receive(INSTANCE, third.credentials["token"])
    assert message is not None
    assert message.body == b"1"


async def test_deprovisioning_leaves_no_file_live_polls_or_not(
    backend, store, tmp_path
):
    await backend.provision(provisioning(), ARun())
    token = (await backend.bind(binding(), ARun("bind"))).credentials["token"]
    await store.send(INSTANCE, token, b"1")
    await store.receive(INSTANCE, token)
    polling = asyncio.create_task(store.receive(INSTANCE, token, wait=600))
    await until_waiting(store)

    await backend.deprovision(deprovisioning(), ARun())
    await backend.deprovision(deprovisioning(), ARun())

    assert files(tmp_path) == []
    with pytest.raises(NotAuthorized):
        await polling
    await backend.unbind(unbinding(), ARun())  # a late one
    assert files(tmp_path) == []


async def test_removing_what_never_was_is_done(backend, tmp_path):
    await backend.unbind(unbinding(), ARun())
    await backend.deprovision(deprovisioning(), ARun())

    assert files(tmp_path) == []


async def test_binding_to_a_lost_queue_fails_with_a_sentence(backend, tmp_path):
    await backend.provision(provisioning(), ARun())
    (tmp_path / "queues" / f"{INSTANCE}.db").unlink()

    with pytest.raises(Failed, match="lost"):
        await backend.bind(binding(), ARun())


async def test_plan_goes_up_and_down_again(backend, store):
    await backend.provision(provisioning(), ARun())

    for plan in ("standard", "tiny"):
        await backend.check(updating(plan, lease_seconds=60))
        await backend.update(updating(plan, lease_seconds=60), ARun())
        await backend.update(updating(plan, lease_seconds=60), ARun())
        settings = (await store.state(INSTANCE)).settings
        assert settings.max_messages == PLANS[plan].max_messages
        assert settings.lease_seconds == 60


async def test_plan_does_not_go_down_below_what_is_stored(backend, store):
    await backend.provision(provisioning(plan="standard"), ARun())
    token = (await backend.bind(binding(), ARun("bind"))).credentials["token"]
    await asyncio.gather(*(store.send(INSTANCE, token, b"1") for _ in range(500)))
    await asyncio.gather(*(store.send(INSTANCE, token, b"1") for _ in range(501)))

    with pytest.raises(Refused, match="holds 1001 messages and the plan allows 1000"):
        await backend.check(updating("tiny"))
    with pytest.raises(Refused, match="1001"):
        await backend.update(updating("tiny"), ARun())
    assert (await store.state(INSTANCE)).settings.max_messages == 100_000


async def test_check_lets_everything_else_pass(backend):
    await backend.check(provisioning())
    await backend.check(updating())  # of a queue that is not there
    await backend.check(binding())


async def test_twenty_instances_at_once_do_not_meet(backend, store, tmp_path):
    async def live(number):
        name, bound = f"osb-{number:020}", f"osb-{number:019}b"
        await backend.provision(provisioning(name), ARun())
        made = await backend.bind(binding(bound, instance=name), ARun(name))
        token = made.credentials["token"]
        await store.send(name, token, b"%d" % number)
        message = await store.receive(name, token)
        assert message is not None
        assert message.body == b"%d" % number
        await backend.unbind(unbinding(bound, instance=name), ARun())
        await backend.deprovision(deprovisioning(name), ARun())

    await asyncio.gather(*(live(number) for number in range(20)))

    assert files(tmp_path) == []


async def listed(backend):
    return [
        (
            found.name,
            found.kind,
            found.instance_name,
            found.instance_id,
            found.binding_id,
        )
        async for found in backend.inventory()
    ]


async def test_inventory_lists_every_queue_and_every_token(backend):
    await backend.provision(provisioning("osb-one"), ARun())
    await backend.provision(provisioning("osb-two"), ARun())
    await backend.bind(binding("osb-key", instance="osb-two"), ARun())
    queue = ("instance", None, "instance-1", None)
    token = ("binding", "osb-two", "instance-1", "binding-1")

    assert await listed(backend) == [
        ("osb-one", *queue),
        ("osb-two", *queue),
        ("osb-key", *token),
    ]

    await backend.unbind(unbinding("osb-key", instance="osb-two"), ARun())
    assert await listed(backend) == [("osb-one", *queue), ("osb-two", *queue)]


async def test_inventory_tells_since_when_a_queue_is_there(backend):
    await backend.provision(provisioning("osb-one"), ARun())
    [first] = [found.created_at async for found in backend.inventory()]

    await backend.provision(provisioning("osb-one"), ARun("again"))

    [again] = [found.created_at async for found in backend.inventory()]
    assert again == first
    assert datetime.now(UTC) - first < timedelta(minutes=1)


async def test_inventory_lists_what_has_no_mark(backend, store, tmp_path):
    await store.converge("osb-old", SMALL)
    await store.grant("osb-old", "osb-key", "T" * 32, Role.CONSUMER)
    (tmp_path / "queues" / "osb-rest.db-wal").touch()

    assert await listed(backend) == [
        ("osb-old", "instance", None, None, None),
        ("osb-key", "binding", "osb-old", None, None),
        ("osb-rest", "instance", None, None, None),
    ]


async def test_ping_passes_while_the_directory_is_there(backend, tmp_path):
    await backend.ping()

    (tmp_path / "queues").rmdir()

    with pytest.raises(Exception, match="cannot be written"):
        await backend.ping()


async def test_slow_plan_takes_its_time_and_tells_how_far_it_is(
    backend, sleeps, tmp_path
):
    verbs = [
        backend.provision(provisioning(plan="slow"), made := ARun()),
        backend.update(updating("slow"), changed := ARun()),
        backend.bind(binding(plan="slow"), bound := ARun()),
        backend.unbind(unbinding(plan="slow"), unbound := ARun()),
        backend.deprovision(deprovisioning(plan="slow"), removed := ARun()),
    ]
    for verb in verbs:
        sleeps.seconds.clear()
        await verb
        assert sum(sleeps.seconds) == pytest.approx(3)

    assert made.told == [
        (f"Making the queue: step {n} of 5.", percent, 1)
        for n, percent in enumerate((0, 20, 40, 60, 80), start=1)
    ]
    for run in (changed, bound, unbound, removed):
        assert len(run.told) == 5
    assert files(tmp_path) == []


async def test_slow_provision_that_is_halted_has_made_nothing(store, tmp_path):
    async def for_ever(_seconds):
        await asyncio.Event().wait()

    settings = QueueBrokerSettings(directory=tmp_path / "queues")
    backend = EmbeddedQueueBackend(store, settings=lambda: settings, sleep=for_ever)
    await backend.open()
    call = asyncio.create_task(backend.provision(provisioning(plan="slow"), ARun()))
    await asyncio.sleep(0)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert files(tmp_path) == []
    await backend.close()


async def test_instance_is_described_without_secrets(backend):
    described = backend.describe(view(plan="standard", lease_seconds=60))

    assert described.attributes == {
        "queue": INSTANCE,
        "max_messages": "100000",
        "max_receives": "5",
        "lease_seconds": "60",
    }
    assert described.dashboard_url is None


async def test_directory_that_cannot_be_made_stops_the_start(store, tmp_path):
    (tmp_path / "file").touch()
    settings = QueueBrokerSettings(directory=tmp_path / "file" / "queues")
    backend = EmbeddedQueueBackend(store, settings=lambda: settings)

    with pytest.raises(SettingsInvalid, match="QUEUE_BROKER_DIR"):
        await backend.open()
    await backend.close()


def test_settings_have_defaults_and_are_read_from_the_environment(tmp_path):
    assert QueueBrokerSettings.from_environment({}) == QueueBrokerSettings()

    assert QueueBrokerSettings.from_environment(
        {
            "QUEUE_BROKER_DIR": str(tmp_path),
            "QUEUE_BROKER_SLOW_SECONDS": "0.5",
            "QUEUE_BROKER_BACKENDS": "embedded",
        }
    ) == QueueBrokerSettings(directory=tmp_path, slow_seconds=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUEUE_BROKER_SLOW_SECONDS", "fast"),
        ("QUEUE_BROKER_SLOW_SECONDS", "-1"),
        ("QUEUE_BROKER_SLOW_SECONDS", "nan"),
        ("QUEUE_BROKER_SLOW_SECONDS", "inf"),
        ("QUEUE_BROKER_BACKENDS", "embedded,kafka"),
        ("QUEUE_BROKER_BACKENDS", ","),
    ],
)
def test_wrong_setting_is_refused_by_its_name(name, value):
    with pytest.raises(SettingsInvalid, match=name):
        QueueBrokerSettings.from_environment({name: value})


def test_unknown_backend_is_told_which_exist():
    with pytest.raises(SettingsInvalid, match="embedded"):
        QueueBrokerSettings.from_environment({"QUEUE_BROKER_BACKENDS": "kafka"})


def test_catalog_offers_exactly_the_plans_that_the_backend_knows():
    catalog = Path(backend_module.__file__).with_name("catalog.yaml")

    [offering] = Catalog.from_yaml(catalog).services

    assert offering.name == "osbkit-queue"
    assert {plan.name for plan in offering.plans} == set(PLANS)
    assert {plan.name: plan.osbkit.mode for plan in offering.plans} == {
        "tiny": "sync",
        "standard": "auto",
        "slow": "async",
    }
