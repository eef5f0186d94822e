"""A real Triton server on this machine, without Docker or a GPU, and the gateway beside it. Imports only contract."""
