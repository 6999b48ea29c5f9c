"""Complete configs of runs; each file has a `get_config`."""
