"""LeNet in JAX with weights from a file of NumPy's: the logits of one image.

    start/jax_lenet.py FILE
"""
import sys

import jax
import numpy as np
from jax import lax, nn


def pool(x):
    """The largest of 2x2."""
    return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def convolution(x, w, b):
    """5x5 SAME with ReLU, and a pool."""
    y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return pool(nn.relu(y + b))


@jax.jit
def lenet(w, x):
    """The logits."""
    x = convolution(convolution(x, w[0], w[1]), w[2], w[3]).reshape(1, -1)
    return nn.relu(x @ w[4] + w[5]) @ w[6] + w[7]


with np.load(sys.argv[1]) as file:
    weights = [file[f"arr_{i}"] for i in range(8)]
image = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None] / 28, (1, 28, 28, 1))
print(*np.asarray(lenet(weights, image))[0])
