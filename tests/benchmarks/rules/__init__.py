"""Rules beside other engines (B5), and rules with a forest and its reasons in one call beside separate engines.

`make bench-rules`. The same rules on the same rows for every engine, each called at its best; all hits must agree, or the
run fails. No value is missing: polars and DuckDB order NaN above all numbers, so that `NaN > c` holds there and nowhere else.
"""
