"""Accuracy and speed of a variant, and the gate that decides by them."""
