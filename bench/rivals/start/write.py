#!/usr/bin/env python3
"""Writes LeNet's random weights as the file that a framework's users load.

    start/write.py FRAMEWORK FILE      in the framework's environment; slim needs NumPy alone
"""
import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import nets
import weights

NET = nets.NETS["lenet"]


def rows():
    """(name of the variable, its values)."""
    for (layer, _), row in zip(nets.weighted(NET.layers, NET.image), weights.random(NET)):
        for name, values in row.items():
            yield f"{layer.name}/{name}", values


def pytorch(path):
    """A state_dict."""
    import pytorch_worker
    import torch
    model = pytorch_worker.build(NET.layers, NET.image)
    pytorch_worker.assign(model, NET, weights.random(NET))
    torch.save(model.state_dict(), path)


def jax(path):
    """NumPy's own."""
    import numpy
    numpy.savez(path, *(values for _, values in rows()))


def tensorflow(path):
    """A checkpoint."""
    import tensorflow_worker
    tf, slim = tensorflow_worker.load()
    given = SimpleNamespace(net="lenet", batch=1, mode="forward")
    tensorflow_worker.tensors(tf, slim, given)
    with tf.compat.v1.Session() as session:
        tensorflow_worker.assign(tf, session, weights.random(NET))
        tf.compat.v1.train.Saver().save(session, path.removesuffix(".index"),
                                        write_meta_graph=False)


def slim(path):
    """safetensors: the size of a header in JSON, the header, the values."""
    header, data = {}, b""
    for name, values in rows():
        header[f"LeNet/{name}"] = {"dtype": "F32", "shape": values.shape,
                                   "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
