"""Sessions that commit at leisure hold back nothing that others could look for."""

from __future__ import annotations

import pytest
from django.db import connection

from scoring.database_connection import commit_at_leisure
from scoring.services.decide import decide_now
from tests.scoring.decisions.conftest import fresh_engine, payment  # noqa: F401  fixtures


@pytest.mark.django_db(transaction=True)
def test_a_session_that_no_longer_waits_for_the_disk_gets_another_writer(fresh_engine):  # noqa: F811
    if connection.vendor != "sqlite":
        pytest.skip("of SQLite alone")
    fresh_engine()
    decide_now([payment(1)])
    writer = connection.connection.writer
    assert writer._holds_log
    commit_at_leisure()
    decide_now([payment(2)])
    assert connection.connection.writer is not writer and not connection.connection.writer._holds_log
    connection.close()
