"""Pre-training without labels: a masked autoencoder (He et al. 2021, https://arxiv.org/abs/2111.06377)."""
