"""What docs/backends.md prints runs, and what it says of steps holds."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from osbkit import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Failed,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    errors,
)
from tests.docs.pages import ROOT, Page, rows, told
from tests.flows.serving import a_catalog, offering, plan, serving

GUIDE = Page(ROOT / "docs" / "backends.md")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The page's files, imported in their order under their names."""
    found = {}
    for name, body in GUIDE.files().items():
        (tmp_path / name).write_text(body)
        module_name = name.removesuffix(".py")
        spec = importlib.util.spec_from_file_location(module_name, tmp_path / name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)
        spec.loader.exec_module(module)
        found[module_name] = module
    return found


@pytest.mark.parametrize(
    "name", re.findall(r"async def (test_\w+)", GUIDE.files()["test_mailboxes.py"])
)
async def test_a_test_of_the_guide_passes(
    modules: dict[str, ModuleType], tmp_path: Path, name: str
):
    await getattr(modules["test_mailboxes"], name)(tmp_path)


async def test_the_guide_s_blocking_backend_makes_and_removes(
    modules: dict[str, ModuleType], tmp_path: Path
):
    root = tmp_path / "disks"
    catalog = a_catalog(offering("s-1", "disk", [plan("p-1", "one")], bindable=False))
    catalog = catalog.model_copy(
        update={
            "services": (
                catalog.services[0].model_copy(update={"plan_updateable": False}),
            )
        }
    )
    backends = {"disk": modules["disks"].backend(root)}
    ids = {"service_id": "s-1", "plan_id": "p-1"}
    async with serving(tmp_path, backends, catalog) as broker:
        made = await broker.put("d-1", plan="p-1", service_id="s-1", flag=True)
        written = len(list(root.glob("*/*")))
        removed = await broker.delete("d-1", **ids, flag=True)

    assert (made.status_code, written) == (201, 4)
    assert (removed.status_code, list(root.iterdir())) == (200, [])


def test_the_table_of_what_to_raise_names_each_word_of_an_author():
    cells = [row[0] for row in rows(GUIDE.section("### What to raise"))]
    words = {told(cell)[0].partition("(")[0] for cell in cells if told(cell)}

    assert words == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.BackendSays)
    } - {"BackendSays"}


# --- steps -------------------------------------------------------------------------


class Steps(ServiceBackend[Any, Any]):
    """Takes each verb's work in one step, named alike in all of them."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def _do(self, what: str) -> None:
        self.done.append(what)

    async def provision(self, request: ProvisionRequest[Any], run: Run) -> None:
        await run.step("work", self._do, "provision")
        if request.parameters.model_extra:
            raise Failed("There is no room.")

    async def bind(self, request: BindRequest[Any, Any], run: Run) -> Bound:
        return Bound()

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        await run.step("work", self._do, f"unbind {request.binding_id}")

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        await run.step("work", self._do, "deprovision")


STEPPING = a_catalog(offering("s-1", "s", [plan("p-1", "p")], plan_updateable=False))


async def test_a_step_of_unbind_is_taken_once_for_each_binding(tmp_path: Path):
    backend = Steps()
    async with serving(tmp_path, {"s": backend}, STEPPING) as broker:
        await broker.put(plan="p-1", service_id="s-1")
        await broker.bind("a", plan="p-1", service_id="s-1")
        await broker.bind("b", plan="p-1", service_id="s-1")
        await broker.delete()

    assert sorted(backend.done) == ["deprovision", "provision", "unbind a", "unbind b"]


async def test_a_step_of_a_roll_back_is_not_the_step_of_what_is_rolled_back(
    tmp_path: Path,
):
    backend = Steps()
    async with serving(tmp_path, {"s": backend}, STEPPING) as broker:
        failed = await broker.put(
            plan="p-1", service_id="s-1", parameters={"fail": True}
        )

    assert failed.status_code == 500
    assert backend.done == ["provision", "deprovision"]
