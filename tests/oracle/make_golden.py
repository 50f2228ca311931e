#!/usr/bin/env python3
"""Writes tests/data/: answers of the real TF-Slim (tf_slim 1.1 on TensorFlow 2.15, graph mode).

  make_golden.py                    regenerates every file of tests/data
  make_golden.py --only layers,vgg  some of: layers layers2 losses optimizers names images vgg
                                    batch_norm small_nets graphs
  make_golden.py --out DIR          writes elsewhere
  make_golden.py --check            regenerates elsewhere and compares with tests/data; exit 1 where
                                    an answer moved

README.md, beside this file, says what the files hold and how inputs follow from names.
"""
import argparse
import importlib
import inspect
import itertools
import os
import subprocess
import sys
import tempfile
import types

import numpy as np

import batch_norm_golden
import graphs_golden
import learning_golden
import metrics_golden
import preprocessing_golden
import small_nets_golden
from golden import (DATA, MARGIN, Record, activation, digest, extents, gradients_into, hashes,
                    kink_margin, name_records, pool_margin, quantised, read_records, tensorflow,
                    uniform, variable_value, write_records)


# ---- layers.bin ---------------------------------------------------------------------------------

def layer_record(tf, slim, record, x_shape, layer, w_shape=None, bias=False, act="none",
                 pooled=False):
    """Runs layer(x) with variables loaded from the record's id; retries names until it is safe."""
    base = record.attributes["id"]
    for suffix in ["", *"abcdefghijk"]:
        name = record.attributes["id"] = base + suffix
        tf.compat.v1.reset_default_graph()
        quant = record.attributes.get("quantised") == 1
        x_value = (quantised if quant else uniform)(name + "/x", x_shape)
        x = tf.compat.v1.placeholder(tf.float64, x_shape)
        y = layer(x)
        record.attributes["x_dims"] = extents(x_shape)
        with tf.compat.v1.Session() as s:
            wanted = {"dx": x}
            for key, leaf, shape in (("w", "weights", w_shape), ("b", "biases", None)):
                if (w_shape is None and key == "w") or (not bias and key == "b"):
                    continue
                v, = slim.get_variables_by_suffix(leaf)
                assert shape is None or v.shape.as_list() == list(shape), (v, shape)
                record.attributes[key + "_dims"] = extents(v.shape.as_list())
                v.load(uniform(f"{name}/{key}", v.shape.as_list()), s)
                wanted["d" + key] = v
            safe = np.inf
            if act != "none":
                op = next(o for o in s.graph.get_operations() if o.name.startswith("layer/")
                          and o.type.lower() == act)
                before, after = s.run([op.inputs[0], op.outputs[0]], {x: x_value})
                safe = kink_margin(before, act)
                safe = min(safe, pool_margin(after)) if pooled else safe
            if safe < MARGIN:
                continue
            gradients_into(tf, record, s, {x: x_value}, y, wanted)
        return record
    raise RuntimeError(f"{base}: no safe inputs found")


def conv_record(tf, slim, number, c, kind="conv2d"):
    """One convolution; c: kernel, stride, rate, padding, size, channels, outputs, batch, ..."""
    (kh, kw), (sh, sw), (h, w) = c["kernel"], c["stride"], c["size"]
    r = Record(kind, {
        "id": f"{kind}/{number:03d}", "batch": c["batch"], "height": h, "width": w,
        "channels": c["channels"], "outputs": c["outputs"], "kernel_h": kh, "kernel_w": kw,
        "stride_h": sh, "stride_w": sw, "rate": c["rate"], "padding": c["padding"],
        "activation": c["act"], "bias": int(c["bias"]), "stored": c.get("stored", "full")})

    def layer(x):
        y = slim.conv2d(x, c["outputs"], [kh, kw], stride=[sh, sw], rate=c["rate"],
                        padding=c["padding"], activation_fn=activation(tf, c["act"]),
                        biases_initializer=tf.zeros_initializer() if c["bias"] else None,
                        scope="layer")
        return slim.max_pool2d(y, [2, 2], scope="pool") if kind == "conv2d_pool" else y

    return layer_record(tf, slim, r, (c["batch"], h, w, c["channels"]), layer,
                        (kh, kw, c["channels"], c["outputs"]), c["bias"], c["act"],
                        pooled=kind == "conv2d_pool")


SIZES = [(7, 9), (5, 6), (13, 10), (8, 8), (9, 7), (6, 11), (15, 14), (20, 7), (7, 20), (20, 20)]
CHANNELS = [(3, 7), (1, 4), (5, 1), (16, 4), (3, 32), (5, 7), (32, 4), (1, 1), (16, 7), (5, 32)]
ACTIVATIONS = ["relu", "none", "relu", "sigmoid", "relu", "tanh", "relu", "elu", "none", "relu6",
               "relu", "softplus"]


