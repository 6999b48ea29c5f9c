"""Commands: absl flags and one call each."""
