"""Tells whether an address is this machine's own. Resolves names; decides nothing."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address


def is_local_peer(address: str) -> bool:
    """Whether a client is on this machine. A link-local address may well be a neighbour's."""
    try:
        return _parsed(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


async def is_this_machine(host: str) -> bool:
    """Whether a host is, or resolves to, a loopback, link-local or unspecified address."""
    name = host.strip("[]").rstrip(".").partition("%")[0].lower()
    if not name:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return _local(name)
    except ValueError:
        pass
    try:
        # Also reads what only the C library takes for an address: 127.1, 0x7f000001.
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_local(str(entry[4][0]).partition("%")[0]) for entry in found)


def _local(address: str) -> bool:
    parsed = _parsed(address)
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified


def _parsed(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
