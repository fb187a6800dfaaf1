"""Has the world changed? The join of predictions with labels, drift checks, and when to train again."""
