"""IPv4 addresses as numbers, only from ranges that belong to nobody on the Internet."""

import ipaddress

import numpy as np

# Shared address space of carriers (RFC 6598): homes and mobile networks.
_CARRIER = ipaddress.ip_network("100.64.0.0/10")
# Benchmarking range (RFC 2544): stands for VPNs and hosting, which honest people use as well.
_HOSTING = ipaddress.ip_network("198.18.0.0/15")


def carrier(size: int, rng: np.random.Generator) -> np.ndarray:
    """Addresses of homes and mobile phones, `int64 [size]`."""
    return int(_CARRIER[0]) + rng.integers(0, _CARRIER.num_addresses, size)


def hosting(size: int, rng: np.random.Generator) -> np.ndarray:
    """Addresses of VPNs and hosts, `int64 [size]`."""
    return int(_HOSTING[0]) + rng.integers(0, _HOSTING.num_addresses, size)


def customers_address(home: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where honest customers with the home addresses `int64 [N]` come from this time."""
    size = len(home)
    where = rng.random(size)
    return np.where(where < 0.75, home, np.where(where < 0.95, carrier(size, rng), hosting(size, rng)))


def fraudsters_address(size: int, rng: np.random.Generator) -> np.ndarray:
    """Half hosting, half homes of others (residential proxies); `int64 [size]`."""
    return np.where(rng.random(size) < 0.5, hosting(size, rng), carrier(size, rng))


def text(number: int) -> str:
    """Dotted form of an address."""
    return str(ipaddress.IPv4Address(number))
