"""The section batch_norm of make_golden.py: slim.batch_norm alone and as a normalizer_fn."""
import itertools
import os

import numpy as np

from golden import (Record, activation, extents, kink_margin, tensorflow, uniform, write_records)

# Wider than elsewhere: dividing by a small deviation enlarges what float32 rounds.
MARGIN = 1e-4
DEFAULTS = {"decay": 0.999, "epsilon": 0.001, "center": 1, "scale": 0}
# Rank 2, 3 and 4; those with one element a channel have no variance.
SHAPES = [(5, 4), (7, 16), (1, 3), (2, 6, 5), (1, 1, 3), (2, 5, 4, 3), (1, 4, 4, 2), (3, 1, 1, 6),
          (2, 7, 7, 9), (1, 1, 1, 4)]
NUMBERS = [(0.999, 0.001), (0.9, 1e-5), (0.5, 0.1), (0.9997, 0.001), (0.997, 1e-5)]


# ---- inputs -------------------------------------------------------------------------------------

def value_of(record_id, leaf, shape):
    """The value of an input: gamma and the moving variance lie around 1, the others around 0."""
    values = uniform(f"{record_id}/{leaf}", shape)
    return 1 + 0.5 * values if leaf in ("gamma", "moving_variance") else values


def leaf_of(variable):
    leaf = variable.op.name.rsplit("/", 1)[1]
    return {"weights": "w"}.get(leaf, leaf)


def load(record, variables, session):
    for v in variables:
        shape, leaf = v.shape.as_list(), leaf_of(v)
        value = value_of(record.attributes["id"], leaf, shape)
        v.load(value.astype(v.dtype.as_numpy_dtype), session)
        if leaf == "w":
            record.attributes["w_dims"] = extents(shape)


# ---- one record ---------------------------------------------------------------------------------

def is_fused(record, rank):
    """Whether TF-Slim takes the fused kernel, whose variance is Bessel-corrected."""
    return record.attributes["precision"] == "float32" and rank != 3


def expected_moving(record, name, statistic):
    """A moving average after one update; TF keeps 1 - decay in float32, whatever the variable."""
    rate = float(np.float32(1 - record.attributes["decay"]))
    old = value_of(record.attributes["id"], name, statistic.shape)
    return old - (old - statistic) * rate


def check_moving(record, x, answers):
    """Holds TF's moving averages against their formulas; x is what was normalised."""
    x = x.reshape(-1, x.shape[-1]).astype("float64")
    count, a = len(x), record.attributes
    assert a["count"] == count, a
    variance = np.var(x, 0) * (count / max(count - 1, 1) if a["bessel"] else 1)
    for name, statistic in (("moving_mean", np.mean(x, 0)), ("moving_variance", variance)):
        tolerance = 1e-12 if a["precision"] == "float64" else 1e-6
        want = expected_moving(record, name, statistic)
        assert np.allclose(answers[name], want, tolerance, tolerance), (a, name, want)


def tensors_of(tf, record, x, y, variables):
    """y and the gradients of sum(y * g); under "normalised" what batch_norm was given."""
    g = tf.constant(uniform(record.attributes["id"] + "/g", y.shape.as_list()), y.dtype)
    wanted = {"dx": x, **{"d" + leaf_of(v): v for v in variables if v.trainable}}
    wanted = {name: wanted[name] for name in ("dx", "dw", "dgamma", "dbeta") if name in wanted}
    grads = tf.compat.v1.gradients(tf.reduce_sum(y * g), list(wanted.values()))
    linear = next((o.outputs[0] for o in y.graph.get_operations()
                   if o.type in ("Conv2D", "MatMul") and o.name.startswith("layer/")), x)
    return {"y": y, "normalised": linear, **dict(zip(wanted, grads))}


def run(tf, slim, record, x_shape, layer, name):
    """The answers with the inputs of this name, or None where one lies near a kink."""
    a = record.attributes
    a["id"] = name
    tf.compat.v1.reset_default_graph()
    x = tf.compat.v1.placeholder(a["precision"], x_shape)
    y = layer(x)
    variables = slim.get_model_variables()
    with tf.compat.v1.Session() as s:
        load(record, variables, s)
        feed = {x: uniform(name + "/x", x_shape)}
        if a["activation"] == "relu":
            relu, = (o for o in s.graph.get_operations() if o.type == "Relu")
            if kink_margin(s.run(relu.inputs[0], feed), "relu") < MARGIN:
                return None
        updates = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
        # Two for each layer in training, unless they are part of the output.
        assert len(updates) == (2 if a["training"] and a["updates"] == "collection" else 0)
        answers, _ = s.run((tensors_of(tf, record, x, y, variables), updates), feed)
        moved = {leaf_of(v): s.run(v) for v in variables if not v.trainable}
    if a["training"]:
        answers.update(moved)
        check_moving(record, answers["normalised"], answers)
    del answers["normalised"]
    return answers


