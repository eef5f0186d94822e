"""Pictures for calibration and evaluation, as the pixels that are served."""
