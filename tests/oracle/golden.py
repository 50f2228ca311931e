"""What every section of make_golden.py shares: inputs, records, files, TensorFlow.

README.md, beside this file, says what the files hold and how inputs follow from names.
"""
import importlib
import os
import struct
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0" if "--plain" in sys.argv else "1"
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(os.path.dirname(HERE), "data")
MAGIC = b"slim golden 1\n"
PROJECTIONS, SAMPLES, CHUNK = 8, 16, 1 << 22
# A pre-activation (or a lead over the next value in a pooling window) smaller than this could fall
# on the other side in float32: such a record gets another name, hence other inputs.
MARGIN = 2e-5


# ---- numbers that follow from names -------------------------------------------------------------

def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def hashes(name, first, last):
    """splitmix64 of the states h + (i + 1) * golden ratio for i in [first, last), as uint64."""
    with np.errstate(over="ignore"):
        i = np.arange(first + 1, last + 1, dtype=np.uint64)
        z = np.uint64(fnv1a64(name)) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name, shape):
    """Values in [-1, 1), multiples of 2^-23, exact in float32; returned as float64."""
    size, out = int(np.prod(shape)), []
    for first in range(0, size, CHUNK):
        z = hashes(name, first, min(size, first + CHUNK))
        out.append((z >> np.uint64(40)).astype("float64") * 2.0 ** -23 - 1)
    return np.concatenate(out).reshape(shape)


def quantised(name, shape):
    """uniform rounded down to multiples of 0.25, so that values repeat."""
    return np.floor(uniform(name, shape) * 4) / 4


def digest(name, tensor):
    """[2-norm, 8 projections, 16 samples] of a tensor, float64 throughout."""
    t = np.asarray(tensor).reshape(-1)
    norm, p = 0.0, np.zeros(PROJECTIONS)
    for first in range(0, t.size, CHUNK):
        part = t[first:first + CHUNK].astype("float64")
        z = hashes("projection", first, first + part.size)
        norm += float(part @ part)
        for j in range(PROJECTIONS):
            bit = (z >> np.uint64(j)) & np.uint64(1)
            p[j] += part @ (bit.astype("float64") * 2 - 1)
    indices = (hashes("samples/" + name, 0, SAMPLES) >> np.uint64(11)) % np.uint64(t.size)
    return np.concatenate([[np.sqrt(norm)], p, t[indices.astype("int64")].astype("float64")])


# ---- files --------------------------------------------------------------------------------------

class Record:
    """Attributes (no blanks in values) and float64 arrays."""

    def __init__(self, kind, attributes=(), arrays=()):
        self.attributes, self.arrays = {"kind": kind, **dict(attributes)}, dict(arrays)

    def store(self, name, values):
        """Stores an answer in full, or as its digest where the record says stored=digest."""
        if self.attributes.get("stored") == "digest":
            values = digest(f"{self.attributes['id']}/{name}", values)
        self.arrays[name] = np.asarray(values, "float64")


def extents(shape):
    return "x".join(str(d) for d in shape) or "scalar"


def write_records(path, records):
    with open(path, "wb") as f:
        f.write(MAGIC)
        for r in records:
            attributes = {**r.attributes, "arrays": len(r.arrays)}
            assert all(str(v) and not set(" \n") & set(str(v)) for v in attributes.values())
            f.write((" ".join(f"{k}={v}" for k, v in attributes.items()) + "\n").encode())
            for name, a in r.arrays.items():
                a = np.ascontiguousarray(a, "<f8") if np.ndim(a) else np.asarray(a, "<f8")
                f.write(struct.pack("<I", len(name)) + name.encode())
                f.write(struct.pack(f"<I{a.ndim}I", a.ndim, *a.shape) + a.tobytes())
    print(f"{path}: {len(records)} records, {os.path.getsize(path)} bytes", flush=True)


def read_records(path):
    with open(path, "rb") as f:
        assert f.readline() == MAGIC, path
        records = []
        while line := f.readline():
            attributes = dict(pair.split("=", 1) for pair in line.decode().split())
            r = Record(attributes["kind"], attributes)
            for _ in range(int(r.attributes.pop("arrays"))):
                name = f.read(struct.unpack("<I", f.read(4))[0]).decode()
                rank, = struct.unpack("<I", f.read(4))
                dims = struct.unpack(f"<{rank}I", f.read(4 * rank))
                data = f.read(8 * int(np.prod(dims)))
                r.arrays[name] = np.frombuffer(data, "<f8").reshape(dims)
            records.append(r)
    return records


# ---- TensorFlow ---------------------------------------------------------------------------------

