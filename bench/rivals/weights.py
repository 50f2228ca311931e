"""Random numbers for the networks of nets.py, and the file in which the check hands them round:

    weights.py NET BATCH FILE
"""
import sys
from math import prod

import numpy as np

from nets import NETS, variables_of, weighted


def variable(rng, name, shape):
    """Values that keep activations in range, and with which no variable is without effect."""
    if name == "weights":
        return rng.standard_normal(shape, np.float32) * np.float32((2 / prod(shape[:-1])) ** 0.5)
    if name == "moving_variance":
        return rng.random(shape, np.float32) + np.float32(0.5)
    values = rng.standard_normal(shape, np.float32) * np.float32(0.1)
    return values + np.float32(1) if name == "gamma" else values


def random(net, seed=1):
    """The variables of each layer with weights, in order, one at a time: {name: array}."""
    rng = np.random.default_rng(seed)
    for layer, shape in weighted(net.layers, net.image):
        yield {name: variable(rng, name, size)
               for name, size in variables_of(layer, shape).items()}


def images(net, batch):
    """Images, the same for everybody."""
    return np.random.default_rng(7).random((batch, *net.image), np.float32) * 2 - 1


def labels(net, batch):
    """Classes."""
    return (37 * np.arange(batch) % net.classes).astype(np.int32)


def write(net, batch, path):
    """All variables and images as raw floats."""
    with open(path, "wb") as file:
        for layer in random(net):
            for values in layer.values():
                file.write(values.tobytes())
        file.write(images(net, batch).tobytes())


def read(net, path):
    """The same read back, as random() gives them."""
    values, at = np.fromfile(path, np.float32), 0
    for layer, shape in weighted(net.layers, net.image):
        row = {}
        for name, size in variables_of(layer, shape).items():
            row[name] = values[at:at + prod(size)].reshape(size)
            at += prod(size)
        yield row


def folded(layer, values):
    """Weights and bias of a layer in inference, its batch norm within them."""
    if "biases" in values:
        return values["weights"], values["biases"]
    scale = values.get("gamma", 1) / np.sqrt(values["moving_variance"] + layer.norm.epsilon)
    return (values["weights"] * scale).astype(np.float32), (
        values["beta"] - values["moving_mean"] * scale).astype(np.float32)


if __name__ == "__main__":
    write(NETS[sys.argv[1]], int(sys.argv[2]), sys.argv[3])
