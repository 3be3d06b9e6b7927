"""Which backend serves which plan, by which models, and what stops a start."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from pydantic import BaseModel

from osbkit import Bound, NoParameters, ServiceBackend
from osbkit.backends.contract import AnyParameters
from osbkit.backends.registry import Registry, models_of, version_of
from osbkit.backends.scripted import ScriptedBackend
from osbkit.backends.threaded import BlockingBackend, threaded
from osbkit.errors import BackendsInvalid, Unavailable
from tests.flows.serving import a_catalog, offering, plan


class Size(BaseModel, extra="forbid"):
    size: int = 1


class Small(Size):
    size: int = 0


class Role(BaseModel):
    role: str


P = TypeVar("P", bound=BaseModel)


class Minimal(ServiceBackend[Size, Role]):
    """The two verbs that every backend has."""

    async def provision(self, request: Any, run: Any) -> None: ...

    async def deprovision(self, request: Any, run: Any) -> None: ...


class Complete(Minimal):
    """Every verb."""

    async def check(self, request: Any) -> None: ...

    def describe(self, instance: Any) -> Any: ...

    async def update(self, request: Any, run: Any) -> None: ...

    async def bind(self, request: Any, run: Any) -> Bound:
        return Bound()

    async def unbind(self, request: Any, run: Any) -> None: ...


class Narrower(Complete):
    """A model of its own for one plan."""

    plan_parameters: ClassVar = {"small": Small}


class Plain(Complete):
    """Verbs without `async`, and a `describe` with it."""

    def provision(self, request: Any, run: Any) -> None: ...  # type: ignore[override]

    def check(self, request: Any) -> None: ...  # type: ignore[override]

    async def describe(self, instance: Any) -> Any: ...  # type: ignore[override]


class Between(Minimal, Generic[P]):
    """A class between the contract and the author's, with a parameter of its own."""


class Untyped(ServiceBackend):
    """Says nothing of its parameters."""

    async def provision(self, request: Any, run: Any) -> None: ...

    async def deprovision(self, request: Any, run: Any) -> None: ...


class Loose(ServiceBackend[Any, Role]):
    """`Any` is no model."""

    async def provision(self, request: Any, run: Any) -> None: ...

    async def deprovision(self, request: Any, run: Any) -> None: ...


class Half(ServiceBackend[P, Role], Generic[P]):
    """Leaves P to whoever subclasses it."""

    async def provision(self, request: Any, run: Any) -> None: ...

    async def deprovision(self, request: Any, run: Any) -> None: ...


class Whole(Half[Small]):
    """Says which."""


class Mixin(Generic[P]):
    """Generic, and no backend."""


class Mixed(Mixin[Small], Minimal):
    """What is no backend stands before the contract."""


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        pytest.param(Minimal, (Size, Role), id="both named"),
        pytest.param(Complete, (Size, Role), id="inherited"),
        pytest.param(Whole, (Small, Role), id="filled in by a subclass"),
        pytest.param(Between[Small], (Size, Role), id="a parameter of its own"),
        pytest.param(Mixed, (Size, Role), id="another class first"),
        pytest.param(Loose, (AnyParameters, Role), id="Any"),
        pytest.param(Half, (AnyParameters, Role), id="left open"),
        pytest.param(Untyped, (AnyParameters, AnyParameters), id="none named"),
    ],
)
def test_models_are_those_that_the_class_names(kind, models):
    assert models_of(kind()) == models


# --- which backend ------------------------------------------------------------------


def test_longer_key_wins():
    registry = Registry({"queue": ScriptedBackend(), "queue/large": ScriptedBackend()})

    assert registry.key("queue", "large") == "queue/large"
    assert registry.key("queue", "small") == "queue"
    assert registry.key("other", "large") is None
    assert registry.keys == {"queue", "queue/large"}


def test_backend_under_two_keys_is_opened_once():
    shared, own = ScriptedBackend(), ScriptedBackend()
    registry = Registry({"a": shared, "b": own, "c": shared})

    assert list(registry) == [shared, own]
    assert registry.backend("a") is registry.backend("c") is shared


def test_instance_whose_backend_is_not_here_is_served_later():
    registry = Registry({"queue": Complete()})

    for ask in (registry.backend, registry.binding_model):
        with pytest.raises(Unavailable, match="runs without the backend that made"):
            ask("queue/large")
    with pytest.raises(Unavailable):
        registry.instance_model("queue/large", "large")


def test_verbs_that_an_author_wrote_are_known_by_key():
    registry = Registry({"all": Complete(), "two": Minimal()})

    for asks in (registry.checks, registry.describes, registry.updates):
        assert [asks(key) for key in ("all", "two", "none")] == [True, False, False]


