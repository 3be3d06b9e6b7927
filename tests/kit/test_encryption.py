"""Whether the traffic is encrypted is judged by the URL that the kit was given.

Requirements proved here: AUTH-01.
"""

import pytest

from osbkit.conformance.registry import Check, all_checks
from osbkit.conformance.results import Outcome
from tests.kit.matrix import examine
from tests.kit.reference import ReferenceBroker


@pytest.fixture
def check() -> Check:
    (found,) = (each for each in all_checks() if each.name == "traffic_is_encrypted")
    return found


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        pytest.param("https://broker.example", Outcome.PASSED, id="https"),
        pytest.param("https://127.0.0.1:8443", Outcome.PASSED, id="https, here"),
        pytest.param("http://broker.example", Outcome.FAILED, id="http"),
        pytest.param("http://10.0.0.7:8080", Outcome.FAILED, id="http, an address"),
        pytest.param("http://localhost.example", Outcome.FAILED, id="http, like here"),
        pytest.param("http://localhost:8080", Outcome.SKIPPED, id="http, here"),
        pytest.param("http://127.0.0.2:8080", Outcome.SKIPPED, id="http, the loopback"),
        pytest.param(
            "http://[::1]:8080", Outcome.SKIPPED, id="http, the loopback of 6"
        ),
    ],
)
async def test_http_is_a_fault_unless_the_broker_is_on_this_machine(
    check: Check, url: str, outcome: Outcome
):
    report = await examine(ReferenceBroker(), [check], url=url)

    (result,) = report.results
    assert result.outcome is outcome
    assert ("http" in result.said) is (outcome is Outcome.FAILED)
