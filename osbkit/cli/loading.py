"""From `MODULE:ATTR` on the command line to the object it names.

The working directory is looked at first, as `python -m` does. Every way to get
it wrong has a sentence that names the fix; what the module itself raises passes
through unchanged.
"""

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from osbkit.cli.terminal import Unusable

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from osbkit.broker import Broker

EXAMPLE = "For example: examples.queue_broker.app:app"


def load(target: str) -> object:
    """Import the module and return what it holds under that name.

    Raises:
        Unusable: no such module, a module it needs is not installed, or no such
            name in it.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise Unusable(f"{target!r} is not of the form MODULE:ATTR.", hint=EXAMPLE)
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise Unusable(
            f"{module_name!r} is a path, and the name of a module is wanted.",
            hint=f"Write {dotted}:{attribute}",
        )
    module = _module(module_name)
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise _no_such_name(module, attribute) from error
    return found


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise Unusable(
                f"There is no module {missing!r}, neither in {here} nor among the"
                " installed packages.",
                hint="Run the command in the directory that holds it, or install it.",
            ) from error
        raise Unusable(
            f"The module {name!r} needs {missing!r}, which is not installed.",
            hint=f"Install it where osbkit is installed: {sys.prefix}",
        ) from error


def _no_such_name(module: ModuleType, attribute: str) -> Unusable:
    usable = sorted(name for name, value in vars(module).items() if _usable(value))
    near = get_close_matches(attribute, list(vars(module)), n=1)
    if usable:
        hint = "What can be used there: " + ", ".join(
            f"{module.__name__}:{name}" for name in usable
        )
    elif near:
        hint = f"Did you mean {module.__name__}:{near[0]}?"
    else:
        hint = f"There is no Broker and no FastAPI application in {module.__name__}."
    return Unusable(f"The module {module.__name__!r} has no {attribute!r}.", hint=hint)


def _usable(value: object) -> bool:
    return broker_in(value) is not None or application_in(value) is not None


def broker_in(value: object) -> "Broker | None":
    """The value, if it is a Broker."""
    from osbkit.broker import Broker

    return value if isinstance(value, Broker) else None


def broker_behind(value: object, target: str) -> "Broker | None":
    """The Broker that the value is, or whose application it is.

    Args:
        target: what the value was loaded as; its module is searched.
    """
    broker = broker_in(value)
    if broker is not None:
        return broker
    module = sys.modules[target.partition(":")[0]]
    brokers = filter(None, map(broker_in, vars(module).values()))
    return next((each for each in brokers if each.app is value), None)


def application_in(value: object) -> "ASGIApp | None":
    """The application to serve: of a Broker its own, else the value itself."""
    from starlette.applications import Starlette

    if isinstance(value, Starlette):
        return value
    broker = broker_in(value)
    return None if broker is None else broker.app


def load_application(target: str) -> "ASGIApp":
    """Load what `osbkit serve` can serve.

    Raises:
        Unusable: as `load`, or the name holds something else.
    """
    found = load(target)
    application = application_in(found)
    if application is None:
        module, _, attribute = target.partition(":")
        known = _no_such_name(importlib.import_module(module), attribute)
        raise Unusable(
            f"{target} is a {type(found).__name__}: neither a Broker nor a FastAPI"
            " application.",
            hint=known.hint,
        )
    return application