def finished(tf, slim, record, x_shape, layer):
    """The record with its answers; other names are tried until no input lies near a kink."""
    base = record.attributes["id"]
    record.attributes["x_dims"] = extents(x_shape)
    for suffix in ["", *"abcdefghijk"]:
        answers = run(tf, slim, record, x_shape, layer, base + suffix)
        if answers is not None:
            for name, value in answers.items():
                record.store(name, value)
            return record
    raise RuntimeError(f"{base}: no safe inputs found")


def attributes_of(kind, number, precision, options, count, rank, **more):
    """Attributes that all kinds have; count is that of the elements a channel."""
    r = Record(kind, {"id": f"{kind}/{precision}/{number:03d}", "precision": precision, **more,
                      **DEFAULTS, "activation": "none", "training": 1, "updates": "collection",
                      "params": "all", **options, "count": count, "stored": "full"})
    r.attributes["fused"] = int(is_fused(r, rank))
    r.attributes["bessel"] = r.attributes["fused"]
    return r


def arguments_of(tf, record):
    """The arguments of slim.batch_norm but for its activation."""
    a = record.attributes
    out = {"decay": a["decay"], "epsilon": a["epsilon"], "center": bool(a["center"]),
           "scale": bool(a["scale"]), "is_training": bool(a["training"])}
    if a["updates"] == "inline":
        out["updates_collections"] = None
    # Without a request rank 2 and 4 are fused, which float64 has no kernel for.
    return out if a["precision"] == "float32" else {**out, "fused": False}


# ---- batch_norm alone ---------------------------------------------------------------------------

def alone_cases():
    """Every shape, training and not, with and without beta and gamma; the rest takes turns."""
    grid = itertools.product(SHAPES, (1, 0), ((1, 0), (1, 1), (0, 0), (0, 1)))
    for n, (shape, training, (center, scale)) in enumerate(grid):
        decay, epsilon = NUMBERS[n % len(NUMBERS)]
        # Without beta an input of one element a channel becomes 0, the kink itself.
        flat = training and np.prod(shape[:-1]) == 1 and not center
        yield shape, {"training": training, "center": center, "scale": scale, "decay": decay,
                      "epsilon": epsilon, "activation": "none" if n % 3 or flat else "relu"}
    for shape in ((5, 4), (2, 5, 4, 3)):
        yield shape, {"scale": 1, "updates": "inline", "decay": 0.9}


def alone_record(tf, slim, precision, number, shape, options):
    r = attributes_of("batch_norm", number, precision, options, int(np.prod(shape[:-1])),
                      len(shape))
    act = activation(tf, r.attributes["activation"])
    return finished(tf, slim, r, shape, lambda x: slim.batch_norm(
        x, activation_fn=act, scope="layer", **arguments_of(tf, r)))


# ---- as a normalizer_fn -------------------------------------------------------------------------

# size, channels, outputs, kernel, stride, padding, batch, and what batch_norm is given
CONVOLUTIONS = [
    ((6, 6), 3, 5, (3, 3), (1, 1), "SAME", 2, {"activation": "relu"}),
    ((7, 9), 2, 4, (3, 3), (2, 2), "SAME", 1, {"activation": "relu", "scale": 1, "decay": 0.9}),
    ((7, 8), 3, 6, (3, 2), (1, 1), "VALID", 2, {"epsilon": 1e-5, "scale": 1}),
    ((5, 6), 5, 8, (1, 1), (1, 1), "SAME", 3, {"activation": "relu", "decay": 0.9997}),
    ((9, 7), 3, 4, (5, 5), (2, 1), "VALID", 2, {"activation": "relu", "epsilon": 0.1}),
    ((8, 8), 4, 3, (1, 1), (2, 2), "SAME", 2, {"scale": 1, "decay": 0.997, "epsilon": 1e-5}),
    ((6, 5), 3, 4, (3, 3), (1, 1), "SAME", 2, {"center": 0, "scale": 1, "activation": "relu"}),
    ((6, 5), 3, 4, (3, 3), (1, 1), "SAME", 2, {"center": 0}),
    ((6, 6), 16, 32, (3, 3), (1, 1), "SAME", 2, {"activation": "relu", "scale": 1})]
