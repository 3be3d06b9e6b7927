"""The embedded queue as a service: one queue per instance, one token per binding.

    tiny       1,000 messages    done within the request
    standard   100,000 messages  as the platform likes it
    slow       1,000 messages    each verb takes its time and tells how far it is

Every verb says what has to be there when it is done, and names it after
`request.name`; so a second call, after a crash or a lost answer, ends where the
first one did. Nothing is kept beside the queue's file.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from examples.queue_broker.queue_file import (
    QueueMissing,
    QueueSettings,
    Role,
    TooManyStored,
)
from examples.queue_broker.queue_store import QueueStore
from examples.queue_broker.settings import QueueBrokerSettings
from osbkit import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Description,
    Endpoint,
    Failed,
    Found,
    InstanceView,
    ProvisionRequest,
    Refused,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.errors import SettingsInvalid

MOUNTED_AT = "/v1/queues"
PACES = 5  # how often a slow verb tells how far it is
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan allows."""

    max_messages: int
    max_bytes: int


PLANS: Mapping[str, Limits] = {
    "tiny": Limits(max_messages=1_000, max_bytes=16 * MIB),
    "standard": Limits(max_messages=100_000, max_bytes=1024 * MIB),
    "slow": Limits(max_messages=1_000, max_bytes=16 * MIB),
}


class QueueParameters(BaseModel, extra="forbid"):
    """What a user may say of a queue."""

    max_receives: int = Field(
        5, ge=1, le=100, description="How often a message is handed out at most"
    )
    lease_seconds: int = Field(
        30, ge=1, le=43_200, description="How long a receiver holds a message"
    )
    dead_letter: bool = Field(
        True, description="Keep messages that were handed out too often"
    )


class QueueBinding(BaseModel, extra="forbid"):
    """What a user may say of a binding."""

    role: Literal["readwrite", "producer", "consumer"] = Field(
        "readwrite", description="Whether the application sends, receives, or both"
    )


