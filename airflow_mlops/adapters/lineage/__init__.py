"""To systems that draw where data and models come from."""
