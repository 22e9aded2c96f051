"""Learning from what became known: frozen snapshots, training, gates, and the run that ties them together."""
