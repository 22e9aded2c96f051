"""Run a simulation: the world, honest payments, fraud, reports, one stream in event order."""

import numpy as np

from scoring.ingest.columns import PaymentColumns
from scoring.ingest.contract import CHANNELS, TYPES
from scoring.simulator import addresses, geography, identifiers
from scoring.simulator.block import HONEST, NONE, Block, join
from scoring.simulator.categories import CATEGORIES
from scoring.simulator.config import SimulationConfig
from scoring.simulator.fraud import fraud_payments
from scoring.simulator.fraud.incidents import SCENARIOS
from scoring.simulator.honest import daily_payments, regular_payments, social_payments
from scoring.simulator.identifiers import encode
from scoring.simulator.labels import build_labels, report_times
from scoring.simulator.stream import SimulatedStream
from scoring.simulator.world import World, build_world

CURRENCY = "EUR"


def simulate(config: SimulationConfig) -> SimulatedStream:
    """All payments and reports of `config`. Equal configs give equal streams, byte for byte."""
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(6 + len(SCENARIOS))]
    world = build_world(config, streams[0])
    makers = (daily_payments, regular_payments, social_payments)
    honest = in_event_order(join([make(world, rng) for make, rng in zip(makers, streams[1:4], strict=True)]), world.end_us)
    fraud = fraud_payments(world, honest, streams[6:])
    payments = in_event_order(join([honest, fraud]), world.end_us)
    reported = report_times(payments, streams[4])
    columns = _columns(world, payments)
    labels = build_labels(payments, reported, columns.transaction_ids(), config.start_us, streams[5])
    return SimulatedStream(
        config=config,
        columns=columns,
        typology=payments.typology,
        incident=payments.incident,
        reported_us=np.where(reported == NONE, NONE, reported + config.start_us),
        reports=labels,
    )


def in_event_order(payments: Block, end_us: int) -> Block:
    """Payments within the simulated time, by time, no two at the same microsecond."""
    inside = payments.take((payments.time >= 0) & (payments.time < end_us))
    ordered = inside.take(np.argsort(inside.time, kind="stable"))
    index = np.arange(len(ordered))
    # Each time is at least a microsecond after the one before it.
    ordered.time = np.maximum.accumulate(ordered.time - index) + index
    return ordered


def _columns(world: World, payments: Block) -> PaymentColumns:
    customers, merchants = world.customers, world.merchants
    count = len(customers)
    has_merchant = payments.merchant != NONE
    category = np.where(has_merchant, merchants.category[payments.merchant], NONE)
    texts = {
        "currency": (np.zeros(len(payments), dtype=np.int32), lambda _: CURRENCY),
        "type": (payments.type, TYPES.__getitem__),
        "channel": (payments.channel, CHANNELS.__getitem__),
        "customer_id": (payments.customer, identifiers.customer_id),
        "account_id": (payments.customer, lambda number: identifiers.account_id(number, count)),
        "card_id": (payments.card, identifiers.card_id),
        "merchant_id": (payments.merchant, identifiers.merchant_id),
        "terminal_id": (payments.terminal, lambda number: identifiers.terminal_id(number, world)),
        "device_id": (payments.device, identifiers.device_id),
        "counterparty_id": (payments.counterparty, lambda number: identifiers.account_id(number, count)),
        "mcc": (category, lambda number: CATEGORIES[number].mcc),
        "country": (payments.country, geography.COUNTRIES.__getitem__),
        "home_country": (customers.country[payments.customer], geography.COUNTRIES.__getitem__),
        "ip": (payments.ip, addresses.text),
    }
    encoded = {field: encode(numbers, name) for field, (numbers, name) in texts.items()}
    return PaymentColumns(
        id_prefix=f"sim-{world.config.digest}-",
        id_values=np.arange(len(payments)),
        occurred_us=payments.time + world.config.start_us,
        amount_minor=payments.amount,
        codes={field: codes for field, (codes, _) in encoded.items()},
        dictionaries={field: dictionary for field, (_, dictionary) in encoded.items()},
        numbers={"latitude": payments.latitude.round(5), "longitude": payments.longitude.round(5)},
        flags={"card_present": payments.card_present, "is_recurring": payments.is_recurring},
        label=(payments.typology != HONEST).astype(np.uint8),
    )
