"""Everything osbkit can say no with, as one tree.

    OsbkitError
    ├── StartRefused             the process does not start; one sentence, no traceback
    │   ├── SettingsInvalid          environment, credentials file, keys
    │   ├── CatalogInvalid           every finding at once
    │   ├── CatalogUnsafe            it breaks with what was served, or with what lives
    │   ├── BackendsInvalid          plans without a backend, backends without a plan
    │   └── DatabaseUnusable         locked, behind, ahead, sealed with other keys
    ├── RequestRejected          an answer to one request: status, code, sentence
    │   ├── Malformed          400   ├── AsyncRequired            422 AsyncRequired
    │   ├── Unauthorized       401   ├── OperationInProgress      422 ConcurrencyError
    │   ├── NotThere           404   ├── RequiresApp              422 RequiresApp
    │   ├── MethodUnknown      405   ├── MaintenanceInfoConflict  422 (same code)
    │   ├── InstanceConflict   409   ├── UpdateRefused            422 UpdateRefused
    │   ├── BindingConflict    409   ├── TooManyRequests          429
    │   ├── Gone               410   ├── OperationFailed          500
    │   ├── VersionUnsupported 412   ├── Unavailable              503
    │   └── BodyTooLarge       413   └── RecordUnknown            503 (an Unavailable)
    ├── BackendSays              what an author raises
    │   ├── Refused                  the caller can mend it
    │   └── Failed                   ours, final
    │       └── UpdateFailed         … and what is left of the instance
    ├── BackendFault             what an author's code may not do; for the log
    └── LeaseLost, Stale         between rooms; never reaches a caller

The message of a RequestRejected is for the platform's user and never echoes a
refused value; what the operator needs goes to the log.
Spec: "Service Broker Errors", "Error Codes".
"""

from collections.abc import Sequence
from typing import ClassVar


class OsbkitError(Exception):
    """Root of the tree."""


# --- the start ----------------------------------------------------------------


class StartRefused(OsbkitError):
    """The process must not serve. The message is a sentence that names the fix."""


class SettingsInvalid(StartRefused):
    """A setting, a credentials file or a key cannot be used."""


class CatalogInvalid(StartRefused):
    """The catalog breaks rules.

    Attributes:
        findings: one line each: path in the catalog, what is wrong, the fix.
    """

    def __init__(self, findings: Sequence[object]) -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        count = len(self.findings)
        noun = "finding" if count == 1 else "findings"
        super().__init__(f"The catalog cannot be served: {count} {noun}.\n{lines}")


class CatalogUnsafe(StartRefused):
    """The catalog breaks with the one last served, or with what lives.

    A plan with service instances vanished, an id was reused, or a backend that made
    instances is not there. OSBKIT_ALLOW_CATALOG_CHANGES lets ids through by name.

    Attributes:
        findings: one line each: what changed, what lives on it, the fix.
    """

    def __init__(self, findings: Sequence[object], ids: Sequence[str]) -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        count = len(self.findings)
        noun = "finding" if count == 1 else "findings"
        super().__init__(
            "The catalog does not fit what was served before:"
            f" {count} {noun}.\n{lines}\nTo serve it all the same, set"
            f" OSBKIT_ALLOW_CATALOG_CHANGES={','.join(dict.fromkeys(ids))}"
            " (`osbkit serve` takes each id as --allow)."
        )


class BackendsInvalid(StartRefused):
    """Backends and catalog do not fit together; one line per finding."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  - {finding}" for finding in self.findings)
        super().__init__(f"The backends do not fit the catalog.\n{lines}")


class DatabaseUnusable(StartRefused):
    """The database is locked, at another schema, or sealed with other keys."""


# --- answers to a request -------------------------------------------------------


class RequestRejected(OsbkitError):
    """A request that is answered with an error body.

    Attributes:
        status: the HTTP status.
        code: the `error` field; None leaves it out.
        description: a sentence for the platform's user.
        retry_after: seconds for a Retry-After header; None leaves it out.
        instance_usable, update_repeatable: spec "Service Broker Errors"; None
            leaves them out.
    """

    status: ClassVar[int] = 400
    code: str | None = None

    def __init__(
        self,
        description: str,
        *,
        code: str | None = None,
        retry_after: int | None = None,
        instance_usable: bool | None = None,
        update_repeatable: bool | None = None,
    ) -> None:
        super().__init__(description)
        self.description = description
        if code is not None:
            self.code = code
        self.retry_after = retry_after
        self.instance_usable = instance_usable
        self.update_repeatable = update_repeatable


class Malformed(RequestRejected):
    """400: "MUST be returned if the request is malformed or missing mandatory data".

    Also every refusal of a PUT that the caller can mend: an unnamed 422 makes
    Cloud Foundry clean up and Service Catalog repeat without end.
    """


class Unauthorized(RequestRejected):
    """401: one body whatever was wrong. Spec: "Platform to Service Broker
    Authentication"."""

    status = 401

    def __init__(self) -> None:
        super().__init__(
            "The credentials of this request are missing or not valid for this broker."
        )


