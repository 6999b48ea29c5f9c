"""Measurements: what is measured, on which data, how, and beside whom."""
