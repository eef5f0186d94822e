"""The values that the steps hand to each other."""
