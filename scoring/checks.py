"""System checks with stable ids, so that a wrong set-up is told before traffic."""