def conv_grid():
    """Every kernel with every step and padding; the other properties take turns."""
    kernels = [(1, 1), (2, 2), (3, 3), (5, 5), (1, 7), (7, 1)]
    steps = [((1, 1), 1), ((2, 2), 1), ((3, 3), 1), ((4, 4), 1), ((2, 1), 1), ((1, 1), 2),
             ((1, 1), 3)]
    grid = [(k, s, r, p) for k, (s, r), p in itertools.product(kernels, steps, ("SAME", "VALID"))]
    grid += [((11, 11), (1, 1), 1, "SAME"), ((11, 11), (4, 4), 1, "VALID"),
             ((3, 3), (1, 1), 1, "SAME"), ((3, 3), (2, 2), 1, "SAME")]
    for n, (kernel, stride, rate, padding) in enumerate(grid):
        def fits(size, channels):
            window = [(k - 1) * rate + 1 for k in kernel]
            area = np.prod([-(-e // s) for e, s in zip(size, stride)])
            doubles = size[0] * size[1] * channels[0] + area * channels[1]
            doubles += np.prod(kernel) * np.prod(channels)
            return doubles < 1500 and (padding == "SAME" or all(
                e >= k for e, k in zip(size, window)))
        size, channels = next(
            (s, c) for i in range(10) for j in range(10)
            for s, c in [(SIZES[(n + j) % 10], CHANNELS[(n + n // 10 + i) % 10])] if fits(s, c))
        batch = (1, 2, 1, 3)[n % 4] if size[0] * size[1] < 90 else 1
        yield {"kernel": kernel, "stride": stride, "rate": rate, "padding": padding, "size": size,
               "channels": channels[0], "outputs": channels[1], "batch": batch,
               "act": ACTIVATIONS[n % 12], "bias": n % 5 != 3}


# channels, outputs, size, padding, batch, stored: 3x3 stride 1, what Winograd kernels take
WIDE = [(16, 32, (6, 6), "SAME", 1, "full"), (16, 32, (7, 9), "VALID", 1, "full"),
        (16, 32, (13, 13), "SAME", 2, "digest"), (16, 48, (10, 12), "VALID", 3, "digest"),
        (24, 40, (8, 11), "SAME", 2, "digest"), (24, 40, (11, 7), "VALID", 1, "digest"),
        (32, 64, (13, 10), "SAME", 1, "digest"), (32, 64, (9, 9), "VALID", 2, "digest"),
        (32, 32, (12, 12), "SAME", 3, "digest"), (32, 64, (6, 13), "VALID", 1, "digest")]
POOLED = [(3, 8, (8, 8), "SAME", 2, "full"), (3, 5, (7, 9), "SAME", 1, "full"),
          (16, 32, (6, 6), "SAME", 1, "full"), (16, 32, (12, 12), "SAME", 2, "digest"),
          (16, 32, (13, 10), "VALID", 1, "digest"), (32, 64, (8, 8), "SAME", 2, "digest"),
          (32, 64, (9, 11), "SAME", 1, "digest"), (32, 48, (13, 13), "VALID", 2, "digest")]


def wide(table, activations):
    for n, (c, k, size, padding, batch, stored) in enumerate(table):
        yield {"kernel": (3, 3), "stride": (1, 1), "rate": 1, "padding": padding, "size": size,
               "channels": c, "outputs": k, "batch": batch, "stored": stored,
               "act": activations[n % len(activations)], "bias": n % 4 != 3}


def fully_connected_records(tf, slim):
    shapes = [((1, 5), 3), ((3, 17), 8), ((2, 64), 33), ((5, 3), 1), ((2, 3, 7), 5),
              ((1, 9, 4), 6), ((2, 3, 4, 5), 3), ((1, 2, 2, 16), 10), ((4, 31), 16), ((7, 8), 7)]
    for n, (shape, outputs) in enumerate(shapes):
        act, bias = ACTIVATIONS[(n + n // 5) % 12], n % 4 != 3
        r = Record("fully_connected", {"id": f"fully_connected/{n:03d}", "outputs": outputs,
                                       "activation": act, "bias": int(bias), "stored": "full"})
        yield layer_record(tf, slim, r, shape, lambda x: slim.fully_connected(
            x, outputs, activation_fn=activation(tf, act), scope="layer",
            biases_initializer=tf.zeros_initializer() if bias else None),
            (shape[-1], outputs), bias, act)


def pool_records(tf, slim):
    grid = itertools.product((1, 2, 3, (3, 2)), (1, 2, 3, (2, 1)), ("SAME", "VALID"))
    for n, (kernel, stride, padding) in enumerate(grid):
        (kh, kw), (sh, sw) = (v if isinstance(v, tuple) else (v, v) for v in (kernel, stride))
        h, w = ((7, 9), (5, 6), (8, 8), (9, 7), (4, 5))[n % 5]
        for kind, quants in (("max_pool2d", (0, 1)), ("avg_pool2d", (0,))):
            for quant in quants:
                r = Record(kind, {
                    "id": f"{kind}/{n:03d}{'q' if quant else ''}", "batch": 1 + n % 2, "height": h,
                    "width": w, "channels": (3, 1, 4)[n % 3], "kernel_h": kh, "kernel_w": kw,
                    "stride_h": sh, "stride_w": sw, "padding": padding, "quantised": quant,
                    "stored": "full"})
                yield layer_record(tf, slim, r, (1 + n % 2, h, w, (3, 1, 4)[n % 3]),
                                   lambda x: getattr(slim, kind)(x, [kh, kw], stride=[sh, sw],
                                                                 padding=padding, scope="layer"))


def simple_records(tf, slim):
    """bias_add, flatten, dropout (identities) and softmax."""
    for n, (shape, act) in enumerate([((3, 5), "none"), ((2, 3, 4, 7), "none"), ((4, 9), "relu"),
                                      ((1, 5, 6, 3), "tanh")]):
        r = Record("bias_add", {"id": f"bias_add/{n:03d}", "activation": act, "bias": 1,
                                "stored": "full"})
        yield layer_record(tf, slim, r, shape, lambda x: slim.bias_add(
            x, activation_fn=activation(tf, act), scope="layer"), None, True, act)
    for n, shape in enumerate([(2, 3, 4, 5), (3, 7), (2, 3, 4), (5,)]):
        r = Record("flatten", {"id": f"flatten/{n:03d}", "stored": "full"})
        yield layer_record(tf, slim, r, shape, slim.flatten)
    for n, (keep, training) in enumerate([("1.0", 1), ("0.5", 0)]):
        r = Record("dropout", {"id": f"dropout/{n:03d}", "keep_prob": keep, "training": training,
                               "stored": "full"})
        yield layer_record(tf, slim, r, (2, 3, 4, 5), lambda x: slim.dropout(
            x, keep_prob=float(keep), is_training=bool(training)))
    for n, (shape, scale) in enumerate([((2, 5), 1), ((3, 10), 20), ((1, 33), 500),
                                        ((2, 3, 4), 3), ((1, 2, 3, 7), 5), ((4, 1), 1)]):
        r = Record("softmax", {"id": f"softmax/{n:03d}", "x_scale": scale, "stored": "full"})
        yield layer_record(tf, slim, r, shape, lambda x: slim.softmax(x * scale))


def loss_records(tf, slim):
    shapes = [(4, 5, 1), (1, 2, 1), (7, 10, 5), (3, 17, 30)]
    vectors = ("1.0", "0.5", "0.0", "vector")
    sparse = [(s, 0.0, w) for s, w in itertools.product(shapes, vectors)]
    dense = [(s, e, w) for s, e, w in itertools.product(shapes, (0.0, 0.1), vectors)]
    for kind, cases in (("softmax_cross_entropy", dense), ("sparse_softmax_cross_entropy", sparse)):
        for n, ((rows, classes, scale), smoothing, weights) in enumerate(cases):
            name = f"{kind}/{n:03d}"
            labels = (hashes(name + "/labels", 0, rows) % np.uint64(classes)).astype("int64")
            choice = (hashes(name + "/weights", 0, rows) % np.uint64(4)).astype("int64")
            w = np.array([0, 0.5, 1, 2])[choice] if weights == "vector" else np.float64(weights)
            tf.compat.v1.reset_default_graph()
            logits = tf.constant(uniform(name + "/logits", (rows, classes)) * scale)
            if kind.startswith("sparse"):
                loss = slim.losses.sparse_softmax_cross_entropy(logits, tf.constant(labels), w)
            else:
                loss = slim.losses.softmax_cross_entropy(
                    logits, tf.one_hot(labels, classes, dtype=tf.float64), w, smoothing)
            gradient, = tf.compat.v1.gradients(loss, [logits])
            with tf.compat.v1.Session() as s:
                loss, gradient = s.run([loss, gradient])
            yield Record(kind, {
                "id": name, "rows": rows, "classes": classes, "logits_scale": scale,
                "label_smoothing": smoothing, "weights": weights, "stored": "full"},
                {"labels": labels, "weights": w, "loss": loss, "dlogits": gradient})


def regularizer_records(tf, slim):
    r = slim.regularizers
    kinds = {"l1": lambda a, b: r.l1_regularizer(a), "l2": lambda a, b: r.l2_regularizer(b),
             "l1_l2": lambda a, b: r.l1_l2_regularizer(a, b),
             "sum": lambda a, b: r.sum_regularizer([r.l1_regularizer(a), r.l2_regularizer(b)])}
    cases = itertools.product(kinds, ((0.5, 0.25), (0.0005, 0.0004)), ((3, 3, 2, 4), (7, 5)))
    for n, (kind, (l1, l2), shape) in enumerate(cases):
        name = f"regularizer/{n:03d}"
        tf.compat.v1.reset_default_graph()
        w = tf.constant(quantised(name + "/w", shape) if n % 2 else uniform(name + "/w", shape))
        value = kinds[kind](l1, l2)(w)
        with tf.compat.v1.Session() as s:
            value, gradient = s.run([value, tf.compat.v1.gradients(value, [w])[0]])
        yield Record("regularizer", {
            "id": name, "regularizer": kind, "scale_l1": l1, "scale_l2": l2,
            "w_dims": extents(shape), "quantised": n % 2, "stored": "full"},
            {"value": value, "dw": gradient})


def activation_records(tf):
    x = [-1000, -100, -50, -20, -10, -6, -2.5, -1, -0.5, -2.0 ** -10, -1e-6, 0, 1e-6, 2.0 ** -10,
         0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 5.5, 5.75, 6, 6.25, 7, 10, 20, 50, 100, 1000]
    x = np.array([np.float32(v) for v in x], "float64")
    for name in ("relu", "relu6", "elu", "sigmoid", "tanh", "softplus", "softsign", "selu",
                 "leaky_relu"):
        tf.compat.v1.reset_default_graph()
        t = tf.constant(x)
        y = activation(tf, name)(t)
        with tf.compat.v1.Session() as s:
            y, dx = s.run([y, tf.compat.v1.gradients(y, [t])[0]])
        yield Record("activation", {"id": f"activation/{name}", "activation": name,
                                    "stored": "full"}, {"x": x, "y": y, "dx": dx})


def make_layers(folder):
    tf, slim = tensorflow()
    names = ["slim", "conv2d/000/x", "projection", "samples/logits", ""]
    records = [Record("uniform", {"id": n or "empty", "stored": "full"},
                      {"values": uniform(n, (16,)), "quantised": quantised(n, (16,)),
                       "digest": digest(n, uniform(n, (100,)))}) for n in names]
    cases = list(conv_grid()) + list(wide(WIDE, ["relu", "none"]))
    records += [conv_record(tf, slim, n, c) for n, c in enumerate(cases)]
    records += [conv_record(tf, slim, n, c, "conv2d_pool")
                for n, c in enumerate(wide(POOLED, ["relu"]))]
    for part in (fully_connected_records, pool_records, simple_records, loss_records,
                 regularizer_records):
        records += part(tf, slim)
    records += activation_records(tf)
    write_records(os.path.join(folder, "layers.bin"), records)


# ---- losses.bin ---------------------------------------------------------------------------------

def double_losses(tf, slim):
    """tf_slim's losses with float64 where they say float32, so that answers have its digits."""
    module = importlib.import_module("tf_slim.losses.loss_ops")
    arrays = module.array_ops

    class Arrays:
        ones = staticmethod(lambda shape: arrays.ones(shape, tf.float64))
        where = staticmethod(lambda mask, a, b, name=None: arrays.where(
            mask, tf.cast(a, tf.float64), b, name))

        def __getattr__(self, name):
            return getattr(arrays, name)

    module.array_ops = Arrays()
    module.dtypes = types.SimpleNamespace(float32=tf.float64)
    return slim.losses


LOSS_SHAPES = [(5,), (4, 3), (3, 2, 4), (2, 3, 2, 3)]
# p = offset + scale * uniform(id/p), y likewise; `labels` says what becomes of y.
LOSS_KINDS = {
    "absolute_difference": {"p_scale": 1, "p_offset": 0, "labels": "real"},
    "mean_squared_error": {"p_scale": 1, "p_offset": 0, "labels": "real"},
    "log_loss": {"p_scale": 0.49, "p_offset": 0.5, "labels": "probability"},
    "sigmoid_cross_entropy": {"p_scale": 5, "p_offset": 0, "labels": "probability"},
    "hinge_loss": {"p_scale": 2, "p_offset": 0, "labels": "binary"},
    "cosine_distance": {"p_scale": 1, "p_offset": 0, "labels": "real"},
    "mean_pairwise_squared_error": {"p_scale": 1, "p_offset": 0, "labels": "real"},
    "softmax_cross_entropy": {"p_scale": 4, "p_offset": 0, "labels": "distribution"},
    "sparse_softmax_cross_entropy": {"p_scale": 4, "p_offset": 0, "labels": "classes"},
}


def loss_labels(kind, name, shape):
    u = uniform(name + "/y", shape[:1] if kind == "classes" else shape)
    if kind == "distribution":
        return (u + 1.1) / (u + 1.1).sum(-1, keepdims=True)
    return {"real": u, "probability": (u + 1) / 2, "binary": (u > 0).astype("float64"),
            "classes": np.floor((u + 1) / 2 * shape[-1])}[kind]


def loss_weights(losses, by_example):
    """Names and shapes of weights for losses of a shape; () is a number."""
    yield from ((w, ()) for w in ("1.0", "0.5", "0.0"))
    prefixes = [losses[:r] for r in range(1, 2 if by_example else len(losses) + 1)]
    yield from (("tensor", p) for p in prefixes)
    if not by_example:
        yield from (("tensor", p + (1,)) for p in prefixes[:2])
    yield "zeros", prefixes[-1]


def loss_weight_values(name, choice, shape):
    if choice == "tensor":
        z = hashes(name + "/w", 0, int(np.prod(shape))) % np.uint64(4)
        return np.array([0, 0.5, 1, 2.25])[z.astype("int64")].reshape(shape)
    return np.zeros(shape) if choice == "zeros" else np.float64(choice)


def loss_grid():
    """kind, shape, the loss's own arguments, weights, shape of the weights."""
    options = {"log_loss": [{}, {"epsilon": 1e-3}],
               "sigmoid_cross_entropy": [{}, {"label_smoothing": 0.2}],
               "softmax_cross_entropy": [{}, {"label_smoothing": 0.2}]}
    for kind in LOSS_KINDS:
        for shape in ([(4, 5)] if "softmax" in kind else LOSS_SHAPES):
            if kind == "cosine_distance":
                arguments = [{"axis": a} for a in range(len(shape)) if len(shape) > 1]
            else:
                arguments = options.get(kind, [{}])
            for given in arguments:
                reduced = shape[:1] if "softmax" in kind else shape
                if kind == "cosine_distance":
                    reduced = shape[:given["axis"]] + shape[given["axis"] + 1:]
                for weights in loss_weights(reduced, kind == "mean_pairwise_squared_error"):
                    if weights[1] == () or given.get("axis") != 0:
                        yield (kind, shape, given, *weights)


def loss_of(tf, losses, kind, p, y, w, given):
    """The loss, and hinge's elements."""
    if kind == "hinge_loss":
        elements = losses.hinge_loss(p, y)
        return losses.compute_weighted_loss(elements, w), {"losses": elements}
    if kind == "sparse_softmax_cross_entropy":
        y = tf.cast(y, tf.int32)
    return getattr(losses, kind)(p, y, weights=w, **given), {}


def make_losses(folder):
    tf, slim = tensorflow()
    losses, records = double_losses(tf, slim), []
    for n, (kind, shape, given, choice, w_shape) in enumerate(loss_grid()):
        name, c = f"{kind}/{n:03d}", LOSS_KINDS[kind]
        tf.compat.v1.reset_default_graph()
        p = tf.constant(c["p_offset"] + c["p_scale"] * uniform(name + "/p", shape))
        y = tf.constant(loss_labels(c["labels"], name, shape))
        w = tf.constant(loss_weight_values(name, choice, w_shape))
        loss, answers = loss_of(tf, losses, kind, p, y, w, given)
        gradients = tf.compat.v1.gradients(loss, [p, y, w])
        answers.update({"loss": loss, "w": w})
        answers.update({k: g for k, g in zip(("dp", "dy", "dw"), gradients) if g is not None})
        assert ("dy" in answers) == ("softmax" not in kind), kind
        with tf.compat.v1.Session() as s:
            answers = s.run(answers)
        records.append(Record(kind, {"id": name, "dims": extents(shape), **c, **given,
                                     "weights": choice, "w_dims": extents(w_shape),
                                     "stored": "full"}, answers))
    write_records(os.path.join(folder, "losses.bin"), records)


# ---- layers2.bin --------------------------------------------------------------------------------

def variables_record(tf, slim, record, x_shape, layer, act="none"):
    """As layer_record, for any variables: each is loaded with uniform(<id>/<leaf>), and its shape
    and gradient are kept under its leaf."""
    base = record.attributes["id"]
    for suffix in ["", *"abcdefghijk"]:
        name = record.attributes["id"] = base + suffix
        tf.compat.v1.reset_default_graph()
        x_value = uniform(name + "/x", x_shape)
        x = tf.compat.v1.placeholder(tf.float64, x_shape)
        y = layer(x)
        record.attributes["x_dims"] = extents(x_shape)
        record.attributes["y_dims"] = extents(y.shape.as_list())
        with tf.compat.v1.Session() as s:
            wanted = {"dx": x}
            for v in slim.get_model_variables():
                leaf, dims = v.op.name.split("/")[-1], v.shape.as_list()
                record.attributes[leaf + "_dims"] = extents(dims)
                v.load(uniform(f"{name}/{leaf}", dims), s)
                wanted[leaf] = v
            if act == "relu":
                op = next(o for o in s.graph.get_operations() if o.type == "Relu")
                before = s.run(op.inputs[0], {x: x_value})
                # Pixels that no window reaches are exactly zero in any precision.
                if kink_margin(before[before != 0], act) < MARGIN:
                    continue
            gradients_into(tf, record, s, {x: x_value}, y, wanted)
        return record
    raise RuntimeError(f"{base}: no safe inputs found")


ACTIVATIONS2 = ["relu", "none", "sigmoid", "relu", "elu"]


def windows2(rates):
    """Kernels, strides, rates and paddings; sizes, channels, batches, activations take turns."""
    steps = [((1, 1), 1), ((2, 2), 1), ((3, 3), 1)] + [((1, 1), r) for r in rates]
    grid = itertools.product(((1, 1), (3, 3), (2, 3), (5, 2)), steps, ("SAME", "VALID"))
    for n, (kernel, (stride, rate), padding) in enumerate(grid):
        yield n, {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": stride[0],
                  "stride_w": stride[1], "rate": rate, "padding": padding, "batch": 1 + n % 2,
                  "height": (13, 14, 15)[n % 3], "width": (10, 7, 9, 8)[n % 4],
                  "channels": (3, 1, 5, 2)[n % 4], "activation": ACTIVATIONS2[n % 5],
                  "bias": int(n % 7 != 3), "stored": "full"}


def window_arguments(tf, c):
    return {"stride": [c["stride_h"], c["stride_w"]], "padding": c["padding"], "scope": "layer",
            "activation_fn": activation(tf, c["activation"]),
            "biases_initializer": tf.zeros_initializer() if c["bias"] else None}


def window_record(tf, slim, kind, n, c, layer):
    if c["height"] * c["width"] * c["channels"] > 500:
        c["stored"] = "digest"
    r = Record(kind, {"id": f"{kind}/{n:03d}", **c})
    shape = (c["batch"], c["height"], c["width"], c["channels"])
    return variables_record(tf, slim, r, shape, layer, c["activation"])


def separable_records(tf, slim):
    """TensorFlow's depthwise kernel takes equal strides only; every third case is depthwise only
    (outputs 0)."""
    for n, c in windows2((2, 3)):
        c["multiplier"], c["outputs"] = 1 + n % 3, 0 if n % 3 == 2 else 1 + n % 5
        yield window_record(tf, slim, "separable_conv2d", n, c, lambda x: slim.separable_conv2d(
            x, c["outputs"] or None, [c["kernel_h"], c["kernel_w"]], c["multiplier"],
            rate=c["rate"], **window_arguments(tf, c)))


def in_plane_records(tf, slim):
    for n, c in windows2(()):
        yield window_record(tf, slim, "conv2d_in_plane", n, c, lambda x: slim.conv2d_in_plane(
            x, [c["kernel_h"], c["kernel_w"]], **window_arguments(tf, c)))


def transpose_records(tf, slim):
    cases = [*windows2(())]
    cases += [(len(cases) + n, {**c, "stride_h": 2, "stride_w": 3, "kernel_h": 4})
              for n, c in cases[:4]]
    for n, c in cases:
        c["height"], c["width"], c["outputs"] = 3 + n % 3, 4 + n % 4, 1 + n % 5
        yield window_record(tf, slim, "conv2d_transpose", n, c, lambda x: slim.conv2d_transpose(
            x, c["outputs"], [c["kernel_h"], c["kernel_w"]], **window_arguments(tf, c)))


def norm_records(tf, slim):
    cases = [((4, 7), 0), ((4, 7), 1), ((2, 3, 5), 1), ((2, 3, 4, 19), 3), ((2, 3, 4, 19), 2),
             ((1, 5, 4, 3), 1), ((3, 2, 3, 4), 0)]
    for (n, (shape, axis)), epsilon in itertools.product(enumerate(cases), ("1e-07", "0.5")):
        r = Record("unit_norm", {"id": f"unit_norm/{n:03d}/{epsilon}", "dim": axis,
                                 "epsilon": epsilon, "stored": "full"})
        yield variables_record(tf, slim, r, shape, lambda x: slim.unit_norm(
            x, axis, epsilon=float(epsilon)))


def one_hot_records(tf, slim):
    """Of labels -1, ..., classes: the first and the last are no classes."""
    for n, (classes, on, off) in enumerate([(5, 1.0, 0.0), (1, 1.0, 0.0), (7, 0.9, -0.25)]):
        tf.compat.v1.reset_default_graph()
        y = slim.one_hot_encoding(tf.range(-1, classes + 1), classes, on, off)
        with tf.compat.v1.Session() as s:
            yield Record("one_hot_encoding", {
                "id": f"one_hot_encoding/{n:03d}", "precision": "float32", "classes": classes,
                "on": on, "off": off, "stored": "full"}, {"y": s.run(y)})


LRN = [((2, 3, 2, 19), 5, 1.0, 1.0, 0.5), ((1, 4, 3, 8), 4, 1.0, 0.001 / 9, 0.75),
       ((1, 2, 3, 3), 5, 2.0, 0.5, 0.75), ((1, 3, 3, 33), 1, 1.0, 0.3, 1.3)]


def response_records(tf):
    """TensorFlow computes it in float32 only."""
    for n, (shape, radius, bias, alpha, beta) in enumerate(LRN):
        name = f"local_response_normalization/{n:03d}"
        tf.compat.v1.reset_default_graph()
        x = tf.constant(uniform(name + "/x", shape).astype("float32"))
        y = tf.nn.local_response_normalization(x, radius, bias, alpha, beta)
        g = tf.constant(uniform(name + "/g", shape).astype("float32"))
        with tf.compat.v1.Session() as s:
            y, dx = s.run([y, tf.compat.v1.gradients(y, [x], [g])[0]])
        yield Record("local_response_normalization", {
            "id": name, "precision": "float32", "number": n, "x_dims": extents(shape),
            "depth_radius": radius, "bias": bias, "alpha": alpha, "beta": beta, "stored": "full"},
            {"y": y, "dx": dx})


def make_layers2(folder):
    tf, slim = tensorflow()
    records = []
    for part in (separable_records, in_plane_records, transpose_records, norm_records,
                 one_hot_records):
        records += part(tf, slim)
    records += response_records(tf)
    write_records(os.path.join(folder, "layers2.bin"), records)


# ---- optimizers.bin -----------------------------------------------------------------------------

OPTIMIZERS = {
    "gradient_descent": ("GradientDescentOptimizer", {}, {"learning_rate": 0.3}),
    "momentum": ("MomentumOptimizer", {}, {"learning_rate": 0.1, "momentum": 0.9}),
    "nesterov": ("MomentumOptimizer", {"use_nesterov": True},
                 {"learning_rate": 0.1, "momentum": 0.8}),
    "adam": ("AdamOptimizer", {}, {"learning_rate": 0.01}),
    "rmsprop": ("RMSPropOptimizer", {}, {"learning_rate": 0.01}),
    "rmsprop_momentum": ("RMSPropOptimizer", {}, {"learning_rate": 0.01, "decay": 0.8,
                                                  "momentum": 0.7}),
    "adagrad": ("AdagradOptimizer", {}, {"learning_rate": 0.1}),
    "adadelta": ("AdadeltaOptimizer", {}, {"learning_rate": 0.5}),
    "ftrl": ("FtrlOptimizer", {}, {"learning_rate": 0.1}),
    "rmsprop_centered": ("RMSPropOptimizer", {"centered": True},
                         {"learning_rate": 0.01, "decay": 0.8, "momentum": 0.5}),
    "proximal_gradient_descent": ("ProximalGradientDescentOptimizer", {}, {
        "learning_rate": 0.3, "l1_regularization_strength": 0.02,
        "l2_regularization_strength": 0.1}),
    "proximal_adagrad": ("ProximalAdagradOptimizer", {}, {
        "learning_rate": 0.1, "initial_accumulator_value": 0.2,
        "l1_regularization_strength": 0.02, "l2_regularization_strength": 0.1}),
    "ftrl_all": ("FtrlOptimizer", {}, {
        "learning_rate": 0.1, "learning_rate_power": -0.3, "initial_accumulator_value": 0.2,
        "l1_regularization_strength": 0.2, "l2_regularization_strength": 0.01,
        "l2_shrinkage_regularization_strength": 0.05, "beta": 0.1}),
    "ftrl_l1_l2": ("FtrlOptimizer", {}, {"learning_rate": 0.1, "l1_regularization_strength": 0.2,
                                         "l2_regularization_strength": 0.1}),
}


# TensorFlow's own fail with float64 variables, or hold to 1e-9 there: its reciprocal square root of
# doubles is an approximation on some processors (those of the other records were made on one where
# it is not).
FLOAT32_ALONE = {"proximal_gradient_descent", "proximal_adagrad", "rmsprop_centered"}


def optimizer_records(tf):
    """Five steps from uniform(id/w); step k has gradients uniform(id/g<k>), every seventh zero."""
    tf1, steps, size = tf.compat.v1, 5, 40
    for (name, (kind, switches, numbers)), dtype in itertools.product(
            OPTIMIZERS.items(), ("float32", "float64")):
        if dtype == "float64" and name in FLOAT32_ALONE:
            continue
        tf1.reset_default_graph()
        g = tf1.placeholder(dtype, (size,))
        optimizer = getattr(tf1.train, kind)(**switches, **numbers)
        w = tf1.get_variable("w", initializer=uniform(f"{name}/w", (size,)).astype(dtype),
                             use_resource=True)
        step = optimizer.apply_gradients([(g, w)])
        moved = []
        with tf1.Session() as s:
            s.run(tf1.global_variables_initializer())
            for k in range(steps):
                gradient = uniform(f"{name}/g{k}", (size,)).astype(dtype)
                gradient[::7] = 0
                s.run(step, {g: gradient})
                moved.append(s.run(w))
        yield Record("optimizer", {"id": name, "dtype": dtype, "steps": steps, **numbers},
                     {"w": np.array(moved)})


def make_optimizers(folder):
    write_records(os.path.join(folder, "optimizers.bin"), list(optimizer_records(tensorflow()[0])))


# ---- net_names.bin and vgg_a.bin ----------------------------------------------------------------

# The module in tf_slim.nets, its arg_scope, and the size of its images.
NETS = {"alexnet_v2": ("alexnet", "alexnet_v2_arg_scope", 224),
        "vgg_a": ("vgg", "vgg_arg_scope", 224), "vgg_16": ("vgg", "vgg_arg_scope", 224),
        "vgg_19": ("vgg", "vgg_arg_scope", 224),
        "overfeat": ("overfeat", "overfeat_arg_scope", 231),
        "inception_v1": ("inception_v1", "inception_v1_arg_scope", 224),
        **{f"resnet_v1_{depth}": ("resnet_v1", "resnet_arg_scope", 224)
           for depth in (50, 101, 152, 200)}}


def build_net(tf, net, batch, training, dtype, classes=1000):
    import tf_slim as slim
    module, scope, size = NETS[net]
    nets = importlib.import_module("tf_slim.nets." + module)
    network = getattr(nets, net)
    takes = inspect.signature(network).parameters
    dropout = {"dropout_keep_prob": 1.0} if "dropout_keep_prob" in takes else {}
    tf.compat.v1.reset_default_graph()
    images = tf.compat.v1.placeholder(dtype, (batch, size, size, 3))
    with slim.arg_scope(getattr(nets, scope)()):
        logits, end_points = network(images, num_classes=classes, is_training=training, **dropout)
    return images, logits, end_points


def make_names(folder):
    tf, slim = tensorflow()
    records = []
    for net in NETS:
        _, _, end_points = build_net(tf, net, 2, False, "float32")
        records += name_records(tf, slim, net, end_points)
    write_records(os.path.join(folder, "net_names.bin"), records)


def vgg_run(tf, slim, precision, training, labels=(7, 423)):
    """Digests of every answer of one build of vgg_a."""
    dtype = precision.split("_")[0]
    images, logits, end_points = build_net(tf, "vgg_a", len(labels), training, dtype)
    out = {"logits": logits, **{f"end_points/{k}": t for k, t in end_points.items()}}
    losses = tf.compat.v1.losses
    loss = losses.sparse_softmax_cross_entropy(tf.constant(labels), logits)
    regularization = tf.add_n(losses.get_regularization_losses())
    out.update({"loss": loss, "regularization_loss": regularization,
                "total_loss": loss + regularization})
    if training:
        variables = tf.compat.v1.trainable_variables()
        grads = tf.compat.v1.gradients(loss + regularization, variables)
        out.update({f"gradients/{v.op.name}": g for v, g in zip(variables, grads)})
    with tf.compat.v1.Session() as s:
        for v in slim.get_model_variables():
            v.load(variable_value(v).astype(dtype), s)
        x = uniform("images", images.shape.as_list()).astype(dtype)
        values = s.run(out, {images: x})
        if precision == "float64" and not training:
            # The inputs too, so that readers can check theirs.
            values.update({f"variables/{v.op.name}": s.run(v) for v in slim.get_model_variables()})
            values["images"] = x
    for name, value in values.items():
        r = Record("digest", {"net": "vgg_a", "mode": "training" if training else "inference",
                              "precision": precision, "tensor": name,
                              "shape": extents(np.shape(value))}, {"digest": digest(name, value)})
        if np.ndim(value) == 0:
            r.arrays["value"] = np.float64(value)
        if name == "logits" and dtype == "float64":
            r.arrays["values"] = np.asarray(value)
        yield r


def make_vgg_part(folder, precision):
    tf, slim = tensorflow()
    records = [*vgg_run(tf, slim, precision, False), *vgg_run(tf, slim, precision, True)]
    write_records(os.path.join(folder, precision + ".part"), records)


def make_vgg(folder):
    """One process for each precision: oneDNN is switched on or off when TensorFlow loads."""
    records = [Record("net", {"net": "vgg_a", "batch": 2, "classes": 1000, "height": 224,
                              "width": 224, "channels": 3, "labels": "7x423",
                              "weight_decay": 0.0005})]
    with tempfile.TemporaryDirectory() as parts:
        for precision in ("float64", "float32", "float32_plain"):
            plain = ["--plain"] if precision.endswith("plain") else []
            subprocess.run([sys.executable, os.path.abspath(__file__), "--out", parts, "--part",
                            precision, *plain], check=True)
            records += read_records(os.path.join(parts, precision + ".part"))
    write_records(os.path.join(folder, "vgg_a.bin"), records)


# ---- images -------------------------------------------------------------------------------------

def picture(height, width):
    """A smooth picture with an edge: waves of the coordinates and a bright disc."""
    y, x = np.mgrid[0:height, 0:width].astype("float64")
    planes = [127 + 100 * np.sin(0.11 * x + 0.07 * y), 127 + 90 * np.cos(0.05 * x - 0.13 * y),
              (x * 5 + y * 3) % 256]
    disc = (x - width * 0.4) ** 2 + (y - height * 0.6) ** 2 < (min(height, width) / 4) ** 2
    return np.stack([np.where(disc, 250 - 40 * i, p) for i, p in enumerate(planes)],
                    2).astype("uint8")


def resized_size(tf, height, width, side):
    """_smallest_size_at_least of vgg_preprocessing.py (tensorflow/models, research/slim)."""
    h, w, s = (tf.cast(v, tf.float32) for v in (height, width, side))
    scale = s / (w if height > width else h)
    return [tf.cast(tf.math.rint(e * scale), tf.int32) for e in (h, w)]


def preprocess(tf, image, out_h, out_w, side, means):
    """preprocess_for_eval of the same file."""
    size = resized_size(tf, *image.shape[:2], side)
    resized = tf.compat.v1.image.resize_bilinear(image[None], tf.stack(size), align_corners=False)
    top, left = ((a - b) // 2 for a, b in zip(size, (out_h, out_w)))
    cropped = tf.slice(resized[0], tf.stack([top, left, 0]), [out_h, out_w, 3])
    return cropped - tf.constant(means, tf.float32)


def size_rows(tf, session):
    """Rows of height, width, side, new height, new width, many of them near a half."""
    z = hashes("resized_size", 0, 600)
    rows = []
    for n in range(200):
        h, w = (int(z[3 * n + k] % np.uint64(900)) + 20 for k in (0, 1))
        rows.append((h, w, (256, 224, 24, 255, 512, 33, 384, 299)[n % 8]))
    rows += [(2 * a, 2 * a + 2 * b + 1, a) for a in (3, 16, 128, 250) for b in (0, 1, 7, 31)]
    new = session.run([resized_size(tf, *r) for r in rows])
    return [[*r, int(a), int(b)] for r, (a, b) in zip(rows, new)]


def make_images(folder):
    tf, _ = tensorflow()
    tf.compat.v1.reset_default_graph()
    records = []
    with tf.compat.v1.Session() as s:
        files = {"small.png": tf.io.encode_png(picture(29, 41)),
                 "small.jpg": tf.io.encode_jpeg(picture(45, 30), quality=90)}
        for name, data in s.run(files).items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
            decoded = {"pixels": tf.io.decode_image(data, channels=3)}
            if name.endswith("jpg"):  # decode_image and the default trade accuracy for speed
                decoded = {"pixels": tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE"),
                           "pixels_fast": tf.io.decode_jpeg(data, 3)}
            decoded = s.run(decoded)
            records.append(Record("decode", {"id": f"decode/{name}", "image": name}, decoded))
            image = decoded["pixels"]
            for n, (side, h, w) in enumerate([(24, 20, 20), (29, 16, 24), (37, 33, 36)]):
                for key, means in (("vgg", (123.68, 116.779, 103.939)),
                                   ("models", (123.68, 116.78, 103.94))):
                    if key == "models" and n:
                        continue
                    y = s.run(preprocess(tf, image, h, w, side, means))
                    records.append(Record("preprocess", {
                        "id": f"preprocess/{name}/{n}/{key}", "image": name, "resize_side": side,
                        "height": h, "width": w}, {"means": np.float64(means), "y": y}))
        records.append(Record("resized_size", {"id": "resized_size"},
                              {"rows": np.float64(size_rows(tf, s))}))
    write_records(os.path.join(folder, "images.bin"), records)


# ---- check --------------------------------------------------------------------------------------

def distance(want, got):
    """Relative distance in the 2-norm (absolute where the answer is zero)."""
    if want.shape != got.shape:
        return np.inf
    norm = float(np.linalg.norm(want))
    return float(np.linalg.norm(want - got)) / (norm or 1.0)


def compare_file(want_path, got_path):
    """The failures between two record files, and the largest distance in each precision."""
    want, got = read_records(want_path), read_records(got_path)
    failures = [] if len(want) == len(got) else [f"{len(want)} records became {len(got)}"]
    worst = {}
    for a, b in zip(want, got):
        label = a.attributes.get("id") or " ".join(a.attributes.values())
        if a.attributes != b.attributes or list(a.arrays) != list(b.arrays):
            failures.append(f"{label}: attributes or arrays differ")
            continue
        single = a.attributes.get("precision", "float64") != "float64"
        for name in a.arrays:
            d = distance(a.arrays[name], b.arrays[name])
            worst[single] = max(worst.get(single, 0.0), d)
            # float32 on another processor sums in another order, and rectifiers and pools then flip
            if not d <= (0.1 if single else 1e-6):
                failures.append(f"{label}: {name} moved by {d:.2e}")
    return failures, {("float32" if k else "float64"): f"{v:.1e}" for k, v in worst.items()}


def check(folder):
    bad = 0
    for name in sorted(os.listdir(folder)):
        want, got = os.path.join(DATA, name), os.path.join(folder, name)
        if name.endswith(".bin"):
            failures, worst = compare_file(want, got)
            print(f"{name}: {len(failures)} moved, largest distance {worst}")
        else:
            same = open(want, "rb").read() == open(got, "rb").read()
            failures = [] if same else [f"{name}: bytes differ"]
        print("".join(f"  {f}\n" for f in failures), end="")
        bad += len(failures)
    return 1 if bad else 0


MAKERS = {"layers": make_layers, "layers2": make_layers2, "losses": make_losses,
          "optimizers": make_optimizers, "names": make_names, "images": make_images,
          "vgg": make_vgg, "batch_norm": batch_norm_golden.make,
          "small_nets": small_nets_golden.make, "graphs": graphs_golden.make,
          "learning": learning_golden.make,
          "metrics": metrics_golden.make,
          "preprocessing": preprocessing_golden.make}


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(MAKERS), metavar="PARTS")
    p.add_argument("--out", default=DATA)
    p.add_argument("--check", action="store_true")
    p.add_argument("--part", help=argparse.SUPPRESS)
    p.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.part:
        return make_vgg_part(o.out, o.part)
    with tempfile.TemporaryDirectory() as scratch:
        folder = scratch if o.check else o.out
        os.makedirs(folder, exist_ok=True)
        for name in o.only.split(","):
            MAKERS[name](folder)
        return check(folder) if o.check else 0


if __name__ == "__main__":
    sys.exit(main())
