"""The recipe that made the bundled model. Knows torch and timm; nothing else of ours imports it."""
