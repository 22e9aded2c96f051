"""Lines of business: merchant category codes, usual payments, how common they are."""

from typing import NamedTuple

import numpy as np


class Category(NamedTuple):
    """A line of business: its median payment in minor units and the spread of it (log scale)."""

    mcc: str
    median_minor: int
    sigma: float
    weight: float
    resalable: bool = False


AT_TERMINAL = (
    Category("5411", 3200, 0.7, 26),
    Category("5499", 900, 0.6, 8),
    Category("5812", 3600, 0.6, 13),
    Category("5814", 1100, 0.5, 12),
    Category("5541", 5200, 0.4, 9),
    Category("5912", 1900, 0.7, 6),
    Category("5651", 5600, 0.7, 7),
    Category("5311", 4800, 0.8, 5),
    Category("5732", 14500, 0.9, 3, True),
    Category("5944", 17000, 0.9, 1, True),
    Category("4121", 1900, 0.5, 4),
    Category("7011", 14000, 0.7, 3),
    Category("7997", 3500, 0.5, 3),
)
ONLINE = (
    Category("5816", 690, 0.8, 14),
    Category("5815", 990, 0.6, 12),
    Category("5311", 4200, 0.9, 20),
    Category("5651", 5900, 0.7, 14),
    Category("5732", 12000, 1.0, 10, True),
    Category("5947", 5000, 0.6, 5, True),
    Category("4722", 26000, 0.9, 5),
    Category("4511", 21000, 0.7, 4, True),
    Category("7995", 3000, 0.9, 4),
    Category("8398", 1500, 0.8, 4),
    Category("5968", 1490, 0.5, 8),
)
CASH_MACHINE = Category("6011", 0, 0.0, 1)
BRANCH = Category("6010", 0, 0.0, 1)
BILLERS = (
    Category("4900", 8500, 0.4, 3),
    Category("4814", 3200, 0.4, 3),
    Category("6300", 4500, 0.6, 2),
    Category("7997", 3000, 0.3, 1),
)
CATEGORIES = (*AT_TERMINAL, *ONLINE, CASH_MACHINE, BRANCH, *BILLERS)

MEDIAN_MINOR = np.array([category.median_minor for category in CATEGORIES], dtype=np.float64)
SIGMA = np.array([category.sigma for category in CATEGORIES])
IS_RESALABLE = np.array([category.resalable for category in CATEGORIES])
IS_DIGITAL = np.array([category.mcc in ("5816", "5815", "8398") for category in CATEGORIES])
