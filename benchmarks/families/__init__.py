"""The families of models side by side: parameters, operations, memory, throughput, and a roofline."""
