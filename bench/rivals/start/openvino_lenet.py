"""LeNet from OpenVINO's own format: the logits of one image.

    start/openvino_lenet.py FILE
"""
import sys

import numpy as np
import openvino

compiled = openvino.Core().compile_model(sys.argv[1], "CPU", {
    "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
image = np.broadcast_to(np.arange(28, dtype=np.float32) / 28, (1, 1, 28, 28))
print(*compiled(image)[0][0])
