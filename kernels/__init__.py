"""Operations on plain arrays: one folder an operation, each with a reference, a fast path and a contract.

Imports nothing of the project and no Django.
"""
