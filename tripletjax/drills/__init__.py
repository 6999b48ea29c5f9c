"""Runs that are killed, starved and damaged on purpose, and must survive."""