# --- models -------------------------------------------------------------------------


def test_plan_with_a_model_of_its_own_is_read_by_it():
    registry = Registry({"queue": Narrower()})

    assert registry.instance_model("queue", "small") is Small
    assert registry.instance_model("queue", "large") is Size
    assert registry.binding_model("queue") is Role


def test_models_of_a_catalog_are_those_of_each_plans_backend():
    registry = Registry({"queue": Narrower(), "queue/any": Untyped()})
    plans = [plan("1", "small"), plan("2", "large"), plan("3", "any")]
    catalog = a_catalog(
        offering("s", "queue", plans), offering("o", "other", [plan("4", "x")])
    )

    models = registry.models(catalog)

    assert {key: (one.create, one.bind) for key, one in models.items()} == {
        ("s", "1"): (Small, Role),
        ("s", "2"): (Size, Role),
        ("s", "3"): (None, None),
    }


def test_stored_parameters_are_their_model_again():
    assert Registry.model_of(Size, {"size": 3}) == Size(size=3)
    assert Registry.model_of(AnyParameters, {"a": [1]}).model_dump() == {"a": [1]}


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param({"size": "3"}, id="another type"),
        pytest.param({"size": 3, "gone": 1}, id="a field that left"),
    ],
)
def test_parameters_that_their_model_refuses_by_now_are_handed_over_all_the_same(
    stored,
):
    """An old instance must be deletable with a newer backend."""
    read = Registry.model_of(Size, stored)

    assert isinstance(read, Size)
    assert read.size == stored["size"]


# --- the fit ------------------------------------------------------------------------


def findings(backends: Any, catalog: Any, busy: Any = frozenset()) -> list[str]:
    """What stops a start, a finding a line."""
    try:
        Registry(backends).require_fit(catalog, busy)
    except BackendsInvalid as invalid:
        return [str(one) for one in invalid.findings]
    return []


QUEUE = offering("s", "queue", [plan("1", "tiny")])
BARE = offering(
    "s", "queue", [plan("1", "tiny")], bindable=False, plan_updateable=False
)


class Blocking(BlockingBackend[NoParameters, NoParameters]):
    """Not handed to `threaded`."""

    def provision(self, request: Any, run: Any) -> None: ...

    def deprovision(self, request: Any, run: Any) -> None: ...


@pytest.mark.parametrize(
    ("backends", "catalog"),
    [
        pytest.param({"queue": Complete()}, QUEUE, id="every verb"),
        pytest.param({"queue": Minimal()}, BARE, id="two verbs, no flag"),
        pytest.param({"queue": threaded(Blocking())}, BARE, id="in a thread"),
        pytest.param({"queue/tiny": Complete()}, QUEUE, id="by plan"),
    ],
)
def test_backends_that_fit_stop_nothing(backends, catalog):
    assert findings(backends, a_catalog(catalog)) == []


MISFITS: list[Any] = [
    pytest.param(
        {},
        QUEUE,
        ["plan queue/tiny has no backend", "'queue' or 'queue/tiny'"],
        id="a plan without a backend",
    ),
    pytest.param(
        {"queue": Blocking()},
        BARE,
        ["backend 'queue' blocks: give threaded(…) of it"],
        id="a blocking backend as it is",
    ),
    pytest.param(
        {"queue": Complete},
        QUEUE,
        ["'queue' is not a ServiceBackend", "not the class"],
        id="the class, not an instance",
    ),
    pytest.param(
        {"queue": threaded(Blocking())},
        offering("s", "queue", [plan("1", "tiny")], bindable=False),
        ["Blocking (plan queue/tiny) has no method update"],
        id="the author's name, not the adapter's",
    ),
    pytest.param(
        {"queue": Complete(), "quue": Complete()},
        QUEUE,
        ["backend 'quue' serves no plan: name an offering"],
        id="a key without a plan",
    ),
    pytest.param(
        {"queue": Complete(), "queue/tiny": Complete()},
        QUEUE,
        ["backend 'queue' serves no plan"],
        id="a key that another hides",
    ),
]


@pytest.mark.parametrize(("backends", "catalog", "words"), MISFITS)
def test_misfit_is_one_finding_that_names_the_fix(backends, catalog, words):
    (found,) = findings(backends, a_catalog(catalog))

    for word in words:
        assert word in found


def test_name_of_a_narrower_model_that_is_nearly_a_plans_is_doubted():
    catalog = a_catalog(offering("s", "queue", [plan("1", "smal"), plan("2", "huge")]))
    (doubt,) = Registry({"queue": Narrower()}).doubts(catalog)

    assert "names 'small'" in str(doubt)
    assert "mean 'smal'" in str(doubt)


