"""For tests of backends: the contract of all of them, as a suite to subclass.

See `osbkit.testing.contract`, and docs/backends.md, "The contract suite".
"""

from osbkit.testing.contract import BackendContract, Client, Roles
from osbkit.testing.driving import RehearsedRun
from osbkit.testing.wire import Wire

__all__ = ["BackendContract", "Client", "RehearsedRun", "Roles", "Wire"]
