"""Which backend serves which plan, and by which models.

A key of `backends` is an offering's name, or `offering/plan`; the longer one wins.
The key is stored with each instance, so an instance finds its backend even after
its plan has left the catalog.
"""

import contextlib
import hashlib
import inspect
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from osbkit.backends.contract import (
    AnyParameters,
    ServiceBackend,
)
from osbkit.backends.threaded import BlockingBackend, ThreadedBackend
from osbkit.catalog import Catalog, Finding, Plan, PlanModels, ServiceOffering
from osbkit.domain import Json
from osbkit.errors import BackendsInvalid, Unavailable

AnyBackend = ServiceBackend[Any, Any]
AWAITED = ("check", "provision", "update", "deprovision", "bind", "unbind", "ping")
CONTRACTS = (ServiceBackend, BlockingBackend)
"""What an author subclasses."""
NOT_AUTHORS = {*(one.__module__ for one in CONTRACTS), "abc", "typing", "builtins"}


def author_of(backend: AnyBackend) -> AnyBackend | BlockingBackend[Any, Any]:
    """The object that an author wrote: an adapter stands for another."""
    return backend.author if isinstance(backend, ThreadedBackend) else backend


def models_of(backend: AnyBackend) -> tuple[type[BaseModel], type[BaseModel]]:
    """P and B of a backend's class: what stands in `ServiceBackend[P, B]`."""
    found = [
        part
        if isinstance(part, type) and issubclass(part, BaseModel)
        else AnyParameters  # `Any` is a type as well
        for part in arguments(type(author_of(backend)))
    ]
    found += [AnyParameters] * (2 - len(found))
    return found[0], found[1]


def arguments(cls: Any) -> tuple[Any, ...]:
    """The type arguments that reach the contract, through classes in between."""
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin, given = get_origin(base) or base, get_args(base)
        if origin in CONTRACTS:
            return given
        if isinstance(origin, type) and issubclass(origin, CONTRACTS):
            filled = dict(
                zip(getattr(origin, "__parameters__", ()), given, strict=False)
            )
            return tuple(filled.get(part, part) for part in arguments(origin))
    return ()


def writes(backend: AnyBackend, verb: str) -> bool:
    """Whether the author wrote this verb."""
    written = getattr(type(author_of(backend)), verb, None)
    return written not in {None, *(getattr(contract, verb) for contract in CONTRACTS)}


def version_of(backend: AnyBackend) -> str:
    """What tells one version of a backend's steps from another: the author's word, or
    else the code."""
    author = author_of(backend)
    return author.steps_version or fingerprint(type(author))


@cache
def fingerprint(cls: type) -> str:
    """A digest of the files in which a class and its bases are written, without ours
    and Python's; the same on every machine that runs the same files."""
    digest = hashlib.blake2b(cls.__qualname__.encode(), digest_size=8)
    for name in {base.__module__: None for base in cls.__mro__}:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and name not in NOT_AUTHORS:
            with contextlib.suppress(OSError):  # in an archive: its name must do
                digest.update(Path(file).read_bytes())
    return digest.hexdigest()


