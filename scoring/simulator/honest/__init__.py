"""What honest customers do."""

from scoring.simulator.honest.daily import daily_payments
from scoring.simulator.honest.regular import regular_payments
from scoring.simulator.honest.social import social_payments

__all__ = ["daily_payments", "regular_payments", "social_payments"]
