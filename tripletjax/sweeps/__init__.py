"""Sweeps: many configs that are trained, compared and reported as one."""
