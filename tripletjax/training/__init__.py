"""Training: configs to functions, the step, its devices, and the loop."""
