"""May this model be promoted? Measurements, comparison with the champion, and the gate."""
