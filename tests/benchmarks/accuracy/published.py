"""Handbook, chapters 5 to 7: means of the four test folds; by themselves, so that no application is needed to read them."""

PUBLISHED = (
    ("logistic regression", 0.868, 0.623, 0.297),
    ("random forest", 0.870, 0.678, 0.299),
    ("XGBoost, tuned", 0.869, 0.687, 0.303),
    ("feed-forward net, tuned", 0.876, 0.675, 0.303),
    ("LSTM", 0.876, 0.665, 0.297),
    ("LSTM with attention", 0.874, 0.667, 0.295),
    ("balanced bagging", 0.879, 0.680, 0.305),
)
