"""A classifier from timm, with its weights and labels."""
