"""Engines that evaluate rules on tables."""
