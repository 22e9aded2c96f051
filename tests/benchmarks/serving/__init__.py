"""`make bench-serving`: our server beside a plain Django stack, over HTTP, durable, on one machine."""