def tensorflow():
    """TensorFlow in graph mode and tf_slim."""
    import tensorflow as tf
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    tf.compat.v1.disable_eager_execution()
    # TensorFlow 2.15 looks for this module under a path that tf_keras moved.
    sys.modules["tf_keras.legacy_tf_layers.normalization"] = importlib.import_module(
        "tf_keras.src.legacy_tf_layers.normalization")
    import tf_slim as slim
    # TF-Slim's fused batch norm of rank 2 asks for this, which TensorFlow 2.15 has elsewhere.
    slim.layers.utils.ops.Tensor = tf.Tensor
    return tf, slim


def activation(tf, name):
    leaky = lambda x: tf.nn.leaky_relu(x, 0.2)
    return {"none": None, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "elu": tf.nn.elu,
            "sigmoid": tf.nn.sigmoid, "tanh": tf.nn.tanh, "softplus": tf.nn.softplus,
            "softsign": tf.nn.softsign, "selu": tf.nn.selu, "leaky_relu": leaky}[name]


def kink_margin(pre, name):
    """The smallest distance of a pre-activation from a point where the slope jumps."""
    kinks = {"relu": (0,), "relu6": (0, 6)}.get(name, ())
    return min((float(np.min(np.abs(pre - k))) for k in kinks), default=np.inf)


def pool_margin(y):
    """The smallest lead of the largest over the second in the 2x2 windows that are not all zero."""
    n, h, w, c = y.shape
    y = y[:, :h // 2 * 2, :w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    y = np.sort(y.transpose(0, 1, 3, 5, 2, 4).reshape(-1, 4))
    y = y[y[:, 3] > 0]
    return float(np.min(y[:, 3] - y[:, 2], initial=np.inf))


def gradients_into(tf, record, session, feed, y, wanted):
    """Stores y and the gradients of sum(y * g), g = uniform(id + '/g')."""
    g = uniform(record.attributes["id"] + "/g", y.shape.as_list())
    grads = tf.compat.v1.gradients(tf.reduce_sum(y * tf.constant(g)), list(wanted.values()))
    values = session.run([y] + grads, feed)
    for name, value in zip(["y"] + list(wanted), values):
        record.store(name, value)


# ---- networks ------------------------------------------------------------------------------------

def variable_value(v, prefix=""):
    """The value of one variable, float32: He-scaled uniform weights, small biases."""
    shape = v.shape.as_list()
    scale = np.float32(np.sqrt(6.0 / np.prod(shape[:-1]))) if len(shape) > 1 else np.float32(0.1)
    return uniform(prefix + v.op.name, shape).astype("float32") * scale


def initializer(tf, v):
    """What a variable starts from, as its graph says: an initializer's name and its numbers."""
    value = tf.get_static_value(v.initial_value)
    if value is not None:
        assert np.all(value == value.flat[0]), v
        return {"initializer": "constant", "value": value.flat[0]}
    numbers = {}
    for op in v.graph.get_operations():
        if op.type == "Const" and op.name.startswith(v.op.name + "/Initializer/"):
            numbers[op.name.rsplit("/", 1)[1]] = tf.get_static_value(op.outputs[0])
    numbers.pop("shape")
    name = {("max", "min"): "uniform", ("mean", "stddev"): "truncated_normal"}
    return {"initializer": name[tuple(sorted(numbers))], **numbers}


def parameters(variables):
    return sum(int(np.prod(v.shape.as_list())) for v in variables)


def name_records(tf, slim, net, end_points):
    """The variables and end points of the net in the graph, and how many there are."""
    variables, trained = slim.get_model_variables(), slim.get_trainable_variables()
    names = {v.op.name for v in trained}
    for v in variables:
        yield Record("variable", {
            "net": net, "name": v.op.name, "shape": extents(v.shape.as_list()),
            "trainable": int(v.op.name in names), **initializer(tf, v)})
    for key, t in end_points.items():
        yield Record("end_point", {"net": net, "name": key, "shape": extents(t.shape.as_list())})
    yield Record("net", {
        "net": net, "variables": len(variables), "end_points": len(end_points),
        "trainable_variables": len(trained), "model_parameters": parameters(variables),
        "trainable_parameters": parameters(trained),
        "regularization_losses": len(tf.compat.v1.losses.get_regularization_losses())})


def graph_margin(session, feed):
    """The smallest distance of a rectifier or a 2x2 pool of the graph from its kink."""
    margins = {"Relu": lambda v: kink_margin(v, "relu"), "MaxPool": pool_margin}
    ops = [o for o in session.graph.get_operations() if o.type in margins
           and (o.type == "Relu" or o.get_attr("ksize") == [1, 2, 2, 1])]
    values = session.run([o.inputs[0] for o in ops], feed)
    return min((margins[o.type](v) for o, v in zip(ops, values)), default=np.inf)
