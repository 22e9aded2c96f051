"""The plain comparison: the same decision built from stock parts, as a team would first write it, at its ordinary best.

Default Django REST framework validation and rendering, one XGBoost `inplace_predict` a request, one ORM INSERT a request
into SQLite with the durability of our own ledger (WAL, synchronous=FULL), gunicorn. Where a choice had to be made it
went in the plain stack's favour:

* no session, CSRF or message middleware, the API key is compared with a setting (no query), and no idempotency
  look-up: the unique column alone refuses a repeated transaction id;
* `Serializer` and not `ModelSerializer`, whose unique validator would cost a SELECT a request;
* XGBoost's fastest documented call, on one thread (more only slow one row down), on a model loaded once;
* connections to the database stay open, with the same SQLite settings as ours;
* no velocity features, rules, reasons, audit or outbox row: columns that it does not compute are zero.
"""