class Registry:
    """The backends by key."""

    def __init__(self, backends: Mapping[str, AnyBackend]) -> None:
        self._backends = dict(backends)
        self._models = {key: models_of(one) for key, one in self._backends.items()}
        self._written = {
            verb: {key for key, one in backends.items() if writes(one, verb)}
            for verb in ("check", "describe", "update")
        }

    def __iter__(self) -> Iterator[AnyBackend]:
        """Each backend once, however many keys name it."""
        return iter({id(one): one for one in self._backends.values()}.values())

    def key(self, offering: str, plan: str) -> str | None:
        """The key that serves a plan, by names."""
        for key in (f"{offering}/{plan}", offering):
            if key in self._backends:
                return key
        return None

    def backend(self, key: str) -> AnyBackend:
        """The backend of a key.

        Raises:
            Unavailable: an instance was made by a backend that is not here now.
        """
        try:
            return self._backends[key]
        except KeyError:
            raise Unavailable(
                "The broker runs without the backend that made this service instance."
            ) from None

    def versions(self) -> dict[str, str]:
        """The version of each one's steps, as its files are now."""
        return {key: version_of(one) for key, one in self._backends.items()}

    def checks(self, key: str) -> bool:
        """Whether the author wrote `check`."""
        return key in self._written["check"]

    def describes(self, key: str) -> bool:
        """Whether the author wrote `describe`."""
        return key in self._written["describe"]

    def updates(self, key: str) -> bool:
        """Whether the author wrote `update`."""
        return key in self._written["update"]

    def instance_model(self, key: str, plan: str) -> type[BaseModel]:
        """The model of an instance's parameters on a plan."""
        narrower = author_of(self.backend(key)).plan_parameters
        return narrower.get(plan, self._models[key][0])

    def binding_model(self, key: str) -> type[BaseModel]:
        """The model of a binding's parameters."""
        self.backend(key)
        return self._models[key][1]

    @staticmethod
    def model_of(model: type[BaseModel], parameters: Json) -> BaseModel:
        """Stored parameters as their model.

        A model that has become narrower since does not lose old instances: what
        it no longer accepts is handed over unvalidated.
        """
        try:
            return model.model_validate_json(json.dumps(parameters), strict=True)
        except ValidationError:
            return model.model_construct(**parameters)

    def models(self, catalog: Catalog) -> dict[tuple[str, str], PlanModels]:
        """The models of every plan, by (service_id, plan_id)."""
        found = {}
        for offering in catalog.services:
            for plan in offering.plans:
                key = self.key(offering.name, plan.name)
                if key is not None:
                    found[offering.id, plan.id] = PlanModels(
                        create=_known(self.instance_model(key, plan.name)),
                        bind=_known(self.binding_model(key)),
                    )
        return found

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all backends."""
        return frozenset(self._backends)

    def require_fit(
        self, catalog: Catalog, busy: Collection[str] | None = None
    ) -> None:
        """Every plan has its backend, every backend its plan, every verb is there.

        Args:
            busy: keys that need no plan, for what they made lives on. None while
                that is not known: then a backend without a plan is told beside
                other findings, and is none by itself.

        Raises:
            BackendsInvalid: all findings at once, each naming the fix.
        """
        found = list(self._findings(catalog))
        idle = [
            f"backend {key!r} serves no plan: name an offering of the catalog, or"
            " offering/plan"
            for key in self._idle(catalog)
            if key not in (busy or ())
        ]
        if found or (idle and busy is not None):
            raise BackendsInvalid([*found, *idle])

    def misfits(self, catalog: Catalog) -> list[str]:
        """What of the backends does not fit, to be told beside a catalog's findings."""
        return list(self._findings(catalog))

    def _idle(self, catalog: Catalog) -> list[str]:
        used = {
            self.key(offering.name, plan.name)
            for offering in catalog.services
            for plan in offering.plans
        }
        return [key for key in self._backends if key not in used]

    def _findings(self, catalog: Catalog) -> Iterator[str]:
        for offering in catalog.services:
            for plan in offering.plans:
                key = self.key(offering.name, plan.name)
                if key is None:
                    yield (
                        f"plan {offering.name}/{plan.name} has no backend: give"
                        f" Broker(backends=…) the key {offering.name!r} or"
                        f" {offering.name + '/' + plan.name!r}"
                    )
                    continue
                if isinstance(self._backends[key], ServiceBackend):
                    yield from self._missing_verbs(catalog, key, offering, plan)
        yield from self._strangers()
        for key, backend in self._backends.items():
            if isinstance(backend, ServiceBackend):
                yield from _wrong_colours(key, backend)
                yield from _wrong_models(key, backend)

    def require_backends(self) -> None:
        """Everything given as a backend is one.

        Raises:
            BackendsInvalid: all findings at once, each naming the fix.
        """
        if found := list(self._strangers()):
            raise BackendsInvalid(found)

    def _strangers(self) -> Iterator[str]:
        for key, backend in self._backends.items():
            if isinstance(backend, BlockingBackend):
                yield f"backend {key!r} blocks: give threaded(…) of it"
            elif not isinstance(backend, ServiceBackend):
                yield (
                    f"backend {key!r} is not a ServiceBackend: subclass it, and give"
                    " an instance of the class, not the class"
                )

    def doubts(self, catalog: Catalog) -> Iterator[Finding]:
        """Names in `plan_parameters` that look like a plan's, and are none.

        Others are let be: a catalog may leave out plans that a class knows.
        """
        names = {plan.name for offering in catalog.services for plan in offering.plans}
        for key, backend in self._backends.items():
            known = author_of(backend).plan_parameters
            for name in sorted(known.keys() - names):
                meant = get_close_matches(name, names - known.keys(), 1)
                if meant:
                    yield Finding(
                        f"backends[{key!r}].plan_parameters",
                        f"names {name!r}, which is no plan of the catalog",
                        f"Did you mean {meant[0]!r}?",
                        "warning",
                    )

    def _missing_verbs(
        self, catalog: Catalog, key: str, offering: ServiceOffering, plan: Plan
    ) -> Iterator[str]:
        backend = self._backends[key]
        where = (
            f"{type(author_of(backend)).__name__} (plan {offering.name}/{plan.name})"
        )
        if catalog.bindable(offering, plan):
            for verb in ("bind", "unbind"):
                if not writes(backend, verb):
                    yield (
                        f"{where} has no method {verb}: write it, or set"
                        " `bindable: false` in the catalog"
                    )
        if catalog.plan_updateable(offering, plan) and not writes(backend, "update"):
            yield (
                f"{where} has no method update: write it, or set"
                " `plan_updateable: false` in the catalog"
            )


