"""Sweeps; `python -m experiments.sweep --sweep=configs/sweeps/NAME.py`."""
