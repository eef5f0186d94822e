"""What TensorRT's inspector says of the layers of an engine, as JSON.

    python -m benchmarks.gpu_check.inspect_engine FILE

What `trtexec --dumpLayerInfo` prints, where there is no trtexec: Triton's container has none.
"""

import importlib
import sys
from pathlib import Path


def main() -> int:
    """Print it."""
    tensorrt = importlib.import_module("tensorrt")
    log = tensorrt.Logger(tensorrt.Logger.WARNING)
    engine = tensorrt.Runtime(log).deserialize_cuda_engine(Path(sys.argv[1]).read_bytes())
    if engine is None:
        return 1
    print(engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON))
    return 0


if __name__ == "__main__":
    sys.exit(main())
