"""Real PostgreSQL and Redis servers for tests."""
