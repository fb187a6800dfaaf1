"""Are these data fit for use? Rules, what they found, and what that means."""
