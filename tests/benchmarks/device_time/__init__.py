"""Device time of a million decisions: our program beside PyTorch eager and XGBoost."""
