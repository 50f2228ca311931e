"""LeNet from an ONNX file in ONNX Runtime: the logits of one image.

    start/onnxruntime_lenet.py FILE
"""
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = np.broadcast_to(np.arange(28, dtype=np.float32) / 28, (1, 1, 28, 28))
print(*session.run(None, {"images": image})[0][0])
