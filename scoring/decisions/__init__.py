"""From features to an answer: score_batch (pure), reasons and answers (pure), and the engine that commits them."""
