"""Which tests of the contract are slow: those that break every call everywhere."""

import pytest

SLOW = ("broken_off", "many_instances")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test when it is found."""
    if any(part in item.name for part in SLOW):
        item.add_marker("slow")
