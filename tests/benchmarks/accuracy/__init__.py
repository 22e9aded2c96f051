"""`make bench-accuracy`: the published protocol of the Fraud Detection Handbook, run through this product's own scoring path."""