def test_model_of_a_plan_that_the_catalog_leaves_out_is_no_matter():
    catalog = a_catalog(offering("s", "queue", [plan("2", "huge")]))

    assert list(Registry({"queue": Narrower()}).doubts(catalog)) == []


def test_parameters_that_are_no_model_are_found():
    class Loosely(ServiceBackend[dict, NoParameters]):  # type: ignore[type-arg, type-var]
        async def provision(self, request: Any, run: Any) -> None: ...

        async def deprovision(self, request: Any, run: Any) -> None: ...

    (found,) = findings({"queue": Loosely()}, a_catalog(BARE))

    assert "takes parameters as dict" in found


def test_methods_that_are_async_or_not_as_they_must_be_are_found_at_once():
    assert findings({"queue": Plain()}, a_catalog(QUEUE)) == [
        *(
            f"Plain.{method} (backend 'queue') is a plain function: write `async def`,"
            " or subclass BlockingBackend and give threaded(…) of it"
            for method in ("check", "provision")
        ),
        "Plain.describe (backend 'queue') is `async def`: write `def`",
    ]


def test_methods_that_take_other_arguments_are_found():
    class Short(ServiceBackend[NoParameters, NoParameters]):
        async def provision(self, request: Any) -> None: ...  # type: ignore[override]

        async def deprovision(self, *anything: Any) -> None: ...

    (found,) = findings({"queue": Short()}, a_catalog(BARE))

    assert found.startswith("Short.provision (backend 'queue') must take what")
    assert "run" in found


def test_every_missing_verb_is_found_at_once_with_the_flag_that_waives_it():
    found = findings({"queue": Minimal()}, a_catalog(QUEUE))

    assert found == [
        f"Minimal (plan queue/tiny) has no method {verb}: write it, or set"
        f" `{flag}: false` in the catalog"
        for verb, flag in [
            ("bind", "bindable"),
            ("unbind", "bindable"),
            ("update", "plan_updateable"),
        ]
    ]


def test_key_without_a_plan_is_needed_while_its_instances_live():
    backends = {"queue": Complete(), "old": Complete()}

    assert findings(backends, a_catalog(QUEUE), {"old"}) == []
    assert len(findings(backends, a_catalog(QUEUE), {"older"})) == 1


def test_key_without_a_plan_is_told_beside_others_while_nobody_knows_what_lives():
    catalog = a_catalog(QUEUE)

    assert findings({"queue": Complete(), "old": Complete()}, catalog, None) == []
    assert len(findings({"old": Complete()}, catalog, None)) == 2


# --- which version of its code a backend is -------------------------------------------

WRITTEN = """
from osbkit import ServiceBackend

class Base(ServiceBackend):
    async def provision(self, request, run): ...
    async def deprovision(self, request, run): ...

class Queues(Base):
    pass
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The backend `Queues` of a file, as a process of its own would import it."""

    def load(text: str, folder: str) -> Any:
        file = tmp_path / folder / f"{folder}_backend.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        return module.Queues()

    return load


def test_same_file_is_the_same_version_wherever_it_lies(written):
    assert version_of(written(WRITTEN, "here")) == version_of(written(WRITTEN, "there"))


def test_any_change_of_the_file_is_another_version(written):
    changed = WRITTEN.replace("pass", "parallel_binds = False")

    assert version_of(written(WRITTEN, "a")) != version_of(written(changed, "b"))


def test_change_of_a_base_is_another_version(written):
    plain = written(WRITTEN, "plain")
    before = "import plain_backend\n\nclass Queues(plain_backend.Base): pass\n"
    first = version_of(written(before, "first"))
    sys.modules["plain_backend"].__file__ = sys.modules["first_backend"].__file__

    assert version_of(plain) != first
    assert version_of(written(before, "second")) != first


def test_two_backends_of_one_file_are_two_versions():
    assert version_of(Minimal()) != version_of(Complete())


def test_adapter_is_of_the_version_of_what_it_stands_for():
    class Blocking(BlockingBackend[Any, Any]):
        def provision(self, request: Any, run: Any) -> None: ...

        def deprovision(self, request: Any, run: Any) -> None: ...

    class Said(Blocking):
        steps_version = "7"

    assert version_of(threaded(Blocking())) != version_of(threaded(Said()))
    assert version_of(threaded(Said())) == "7"


def test_class_without_a_file_has_a_version_as_well(monkeypatch):
    monkeypatch.setattr(Narrower, "__module__", "typed_in_at_a_prompt")

    assert Registry({"a": Narrower()}).versions()["a"]
