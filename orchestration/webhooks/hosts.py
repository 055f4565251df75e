"""Where webhooks may go: hosts that the operator lists, at addresses of the public internet."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from utils.errors import ConfigError

VARIABLE = "QUARTERMASTER_WEBHOOK_HOSTS"
LOCALHOST = "localhost"
LONGEST_URL = 2000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""From a host and a port to addresses."""


class WebhookRefusedError(ConfigError):
    """The operator does not allow this destination; nothing is sent."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A checked place to send to."""

    url: str
    host: str
    port: int
    address: str
    """The one to connect to: what was checked, not what the name means a moment later."""

    @property
    def is_secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.url.startswith("https:")


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host.

    Args:
        host: A name or an address.
        port: Where to.

    Raises:
        OSError: There is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class HostRules:
    """What the operator allows."""

    def __init__(self, hosts: Sequence[str], *, resolve: Resolve = resolve) -> None:
        """Keep the list.

        Args:
            hosts: Names, and literal addresses where one that is not public is meant.
            resolve: Finds addresses; may block.
        """
        self._hosts = frozenset(host.strip().lower().rstrip(".") for host in hosts if host.strip())
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """Refuse a URL that could not be sent to, without asking for addresses.

        Args:
            url: The destination.

        Raises:
            WebhookRefusedError: It is malformed, or its host is not listed.
        """
        self._split(url)

    def find(self, url: str) -> Destination:
        """Return where to connect; blocks while the name is looked up.

        Args:
            url: The destination.

        Raises:
            WebhookRefusedError: It is malformed, its host is not listed, or has an address that is
                not public and not listed itself.
            OSError: The name has no address.
        """
        parts, host, port = self._split(url)
        addresses = self._resolve(host, port)
        if not addresses:
            raise OSError(f"{host} has no address")
        for address in addresses:
            if not (self._is_listed(host, address) or _is_public(ipaddress.ip_address(address))):
                raise WebhookRefusedError(
                    f"{host} has the address {address}, which is not public: if that is meant, "
                    f"list the address itself in {VARIABLE}"
                )
        return Destination(url=parts.geturl(), host=host, port=port, address=addresses[0])

    def _split(self, url: str) -> tuple[SplitResult, str, int]:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise WebhookRefusedError(f"url={url!r}: {error}") from error
        if parts.scheme not in {"http", "https"} or not host or len(url) > LONGEST_URL:
            raise WebhookRefusedError(f"url={url[:100]!r}: write https://host/path")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise WebhookRefusedError(f"url={url[:100]!r}: write it in ASCII, without spaces")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise WebhookRefusedError(f"url: no user, password or fragment, as in https://{host}/")
        if host not in self._hosts:
            listed = ", ".join(sorted(self._hosts)) or "none"
            raise WebhookRefusedError(
                f"host {host} is not listed; listed: {listed}. The operator adds it to {VARIABLE}"
            )
        if parts.scheme == "http" and not _is_literal(host):
            raise WebhookRefusedError(f"url={url!r}: use https; http is for literal addresses only")
        return parts, host, port or (443 if parts.scheme == "https" else 80)

    def _is_listed(self, host: str, address: str) -> bool:
        if address in self._hosts:
            return True
        return host == LOCALHOST and ipaddress.ip_address(address).is_loopback


def hosts_of_environment() -> tuple[str, ...]:
    """Return the hosts that the operator lists in the environment, separated by commas."""
    return tuple(host for host in os.environ.get(VARIABLE, "").split(",") if host.strip())


def _is_literal(host: str) -> bool:
    if host == LOCALHOST:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            hidden.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if any(one is not None and not _is_public(one) for one in hidden):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast
