"""Other rule engines and column stores, each as fast as its Python interface allows. Packages are imported where they are
used: one that is missing is then that peer's failure alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import reduce
from operator import and_

import numpy as np

from tests.benchmarks.rules.case import RulesCase, columns_of
from tests.benchmarks.rules.generated import GENERATED_C, PYTHON, open_c, open_python
from tests.benchmarks.side_by_side.engines import Call, Engine, Way, version_of

_BLOCK = 8192
# Engines that go through the columns once a rule take minutes for a thousand rules on a million rows, and are no faster a row.
_MANY_RULES, _FEWER_ROWS = 250, 200_000


def open_cel(case: RulesCase) -> Engine:
    import cel

    started = time.perf_counter()
    texts = case.texts("&&")
    whole = cel.compile("[" + ", ".join(texts) + "]")
    single = [cel.compile(text) for text in texts]
    prepare_s = time.perf_counter() - started

    def contexts(x: np.ndarray) -> list:
        return [cel.Context(row) for row in _dicts(case, x)]

    def in_one(x: np.ndarray) -> Call:
        made = contexts(x)
        return lambda: [whole.execute(context) for context in made]

    def one_by_one(x: np.ndarray) -> Call:
        made = contexts(x)
        return lambda: [[program.execute(context) for program in single] for context in made]

    ways = (
        Way("one compiled list, contexts made before", in_one, _as_hits),
        Way("one compiled program a rule, contexts made before", one_by_one, _as_hits),
    )
    return Engine("CEL (Rust)", version_of("common-expression-language"), {1: ways}, prepare_s, most_rows=2000)


def open_zen(case: RulesCase) -> Engine:
    import zen

    started = time.perf_counter()
    expressions = [zen.compile_expression(text) for text in case.texts("and")]
    decision = zen.ZenEngine().create_decision(json.dumps(_zen_table(case)))
    prepare_s = time.perf_counter() - started

    def with_expressions(x: np.ndarray) -> Call:
        rows = _dicts(case, x)
        return lambda: [[expression.evaluate(row) for expression in expressions] for row in rows]

    def with_table(x: np.ndarray) -> Call:
        rows = _dicts(case, x)
        return lambda: [decision.evaluate(row)["result"] for row in rows]

    def read_table(results: list) -> np.ndarray:
        hits = np.zeros((len(results), len(case.rules)), bool)
        for row, found in enumerate(results):
            hits[row, [int(one["hit"]) for one in found]] = True
        return hits

    ways = (
        Way("decision table, hit policy collect, dicts made before", with_table, read_table),
        Way("one compiled expression a rule, dicts made before", with_expressions, _as_hits),
    )
    return Engine("ZEN", version_of("zen-engine"), {1: ways}, prepare_s, most_rows=1000)


def _zen_table(case: RulesCase) -> dict:
    rows = []
    for number, rule in enumerate(case.rules):
        row = {"_id": f"r{number}", "out": str(number), **dict.fromkeys(case.names, "")}
        rows.append(row | {case.names[c.feature]: f"{c.operator} {c.constant!r}" for c in rule})
    place = {"position": {"x": 0, "y": 0}}
    content = {
        "hitPolicy": "collect", "rules": rows,
        "inputs": [{"id": name, "name": name, "field": name} for name in case.names],
        "outputs": [{"id": "out", "name": "hit", "field": "hit"}],
    }  # fmt: skip
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in", **place},
        {"id": "table", "type": "decisionTableNode", "name": "table", "content": content, **place},
        {"id": "out", "type": "outputNode", "name": "out", **place},
    ]
    pairs = (("in", "table"), ("table", "out"))
    edges = [{"id": f"{a}-{b}", "sourceId": a, "targetId": b, "type": "edge"} for a, b in pairs]
    return {"contentType": "application/vnd.gorules.decision", "nodes": nodes, "edges": edges}


def open_polars(case: RulesCase) -> Engine:
    import polars

    def condition(c) -> polars.Expr:
        column = polars.col(case.names[c.feature])
        return column > c.constant if c.operator == ">" else column < c.constant

    expressions = [reduce(and_, map(condition, rule)).alias(f"r{number}") for number, rule in enumerate(case.rules)]

    def selecting(engine: str) -> Callable[[np.ndarray], Call]:
        def make(x: np.ndarray) -> Call:
            frame = polars.DataFrame(columns_of(x, case.names))
            return lambda: frame.lazy().select(expressions).collect(engine=engine)

        return make

    def eager(x: np.ndarray) -> Call:
        frame = polars.DataFrame(columns_of(x, case.names))
        return lambda: frame.select(expressions)

    threads = polars.thread_pool_size()
    calls = {"select": eager, "lazy select": selecting("in-memory"), "streaming select": selecting("streaming")}
    ways = tuple(Way(f"{text}, {threads} threads", make, lambda frame: frame.to_numpy()) for text, make in calls.items())
    # Its pool is as large as POLARS_MAX_THREADS said when it was imported (2, see __main__), and cannot be made smaller.
    return Engine("polars", polars.__version__, {2: ways}, facts={"threads": threads})


def open_duckdb(case: RulesCase) -> Engine:
    import duckdb

    connection = duckdb.connect()
    sums = ", ".join(f"sum(({text})::int)" for text in case.texts("and"))
    made = 0

    def table_of(x: np.ndarray) -> str:
        nonlocal made
        made += 1
        columns = columns_of(x, case.names)
        connection.register("source", columns)
        connection.execute(f"create or replace table t{made} as select * from source")
        connection.unregister("source")
        return f"t{made}"

    def make(x: np.ndarray) -> Call:
        query = f"select {sums} from {table_of(x)}"
        return lambda: connection.execute(query).fetchall()

    way = Way("sum of the hits of each rule: no hit of a row is kept", make, lambda counts: np.array(counts[0], np.int64))

    def enter(threads: int) -> None:
        connection.execute(f"set threads = {threads}")

    return Engine("DuckDB", duckdb.__version__, {1: (way,), 2: (way,)}, enter=enter, most_rows=_most_rows(case))


def open_numexpr(case: RulesCase) -> Engine:
    import numexpr

    texts = [" & ".join(f"({part})" for part in text.split(" and ")) for text in case.texts("and")]

    def make(x: np.ndarray) -> Call:
        columns = columns_of(x, case.names)
        return lambda: [numexpr.evaluate(text, columns) for text in texts]

    way = Way("one expression a rule", make, lambda hits: np.stack(hits, axis=1))
    ways, rows = {1: (way,), 2: (way,)}, _most_rows(case)
    return Engine("numexpr", numexpr.__version__, ways, enter=numexpr.set_num_threads, most_rows=rows)


def open_numpy(case: RulesCase) -> Engine:
    compare = {">": np.greater, "<": np.less}

    def make(x: np.ndarray) -> Call:
        columns = [x[:, i] for i in range(case.features)]
        hits = np.empty((len(case.rules), len(x)), bool)

        def call() -> np.ndarray:
            for start in range(0, len(x), _BLOCK):
                part = slice(start, start + _BLOCK)
                for number, rule in enumerate(case.rules):
                    hits[number, part] = reduce(and_, (compare[c.operator](columns[c.feature][part], c.constant) for c in rule))
            return hits

        return call

    way = Way(f"columns in blocks of {_BLOCK} rows", make, lambda hits: hits.T)
    return Engine("NumPy", np.__version__, {1: (way,)}, most_rows=_most_rows(case))


def _most_rows(case: RulesCase) -> int | None:
    return _FEWER_ROWS if len(case.rules) > _MANY_RULES else None


def _dicts(case: RulesCase, x: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(case.names, row, strict=True)) for row in x.tolist()]


def _as_hits(results: list) -> np.ndarray:
    return np.array(results, bool)


PEERS = (
    (PYTHON, open_python),
    ("CEL (Rust)", open_cel),
    ("ZEN", open_zen),
    ("polars", open_polars),
    ("DuckDB", open_duckdb),
    ("numexpr", open_numexpr),
    ("NumPy", open_numpy),
    (GENERATED_C, open_c),
)
