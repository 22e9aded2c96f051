"""One feature state for several engine processes: a log in Redis or Valkey that puts their events into one order.

Each process keeps all windows in its own memory (`scoring.features.state`). What Redis holds is the order of events and the
newest of them. For each batch a process makes one call: it appends its events and receives those that others appended since
its last call. It applies those first, then its own, so that every process goes through the same events in the same order and
the features are what one process alone would have said. Windows in Redis itself would cost some 70 to 160 microseconds of
its one thread a transaction, and its numbers are doubles; here a transaction costs it a few microseconds, and sums stay exact.

The ledger is the truth and the log can be lost at any time: a process that finds another log, one that went back in time, or
one that begins after what it has read, rebuilds from the ledger and joins again (`rejoin`). Until then it decides on its own
windows, and its answers say that their features are degraded.

    entry        a batch as bytes
    link         a connection that runs one script in a time budget
    shared_log   the operations of the log: join, exchange, read, claim, settle, leave
    state        SharedFeatureState, with the interface of FeatureState
    rejoin       building the state anew while decisions go on
    settlement   finishing what a process that died left open

The scripts (*.lua) run unchanged on Redis from 6.2 on and on Valkey. All keys of a log share one hash tag, so that on a
cluster they lie in one slot.
"""
