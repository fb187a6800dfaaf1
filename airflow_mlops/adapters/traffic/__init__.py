"""Adapters that split requests between model servers."""
