"""Instances and bindings of a check: their requests by name.

    instance = target.instance(plan)              # nothing is sent yet
    answer = await instance.provision(flag=None)  # without accepts_incomplete
    ended = await instance.ended(answer)          # polls after 202
    binding = await instance.bound()              # ready, or the check is Blocked

`flag` is `accepts_incomplete`: True (the usual), False, None for leaving it out, or any
other text. Keywords that are no options change a field of the body (of the query, for
DELETE, fetch and poll); OMIT leaves one out. `body=` is sent in place of the usual
one, whatever its type; `content=` sends bytes, `headers=` changes headers.
"""

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, Skip
from osbkit.conformance.fields import changed
from osbkit.conformance.polling import Ended

if TYPE_CHECKING:
    from osbkit.conformance.target import Target

OPTIONS = frozenset({"headers", "content", "within"})
Flag = bool | str | None


def segment(an_id: str) -> str:
    """An id as a part of a path."""
    return quote(an_id, safe="")


class _Resource:
    """What instances and bindings have in common: a path, and operations on it.

    Attributes:
        making: what its PUT is called, for people.
    """

    making: str

    def __init__(self, target: "Target", plan: Plan, path: str) -> None:
        self.target = target
        self.plan = plan
        self.path = path
        self.sent: Json = {}
        self.first: Exchange | None = None

    async def fetch(self, **changes: Any) -> Exchange:
        """GET it. The query names neither offering nor plan unless changes do."""
        return await self._ask("GET", self.path, None, changes)

    async def poll(self, operation: str | None = None, **changes: Any) -> Exchange:
        """GET its last_operation, once.

        Args:
            operation: as an answer gave it; None leaves it out.
        """
        return await self._ask("GET", self.poll_path, {"operation": operation}, changes)

    @property
    def poll_path(self) -> str:
        """Of its last_operation."""
        return f"{self.path}/last_operation"

    async def ended(self, answer: Exchange, **changes: Any) -> Ended:
        """How what was answered so has ended; polls after 202.

        An answer that is not 202 has ended: well with 2xx, badly otherwise.
        """
        if not answer.running:
            how = "succeeded" if answer.good else "failed"
            return Ended(answer, (), how)
        operation = answer.get("operation")
        return await self.target.until_ended(
            self.poll_path, operation if isinstance(operation, str) else None, self.plan
        )

    async def still_running(self, operation: str | None = None) -> Exchange:
        """The answer of a poll that says "in progress".

        Raises:
            Skip: it has ended, so what was seen while it ran proves nothing.
        """
        answer = await self.poll(operation)
        if answer.state != "in progress":
            raise Skip("The operation ended before it could be looked at.")
        return answer

    async def delete(self, *, flag: Flag = True, **changes: Any) -> Exchange:
        """DELETE it, naming its offering and plan."""
        query: Json = {
            "service_id": self.plan.offering.id,
            "plan_id": self.plan.id,
            "accepts_incomplete": _text(self._flag(flag)),
        }
        return await self._ask("DELETE", self.path, query, changes)

    async def removed(self) -> Exchange:
        """DELETE it and wait until it is gone; the answer of the DELETE.

        Raises:
            Blocked: it could not be removed.
        """
        answer = await self.delete()
        ended = await self.ended(answer)
        if not (ended.succeeded or answer.status == 410):
            raise Blocked(f"It could not be deleted: {ended.how}.", answer, ended.last)
        return answer

    async def put(
        self, *, flag: Flag = True, body: Any = None, **changes: Any
    ) -> Exchange:
        """PUT it. The first body is kept: a second call repeats the request.

        What changes a body after the first call changes that request only.
        """
        _, fields = _parted(changes)
        if not self.sent:
            self.sent = self._usual_body()
            if body is None and "content" not in changes:
                self.sent = changed(self.sent, fields)
        answer = await self._send("PUT", self.sent, flag, body, changes)
        self.first = self.first or answer
        return answer

    async def made_ready(self, **changes: Any) -> None:
        """PUT it and wait.

        Raises:
            Blocked: it could not be made.
        """
        answer = await self.put(**changes)
        if not answer.good:
            raise Blocked(f"{self.making} was answered {answer.status}.", answer)
        ended = await self.ended(answer)
        if not ended.succeeded:
            raise Blocked(
                f"{self.making} did not succeed: {ended.how}.", answer, ended.last
            )

    def _usual_body(self) -> Json:
        """Of its first PUT."""
        raise NotImplementedError

    async def _send(
        self, method: str, usual: Json, flag: Flag, body: Any, changes: dict[str, Any]
    ) -> Exchange:
        how, fields = _parted(changes)
        if "content" not in how:
            how["json"] = changed(usual, fields) if body is None else body
        query = {"accepts_incomplete": _text(self._flag(flag))}
        return await self.target.send(method, self.path, query=query, **how)

    async def _ask(
        self, method: str, path: str, query: Json | None, changes: dict[str, Any]
    ) -> Exchange:
        how, fields = _parted(changes)
        asked = changed(query or {}, fields)
        return await self.target.send(method, path, query=asked, **how)

    def _flag(self, flag: Flag) -> Flag:
        return flag


