"""Real PostgreSQL and Redis servers for tests, each in a directory of its own.

`postgres_server.PostgresServer` and `redis_server.RedisServer` share the life cycle of `process.ServerProcess`: start,
stop, kill (SIGKILL) and restart. `plugin` puts the test run's environment in place before Django reads its settings;
the fixtures that tests use are in tests/conftest.py.
"""
