"""INT8 and BF16 on a CPU, by every recipe at hand: what each gains, and what it costs in accuracy."""