def _wrong_models(key: str, backend: AnyBackend) -> Iterator[str]:
    """Type arguments that judge nothing, though they look as if they did."""
    author = type(author_of(backend))
    for part in arguments(author):
        if part is Any or not isinstance(part, type) or issubclass(part, BaseModel):
            continue
        yield (
            f"{author.__name__} (backend {key!r}) takes parameters as {part.__name__},"
            " which is no pydantic model: subclass BaseModel, or say NoParameters"
        )


def _wrong_colours(key: str, backend: AnyBackend) -> Iterator[str]:
    """Methods that are plain functions where they are awaited, or the reverse.

    Of a BlockingBackend `threaded` has seen to it.
    """
    author = author_of(backend)
    if isinstance(author, BlockingBackend):
        return
    name = type(author).__name__
    for method in AWAITED:
        if not writes(backend, method):
            continue
        written = getattr(type(author), method)
        if not inspect.isfunction(written) or hasattr(written, "__wrapped__"):
            continue  # what a decorator made of it cannot be seen
        if not inspect.iscoroutinefunction(written):
            yield (
                f"{name}.{method} (backend {key!r}) is a plain function: write"
                " `async def`, or subclass BlockingBackend and give threaded(…) of it"
            )
        elif not takes_as_many(written, getattr(ServiceBackend, method)):
            yield (
                f"{name}.{method} (backend {key!r}) must take what"
                f" ServiceBackend.{method} takes:"
                f" {inspect.signature(getattr(ServiceBackend, method))}"
            )
    if writes(backend, "describe") and inspect.iscoroutinefunction(
        getattr(type(author), "describe")  # noqa: B009 (the class's, unbound)
    ):
        yield f"{name}.describe (backend {key!r}) is `async def`: write `def`"


def takes_as_many(written: Any, wanted: Any) -> bool:
    """Whether a method can be called with the arguments of the contract's."""
    given = [None for _ in inspect.signature(wanted).parameters]
    try:
        inspect.signature(written).bind(*given)
    except TypeError:
        return False
    return True


def _known(model: type[BaseModel]) -> type[BaseModel] | None:
    """None for a backend that names no model: then the catalog's schema judges."""
    return None if model is AnyParameters else model
