"""What the kit learns of a plan by trying it, since no catalog tells.

Units: seconds.
"""

from dataclasses import dataclass, field
from typing import Any

from osbkit.conformance.exchange import Exchange


@dataclass
class Way:
    """How a plan takes one verb.

    Attributes:
        without_flag: the answer to a request without `accepts_incomplete`.
        with_flag: the answer to one with it; None when it was not needed to ask.
        succeeded: it came to a good end.
        seconds: from the request until it was known to have ended.
        trouble: why it came to no good end, for people; empty if it did.
    """

    without_flag: Exchange | None = None
    with_flag: Exchange | None = None
    succeeded: bool = False
    seconds: float = 0.0
    trouble: str = ""

    @property
    def refused(self) -> bool:
        """The broker would not do it, with the flag or without: 4xx, and no fault."""
        tried = [each for each in (self.without_flag, self.with_flag) if each]
        return bool(tried) and all(each.rejected for each in tried)

    @property
    def sync(self) -> bool:
        """It can be had within the request."""
        return self.succeeded and (
            at_once(self.without_flag) or at_once(self.with_flag)
        )

    @property
    def begins(self) -> bool:
        """With the flag it is answered 202; also when it fails later."""
        return bool(self.with_flag and self.with_flag.running)

    @property
    def gives_202(self) -> bool:
        """With the flag it is answered 202 and succeeds."""
        return self.succeeded and self.begins

    @property
    def async_only(self) -> bool:
        """It cannot be had within the request; whatever the refusal is."""
        return self.begins and not at_once(self.without_flag)

    @property
    def fails(self) -> bool:
        """It begins (202) and then does not succeed."""
        return self.begins and not self.succeeded


def at_once(answer: Exchange | None) -> bool:
    """It was done within the request, whichever 2xx says so."""
    return answer is not None and answer.good and not answer.running


@dataclass
class Facts:
    """What was learned of a plan.

    Attributes:
        tried: learning got as far as an answer.
        provision, update, bind, unbind, deprovision: how each verb is taken.
        needs_app: a binding without an app is refused, with one it is made.
        update_change: the fields of the update that was tried: new parameters, or
            another plan; empty when nothing could be changed.
        parameters_trouble: why an update with parameters of its own schema came to no
            good end, for people; empty if it did, or there is none.
        trouble: why its instances cannot be used, for people; empty if they can.
    """

    tried: bool = False
    provision: Way = field(default_factory=Way)
    update: Way = field(default_factory=Way)
    bind: Way = field(default_factory=Way)
    unbind: Way = field(default_factory=Way)
    deprovision: Way = field(default_factory=Way)
    needs_app: bool = False
    update_change: dict[str, Any] = field(default_factory=dict)
    parameters_trouble: str = ""
    trouble: str = ""
