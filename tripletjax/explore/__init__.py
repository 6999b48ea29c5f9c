"""A page to look at an embedded set with, served on this machine."""
