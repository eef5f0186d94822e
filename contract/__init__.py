"""What builder and gateway share: the meaning of a repository entry, and the pixels. Imports nothing of ours."""