class EmbeddedQueueBackend(ServiceBackend[QueueParameters, QueueBinding]):
    """Queues in SQLite files, served by `MessagesApp` in the same process.

    Args:
        store: opened and closed with the backend; the same one the app serves.
        settings: how to learn them when the backend opens.
        sleep: waits for so many seconds.
    """

    lists_bindings = True

    def __init__(
        self,
        store: QueueStore,
        *,
        settings: Callable[
            [], QueueBrokerSettings
        ] = QueueBrokerSettings.from_environment,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._read_settings = settings
        self._sleep = sleep

    async def open(self) -> None:
        """Read QUEUE_BROKER_* and open the directory.

        Raises:
            SettingsInvalid: a variable, or the directory, cannot be used.
        """
        settings = self._read_settings()
        self._slow_seconds = settings.slow_seconds
        try:
            await self._store.open(settings.directory)
        except OSError as error:
            raise SettingsInvalid(
                "QUEUE_BROKER_DIR must be a directory that can be made and written."
            ) from error

    async def close(self) -> None:
        """Close every file."""
        await self._store.close()

    async def ping(self) -> None:
        """Raise if the directory cannot be written."""
        await self._store.ping()

    def describe(self, instance: InstanceView[QueueParameters]) -> Description:
        """Say which queue it is and what it takes."""
        return Description(
            labels={"backend": "embedded"},
            attributes={
                "queue": instance.name,
                "max_messages": str(PLANS[instance.plan].max_messages),
                "max_receives": str(instance.parameters.max_receives),
                "lease_seconds": str(instance.parameters.lease_seconds),
            },
        )

    async def check(
        self,
        request: ProvisionRequest[QueueParameters]
        | UpdateRequest[QueueParameters]
        | BindRequest[QueueParameters, QueueBinding],
    ) -> None:
        """Refuse a plan too small for what is stored before anything is begun."""
        if isinstance(request, UpdateRequest):
            limit = PLANS[request.plan].max_messages
            try:
                stored = (await self._store.state(request.name)).stored
            except QueueMissing:
                return  # the update makes it
            if stored > limit:
                raise Refused(str(TooManyStored(stored, limit)))

    async def provision(
        self, request: ProvisionRequest[QueueParameters], run: Run
    ) -> None:
        """Make the queue."""
        await self._take_time(request.plan, run, "Making the queue")
        await self._store.converge(
            request.name, _settings_of(request), request.instance_id
        )

    async def update(self, request: UpdateRequest[QueueParameters], run: Run) -> None:
        """Set the new limits; what is stored stays."""
        await self._take_time(request.plan, run, "Changing the queue")
        try:
            await self._store.converge(
                request.name, _settings_of(request), request.instance_id
            )
        except TooManyStored as refused:  # sent since `check`
            raise Refused(str(refused)) from refused

    async def bind(
        self, request: BindRequest[QueueParameters, QueueBinding], run: Run
    ) -> Bound:
        """Let one more token in."""
        await self._take_time(request.plan, run, "Making the credentials")
        queue = request.instance.name
        role = Role(request.parameters.role)
        token = run.secret("token")
        try:
            await self._store.grant(
                queue, request.name, token, role, request.binding_id
            )
        except QueueMissing as missing:
            raise Failed(
                "The queue of this instance is lost: delete the instance and make"
                " another."
            ) from missing
        uri = f"{self.broker.public_url}{MOUNTED_AT}/{queue}"
        return Bound(
            credentials={
                "uri": uri,
                "send_url": f"{uri}/messages",
                "receive_url": f"{uri}/receive",
                "token": token,
                "queue": queue,
                "role": role.value,
            },
            endpoints=[_endpoint(uri)],
        )

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """Let the token in no more and cut its long polls; messages stay."""
        await self._take_time(request.plan, run, "Revoking the credentials")
        await self._store.revoke(request.instance_name, request.name)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """Remove the file and everything in it."""
        await self._take_time(request.plan, run, "Removing the queue")
        await self._store.destroy(request.name)

    async def inventory(self) -> AsyncIterator[Found]:
        """Every queue of which anything is in the directory, and every token.

        The directory is the mark: no two brokers share one.
        """
        for name in await self._store.names():
            try:
                queue, *tokens = await self._store.marks(name)
            except QueueMissing:
                yield Found(name=name, note="no queue in its file")
                continue
            yield Found(
                name=name, instance_id=queue.id, created_at=_moment(queue.made_at)
            )
            for token in tokens:
                yield Found(
                    name=token.name,
                    kind="binding",
                    instance_name=name,
                    instance_id=queue.id,
                    binding_id=token.id,
                    created_at=_moment(token.made_at),
                )

    async def _take_time(self, plan: str, run: Run, doing: str) -> None:
        """Be as slow as a service that starts machines, on the plan `slow`.

        Nothing is touched meanwhile, so a call that is cancelled here has done
        nothing, and one that is resumed may begin again.
        """
        if plan != "slow":
            return
        for pace in range(PACES):
            await run.progress(
                f"{doing}: step {pace + 1} of {PACES}.",
                percent=100 * pace // PACES,
                poll_after=1,
            )
            await self._sleep(self._slow_seconds / PACES)


def _settings_of(
    request: ProvisionRequest[QueueParameters] | UpdateRequest[QueueParameters],
) -> QueueSettings:
    limits, parameters = PLANS[request.plan], request.parameters
    return QueueSettings(
        max_messages=limits.max_messages,
        max_bytes=limits.max_bytes,
        max_receives=parameters.max_receives,
        lease_seconds=parameters.lease_seconds,
        dead_letter=parameters.dead_letter,
    )


def _moment(made_at: int | None) -> datetime | None:
    return None if made_at is None else datetime.fromtimestamp(made_at / 10**6, UTC)


def _endpoint(uri: str) -> Endpoint:
    parts = urlsplit(uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Endpoint(host=parts.hostname or "", ports=[port])
