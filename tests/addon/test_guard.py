"""Which addresses are this machine's."""

import asyncio

import pytest

from addon.guard import is_local_peer, is_this_machine

OWN = [
    "127.0.0.1",
    "127.255.0.9",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0.0.0.0",
    "0",
    "169.254.169.254",
    "::1",
    "[::1]",
    "::",
    "::ffff:127.0.0.1",
    "[::ffff:7f00:1]",
    "::ffff:169.254.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "any.localhost",
    "127.0.0.1.",
]
OTHERS = [
    "192.0.2.1",
    "10.0.0.1",
    "128.0.0.1",
    "2001:db8::1",
    "::ffff:192.0.2.1",
    "limit-router.invalid",
    "localhost.invalid",
    "notlocalhost",
    "",
    "a..b",
    "x" * 300,
    "exämple.invalid",
    "\udcff.invalid",
]


@pytest.mark.parametrize("host", OWN)
def test_own(host):
    assert asyncio.run(is_this_machine(host))


@pytest.mark.parametrize("host", OTHERS)
def test_others(host):
    assert not asyncio.run(is_this_machine(host))


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        # A neighbour's as well as ours.
        ("169.254.7.7", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_peers(address, local):
    assert is_local_peer(address) is local
