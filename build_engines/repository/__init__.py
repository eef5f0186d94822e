"""Triton's model repository: publishing, rolling back, removing, and a running Triton that follows."""