# inputs' shape, outputs, and what batch_norm is given
CONNECTED = [((6, 5), 4, {"activation": "relu"}), ((9, 17), 8, {"scale": 1, "decay": 0.9}),
             ((5, 3), 6, {"epsilon": 1e-5, "scale": 1, "activation": "relu"}),
             ((2, 3, 7), 5, {"activation": "relu"}), ((2, 3, 4, 5), 3, {"scale": 1}),
             ((4, 9), 3, {"center": 0})]
# normalizer_params has the options named in params, which beat those of an arg_scope on batch_norm
# (scope_<option>); what it does not name comes from that scope.
OVERRIDES = [
    {"params": "none", "decay": 0.9, "epsilon": 0.01, "scale": 1},
    {"params": "decay", "decay": 0.9, "scope_decay": 0.5, "epsilon": 0.01, "scale": 1},
    {"params": "scale,center,epsilon", "scale": 0, "scope_scale": 1, "center": 1,
     "scope_center": 0, "epsilon": 0.1, "scope_epsilon": 0.01, "decay": 0.9},
    {"params": "is_training", "training": 0, "scope_is_training": 1, "scale": 1, "decay": 0.9}]


def normalised(tf, slim, record, layer):
    """Calls layer(normalizer arguments) with its options split as the record says."""
    a, given = record.attributes, arguments_of(tf, record)
    params = list(given) if a["params"] == "all" else a["params"].split(",")
    in_scope = {k: v for k, v in given.items() if k not in params}
    in_scope.update({k: type(given[k])(a["scope_" + k]) for k in given if "scope_" + k in a})
    in_params = {k: v for k, v in given.items() if k in params}
    with slim.arg_scope([slim.batch_norm], **in_scope):
        return layer(normalizer_fn=slim.batch_norm, normalizer_params=in_params or None,
                     activation_fn=activation(tf, a["activation"]), scope="layer")


def convolution_record(tf, slim, precision, number, case):
    (h, w), channels, outputs, (kh, kw), (sh, sw), padding, batch, options = case
    same = padding == "SAME"
    area = [-(-(e if same else e - k + 1) // s) for e, k, s in ((h, kh, sh), (w, kw, sw))]
    r = attributes_of("conv2d_batch_norm", number, precision, options, batch * int(np.prod(area)),
                      4, batch=batch, height=h, width=w, channels=channels, outputs=outputs,
                      kernel_h=kh, kernel_w=kw, stride_h=sh, stride_w=sw, rate=1, padding=padding,
                      bias=0)
    return finished(tf, slim, r, (batch, h, w, channels), lambda x: normalised(
        tf, slim, r, lambda **normalizer: slim.conv2d(
            x, outputs, [kh, kw], stride=[sh, sw], padding=padding, **normalizer)))


def connected_record(tf, slim, precision, number, case):
    shape, outputs, options = case
    r = attributes_of("fully_connected_batch_norm", number, precision, options,
                      int(np.prod(shape[:-1])), len(shape), outputs=outputs, bias=0)
    return finished(tf, slim, r, shape, lambda x: normalised(
        tf, slim, r, lambda **normalizer: slim.fully_connected(x, outputs, **normalizer)))


def normalizer_cases(table):
    """The table in training and in inference, then its first layer with options overridden."""
    for *layer, options in table:
        for training in (1, 0):
            yield [*layer, {**options, "training": training}]
    for options in OVERRIDES:
        yield [*table[0][:-1], {"activation": "relu", **options}]


def records_of(tf, slim, precision):
    for n, (shape, options) in enumerate(alone_cases()):
        yield alone_record(tf, slim, precision, n, shape, options)
    for make, table in ((convolution_record, CONVOLUTIONS), (connected_record, CONNECTED)):
        for n, case in enumerate(normalizer_cases(table)):
            yield make(tf, slim, precision, n, case)


def make(folder):
    tf, slim = tensorflow()
    records = [r for p in ("float64", "float32") for r in records_of(tf, slim, p)]
    write_records(os.path.join(folder, "batch_norm.bin"), records)
