"""Measurements against named peers; never part of the tests."""
