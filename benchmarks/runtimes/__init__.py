"""One model in every runtime that is here: latency, throughput, memory, and how far its answers are from torch's."""
