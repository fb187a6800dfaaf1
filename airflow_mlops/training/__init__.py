"""What to run, and what came back: the training contract and its ports."""
