"""Adapters that count requests, errors and slow answers."""