class NotThere(RequestRejected):
    """404: no such instance, binding or route."""

    status = 404


class MethodUnknown(RequestRejected):
    """405: the route exists, the method does not."""

    status = 405


class InstanceConflict(RequestRejected):
    """409: the id is in use "but with different attributes". Spec: "Provisioning"."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "A service instance with this id already exists with other attributes."
        )


class BindingConflict(RequestRejected):
    """409: the same of a binding. Spec: "Binding"."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "A service binding with this id already exists with other attributes."
        )


class Gone(RequestRejected):
    """410: DELETE of what is not there; the body is `{}`."""

    status = 410

    def __init__(self) -> None:
        super().__init__("")


class VersionUnsupported(RequestRejected):
    """412: an API version that this broker does not speak. Spec: "API Version
    Header"."""

    status = 412


class BodyTooLarge(RequestRejected):
    """413: more bytes than OSBKIT_MAX_BODY_BYTES."""

    status = 413


class AsyncRequired(RequestRejected):
    """422: only possible with `accepts_incomplete=true`. Nothing was recorded."""

    status = 422
    code = "AsyncRequired"

    def __init__(self) -> None:
        super().__init__(
            "This service plan requires client support for asynchronous service"
            " operations."
        )  # to the letter: clients compare it


class OperationInProgress(RequestRejected):
    """422: another operation on the same resource has not ended.

    The platform must not start orphan mitigation on this answer, so raise it
    only before the backend has been called. Spec: "Blocking Operations".
    """

    status = 422
    code = "ConcurrencyError"

    def __init__(self) -> None:
        super().__init__(
            "The Service Broker does not support concurrent requests that mutate the"
            " same resource."
        )  # to the letter: clients compare it


class RequiresApp(RequestRejected):
    """422: "The request body is missing the app_guid field"."""

    status = 422
    code = "RequiresApp"

    def __init__(self) -> None:
        super().__init__(
            "This service supports generation of credentials through binding an"
            " application only."
        )


class MaintenanceInfoConflict(RequestRejected):
    """422: `maintenance_info.version` is not the one in the catalog."""

    status = 422
    code = "MaintenanceInfoConflict"

    def __init__(self) -> None:
        super().__init__(
            "The maintenance information for the requested Service Plan has changed."
        )  # to the letter


class UpdateRefused(RequestRejected):
    """422: the change is "not supported or not possible in the present state"."""

    status = 422
    code = "UpdateRefused"

    def __init__(self, description: str) -> None:
        super().__init__(description, update_repeatable=False)


class TooManyRequests(RequestRejected):
    """429: more than this broker serves at once."""

    status = 429

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__(
            "This broker is handling too many requests of this kind. Try again"
            " shortly.",
            retry_after=retry_after,
        )


class OperationFailed(RequestRejected):
    """500: the backend failed, and what it had begun was rolled back or is being."""

    status = 500


class Unavailable(RequestRejected):
    """503: passing trouble on our side. The same request may succeed later."""

    status = 503

    def __init__(self, description: str, *, retry_after: int = 5) -> None:
        super().__init__(description, retry_after=retry_after)


class RecordUnknown(Unavailable):
    """A row holds what only a newer version of osbkit knows; it is left alone."""

    def __init__(self, what: str) -> None:
        super().__init__("The service broker is being upgraded. Try again later.")
        self.what = what


# --- what an author raises --------------------------------------------------------


class BackendSays(OsbkitError):
    """An author's word for the user; the message reaches the platform."""

    def __init__(self, description: str) -> None:
        self.description = str(description) or "The service gave no reason."
        super().__init__(self.description)


class Refused(BackendSays):
    """The caller asked for what cannot be; they can mend it.

    From `check()`, or from a verb before it has left anything behind. On PUT it
    becomes 400, on PATCH 422 with `update_repeatable: false`.
    """


class Failed(BackendSays):
    """The backend cannot do it, and trying again will not help.

    What was begun is rolled back. Synchronous: 500 with this sentence;
    asynchronous: the operation polls `failed` with it.
    """


class UpdateFailed(Failed):
    """An update or a deprovision failed; says what is left.

    Attributes:
        usable: whether the instance still works (`instance_usable`).
        repeatable: whether the same update may succeed later
            (`update_repeatable`).
    """

    def __init__(
        self, description: str, *, usable: bool = True, repeatable: bool = True
    ) -> None:
        super().__init__(description)
        self.usable = usable
        self.repeatable = repeatable


# --- between rooms ------------------------------------------------------------------


class BackendFault(OsbkitError):
    """A backend returned, or asked for, what it may not: trying again is no help.

    The message is ours, names the fix and holds no value; it goes to the log.
    """


class LeaseLost(OsbkitError):
    """The row has ended or carries a newer fence; nothing was changed."""


class Stale(OsbkitError):
    """The row changed between reading and writing; read again and decide again."""
