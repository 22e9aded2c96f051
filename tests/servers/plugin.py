"""Pytest plugin that sets the test run's environment before Django reads its settings."""
