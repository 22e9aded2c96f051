"""The endpoints: parse, call one thing, answer."""
