"""What one run of the kit shares: the connection, the catalog, every exchange seen.

A session gives each check a `Target` of its own (`target.py`), writes down every
exchange in the order in which the answers came, and says of each poll which verb's
operation it asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osbkit.conformance import catalog as catalogs
from osbkit.conformance.catalog import Catalog, Json
from osbkit.conformance.exchange import Exchange, Mask, Verb
from osbkit.conformance.marks import marked
from osbkit.conformance.polling import Tempo
from osbkit.conformance.samples import Samples
from osbkit.conformance.sending import Connection

CHANGES: frozenset[Verb] = frozenset(
    {"provision", "update", "deprovision", "bind", "unbind"}
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person chose for a run.

    Attributes:
        service, plan: only this offering or plan is tried; id or name.
        parameters, bind_parameters: sent before any that the kit makes up.
    """

    service: str | None = None
    plan: str | None = None
    parameters: Json | None = field(default=None, repr=False)
    bind_parameters: Json | None = field(default=None, repr=False)

    @property
    def hidden(self) -> frozenset[str]:
        """Fields that no report shows: what a person gave may hold a secret."""
        given = self.parameters is not None or self.bind_parameters is not None
        return frozenset({"parameters"} if given else ())


class Session:
    """One run against one broker.

    Attributes:
        seen: every exchange, in the order of the answers.
        catalog: as it was read first; empty until then.
        catalog_answer: the exchange that brought it; None until then.
        mask: hides what must not be shown.
        left: what the kit made and could not remove, as sentences.
        samples: of parameters, by plan and place: they are made once.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        choices: Choices | None = None,
        tempo: Tempo | None = None,
    ) -> None:
        self.connection = connection
        self.choices = choices or Choices()
        self.tempo = tempo or Tempo()
        self.mask = Mask(connection.credentials.secrets, self.choices.hidden)
        self.seen: list[Exchange] = []
        self.left: list[str] = []
        self.samples: dict[tuple[str, ...], Samples] = {}
        self.catalog = Catalog(None)
        self.catalog_answer: Exchange | None = None
        self.on_exchange: Callable[[Exchange], None] = lambda seen: None
        self._latest: dict[tuple[str | None, str | None], Verb] = {}
        self._of: dict[tuple[str | None, str | None, str], Verb] = {}

    async def send(self, method: str, path: str, **how: Any) -> Exchange:
        """Send a request and write it down; see `Connection.send`."""
        seen = await self.connection.send(method, path, **how)
        self._write_down(seen)
        return seen

    async def read_catalog(self) -> None:
        """Fetch the catalog and choose the plans that are tried."""
        answer = await self.send("GET", "/v2/catalog")
        self.catalog_answer = answer
        if answer.status == 200:
            self.catalog = catalogs.read(
                answer.json, service=self.choices.service, plan=self.choices.plan
            )
            names = marked(catalogs.read(answer.json)) | self.choices.hidden
            self.mask = Mask(self.connection.credentials.secrets, names)

    def _write_down(self, seen: Exchange) -> None:
        _, instance, binding = seen.place
        thing = (instance, binding)
        if seen.verb in CHANGES and seen.good:
            self._latest[thing] = seen.verb
            if isinstance(operation := seen.get("operation"), str):
                self._of[(*thing, operation)] = seen.verb
        elif seen.verb in {"poll instance", "poll binding"}:
            latest = self._latest.get(thing)
            named = (*thing, seen.asked.get("operation", ""))
            seen.concerns = self._of.get(named, latest)
        self.seen.append(seen)
        self.on_exchange(seen)

    def parameters(self, place: tuple[str, str]) -> Mapping[str, Any] | None:
        """Parameters that a person gave for a place of a plan's schemas."""
        if place == ("service_binding", "create"):
            return self.choices.bind_parameters
        if place == ("service_instance", "create"):
            return self.choices.parameters
        return None
