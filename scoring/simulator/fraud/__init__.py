"""Fraud scenarios; each file is one typology."""

from scoring.simulator.fraud.incidents import fraud_payments

__all__ = ["fraud_payments"]