class Instance(_Resource):
    """A service instance.

    Attributes:
        id: not percent-encoded.
        plan: named by its requests; set it after a plan change.
        sent: the body of its first PUT; sent again by a repeated `provision`.
        first: the answer to that PUT.
    """

    making = "Provisioning"

    def __init__(self, target: "Target", plan: Plan, id: str) -> None:
        super().__init__(target, plan, f"/v2/service_instances/{segment(id)}")
        self.id = id

    provision = _Resource.put

    def _usual_body(self) -> Json:
        return self.target.provision_body(self.plan)

    async def update(
        self, *, flag: Flag = True, body: Any = None, **changes: Any
    ) -> Exchange:
        """PATCH it; the usual body holds the service_id alone."""
        usual = {"service_id": self.plan.offering.id}
        return await self._send("PATCH", usual, flag, body, changes)

    def binding(self, id: str | None = None) -> "Binding":
        """A binding of it with a new id; nothing is sent."""
        return Binding(self, id or str(uuid.uuid4()))

    async def bound(self, id: str | None = None, **changes: Any) -> "Binding":
        """A new binding that is ready.

        Raises:
            Blocked: it could not be made.
        """
        binding = self.binding(id)
        await binding.made_ready(**changes)
        return binding


class Binding(_Resource):
    """A service binding.

    Attributes:
        id: not percent-encoded.
        instance: to which it belongs.
        sent: the body of its first PUT; sent again by a repeated `bind`.
        first: the answer to that PUT.
    """

    making = "Binding"

    def __init__(self, instance: Instance, id: str) -> None:
        path = f"{instance.path}/service_bindings/{segment(id)}"
        super().__init__(instance.target, instance.plan, path)
        self.instance = instance
        self.id = id

    bind = _Resource.put

    def _usual_body(self) -> Json:
        return self.target.bind_body(self.plan)

    async def told(self) -> Exchange:
        """The exchange that tells its information: the first answer, or a fetch.

        Raises:
            Skip: it was made asynchronously and cannot be fetched.
        """
        if self.first is not None and self.first.done:
            return self.first
        if not self.plan.offering.bindings_retrievable:
            raise Skip("The binding was made asynchronously and cannot be fetched.")
        return await self.fetch()

    def _flag(self, flag: Flag) -> Flag:
        # Bindings know no accepts_incomplete before 2.14.
        return flag if flag is not True or self.target.knows("2.14") else None


def _text(flag: Flag) -> str | None:
    if flag is None or isinstance(flag, str):
        return flag
    return "true" if flag else "false"


def _parted(changes: dict[str, Any]) -> tuple[Json, Json]:
    """Options of the request, and fields."""
    how = {key: each for key, each in changes.items() if key in OPTIONS}
    return how, {key: each for key, each in changes.items() if key not in OPTIONS}
