"""The catalog's bytes, made once and sent many times.

One set of bytes per step of the specification (`osbkit.catalog.fields`) and per
set of offerings that a caller may see, plain and compressed. Who asks, and
whether they have it already, is for `osbkit.api` to know.

Written out always, because platforms read an absence in different ways: `free`,
`bindable` (on each plan, too) and `plan_updateable`. Left out: what was not set,
what came after the client's version, and osbkit's own settings.
"""

import gzip
import hashlib
from dataclasses import dataclass
from typing import Any, Final

from osbkit.catalog.fields import (
    OFFERING_FIELDS,
    PLAN_FIELDS,
    SETTINGS_KEY,
    STEPS,
    Version,
)
from osbkit.catalog.model import Catalog, Plan, ServiceOffering
from osbkit.catalog.schema_rules import compact

_OLDEST: Final[Version] = (0, 0)
_NOT_AS_WRITTEN: Final = frozenset({"services", "plans", SETTINGS_KEY})


@dataclass(frozen=True, slots=True)
class CatalogBytes:
    """A catalog ready to be sent.

    Attributes:
        plain: JSON in UTF-8.
        gzip: the same compressed; equal for equal catalogs.
        etag: a strong validator of `plain`, quotes included.
        gzip_etag: the same of `gzip`: a strong validator names one encoding
            (RFC 9110, "ETag").
    """

    plain: bytes
    gzip: bytes
    etag: bytes
    gzip_etag: bytes


def render(
    catalog: Catalog, version: Version, offerings: frozenset[str] | None
) -> CatalogBytes:
    """Make the bytes for a client. Takes milliseconds: keep what it returns.

    Args:
        version: what the client speaks; newer fields are left out.
        offerings: ids or names of those the client may see; None for all.
    """
    services = [
        _offering(catalog, offering, version)
        for offering in catalog.services
        if offering.visible_to(offerings)
    ]
    plain = compact({**_own_fields(catalog.document()), "services": services})
    digest = hashlib.sha256(plain).hexdigest()[:32]
    return CatalogBytes(
        plain=plain,
        gzip=gzip.compress(plain, mtime=0),
        etag=f'"{digest}"'.encode(),
        gzip_etag=f'"{digest}-gzip"'.encode(),
    )


def _offering(
    catalog: Catalog, offering: ServiceOffering, version: Version
) -> dict[str, Any]:
    written = offering.model_dump(by_alias=True, exclude_unset=True, exclude={"plans"})
    fields = {
        **_own_fields(written),
        "bindable": offering.bindable,
        "plan_updateable": offering.plan_updateable,
        "plans": [_plan(catalog, offering, plan, version) for plan in offering.plans],
    }
    return _known_to(version, fields, OFFERING_FIELDS)


def _plan(
    catalog: Catalog, offering: ServiceOffering, plan: Plan, version: Version
) -> dict[str, Any]:
    fields = {
        **_own_fields(plan.model_dump(by_alias=True, exclude_unset=True)),
        "free": plan.free,
        "bindable": catalog.bindable(offering, plan),
        "plan_updateable": catalog.plan_updateable(offering, plan),
    }
    return _known_to(version, fields, PLAN_FIELDS)


def _own_fields(written: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in written.items() if name not in _NOT_AS_WRITTEN
    }


def _known_to(
    version: Version, fields: dict[str, Any], first_versions: dict[str, Version]
) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if value is not None and version >= first_versions.get(name, _OLDEST)
    }


class CatalogPages:
    """The bytes of one catalog for every client, each made when first asked for.

    Clients that get the same bytes share them, whatever their version and
    whatever was said of what they may see.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._by_client: dict[tuple[Version, frozenset[str] | None], CatalogBytes] = {}
        self._by_etag: dict[bytes, CatalogBytes] = {}

    def page(
        self, version: Version, offerings: frozenset[str] | None = None
    ) -> CatalogBytes:
        """The bytes for a client; arguments as of `render`."""
        step = _OLDEST
        for candidate in STEPS:
            if candidate <= version:
                step = candidate
        found = self._by_client.get((step, offerings))
        if found is None:
            made = render(self.catalog, step, offerings)
            found = self._by_etag.setdefault(made.etag, made)
            self._by_client[step, offerings] = found
        return found
