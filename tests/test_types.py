"""Types flow to an author: parameters are their model, without a cast."""

import subprocess
import sys

MODULE = """
from pydantic import BaseModel

from osbkit import DeprovisionRequest, NoParameters, ProvisionRequest, Run
from osbkit import ServiceBackend


class QueueParameters(BaseModel, extra="forbid"):
    max_messages: int = 10


class QueueBackend(ServiceBackend[QueueParameters, NoParameters]):
    async def provision(
        self, request: ProvisionRequest[QueueParameters], run: Run
    ) -> None:
        reveal_type(request.parameters.max_messages)
        request.parameters.nothing

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        return
"""


def test_parameters_are_typed_without_a_cast(tmp_path):
    module = tmp_path / "author.py"
    module.write_text(MODULE)

    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(module)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert 'Revealed type is "int"' in said or "builtins.int" in said, said
    assert '"QueueParameters" has no attribute "nothing"' in said
    assert "Found 1 error" in said
