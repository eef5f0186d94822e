"""Every number in the docs, reproducible by one command each."""
