"""Tokens for the things of the world. No token says whether its owner is honest."""

from collections.abc import Callable

import numpy as np

from scoring.simulator.block import NONE
from scoring.simulator.customers import CARDS_PER_CUSTOMER
from scoring.simulator.world import World

# Odd, so that the product modulo 2**32 gives every number another one: new devices and accounts
# do not stand out by high numbers.
_SCRAMBLE = 2_654_435_761


def customer_id(number: int) -> str:
    return f"cust_{number:06d}"


def card_id(number: int) -> str:
    return f"card_{number // CARDS_PER_CUSTOMER:06d}_{number % CARDS_PER_CUSTOMER}"


def merchant_id(number: int) -> str:
    return f"mer_{number:05d}"


def device_id(number: int) -> str:
    return f"dev_{number * _SCRAMBLE % 2**32:08x}"


def account_id(number: int, customers: int) -> str:
    """Customers' accounts by the customer's number, those of other banks scrambled."""
    if number < customers:
        return f"acct_{number:06d}"
    return f"acct_x{number * _SCRAMBLE % 2**32:08x}"


def terminal_id(number: int, world: World) -> str:
    merchants = world.merchants
    return f"ter_{merchants.terminal_merchant[number]:05d}_{merchants.terminal_number[number]}"


def encode(numbers: np.ndarray, name: Callable[[int], str]) -> tuple[np.ndarray, list[str]]:
    """Codes `int32 [N]` (-1 stays -1) and the dictionary of only the numbers that occur."""
    present, codes = np.unique(numbers, return_inverse=True)
    codes = codes.reshape(-1)
    if len(present) and present[0] == NONE:
        present, codes = present[1:], codes - 1
    return codes.astype(np.int32), [name(number) for number in present.tolist()]
