"""mitmproxy's options and our register of flows, fresh for every test."""

from collections.abc import Iterator

import pytest
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons

from addon.flows import FLOWS, Flows


@pytest.fixture
def flows() -> Iterator[Flows]:
    """The one register, emptied before and after."""
    FLOWS.__init__()  # type: ignore[misc]
    yield FLOWS
    FLOWS.__init__()  # type: ignore[misc]


@pytest.fixture
def context() -> Iterator[taddons.context]:
    """mitmproxy with the addons that own the options we deal with."""
    with taddons.context(Proxyserver(), NextLayer()) as found:
        yield found
