"""Where images are made: one module per engine."""
