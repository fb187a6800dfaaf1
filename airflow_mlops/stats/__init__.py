"""One statistical procedure per module, its source cited."""
