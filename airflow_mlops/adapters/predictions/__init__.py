"""Where predictions and the labels that arrive later are read from."""
