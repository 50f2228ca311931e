"""The section small_nets of make_golden.py: LeNet and CifarNet in whole, and trained a little."""
import os

import numpy as np

from golden import (Record, digest, extents, graph_margin, name_records, tensorflow, uniform,
                    variable_value, write_records)

# Height, width and channels of the images, and the arg_scope's weight decay.
NETS = {"lenet": ((28, 28, 1), 0.0), "cifarnet": ((32, 32, 3), 0.004)}
LABELS, CLASSES = (7, 0, 3), 10
STEPS, LEARNING_RATE, MOMENTUM = 3, 0.01, 0.9
# No activation of the three steps is nearer to a kink than this, in float64.
MARGIN = 2e-6


def build(tf, slim, net, dtype, training):
    """The images, every tensor that is recorded, and the total loss, in a new graph."""
    import small_nets
    tf1 = tf.compat.v1
    tf1.reset_default_graph()
    images = tf1.placeholder(dtype, (len(LABELS), *NETS[net][0]))
    with slim.arg_scope(getattr(small_nets, net + "_arg_scope")()):
        logits, end_points = getattr(small_nets, net)(images, CLASSES, training, 1.0)
    loss = tf1.losses.sparse_softmax_cross_entropy(tf.constant(LABELS), logits)
    # Without a regularizer this is a float32 zero.
    regularization = tf.cast(tf1.losses.get_regularization_loss(), dtype)
    total = loss + regularization
    return images, end_points, {
        "logits": logits, **{f"end_points/{k}": t for k, t in end_points.items()}, "loss": loss,
        "regularization_loss": regularization, "total_loss": total}


def load(slim, session):
    for v in slim.get_model_variables():
        v.load(variable_value(v).astype(v.dtype.as_numpy_dtype), session)


def once(tf, slim, net, dtype, training, name):
    """The answers of one run: in training the gradients of the total loss, too."""
    images, _, wanted = build(tf, slim, net, dtype, training)
    if training:
        variables = slim.get_trainable_variables()
        grads = tf.compat.v1.gradients(wanted["total_loss"], variables)
        wanted.update({f"gradients/{v.op.name}": g for v, g in zip(variables, grads)})
    with tf.compat.v1.Session() as s:
        load(slim, s)
        return s.run(wanted, {images: uniform(name, images.shape.as_list())})


def steps(tf, slim, net, dtype, name):
    """The variables after some steps of momentum, the losses before each, the least margin."""
    images, _, wanted = build(tf, slim, net, dtype, True)
    optimizer = tf.compat.v1.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)
    step = optimizer.minimize(wanted["total_loss"])
    feed, losses, margin = {images: uniform(name, images.shape.as_list())}, [], np.inf
    with tf.compat.v1.Session() as s:
        s.run(tf.compat.v1.global_variables_initializer())
        load(slim, s)
        for _ in range(STEPS):
            margin = min(margin, graph_margin(s, feed))
            losses.append(s.run((wanted["total_loss"], step), feed)[0])
        moved = {f"variables/{v.op.name}": s.run(v) for v in slim.get_model_variables()}
    return {**moved, "losses": np.array(losses)}, margin


def safe_images(tf, slim, net):
    """The first name of images that keep the activations of all steps away from kinks."""
    for suffix in ["", *"abcdefghijklmnopqrstuvwxyz"]:
        name = f"{net}/images{suffix}"
        if steps(tf, slim, net, "float64", name)[1] >= MARGIN:
            return name
    raise RuntimeError(f"{net}: no safe images found")


def digests(net, mode, precision, answers):
    for name, value in answers.items():
        r = Record("digest", {"net": net, "mode": mode, "precision": precision, "tensor": name,
                              "shape": extents(np.shape(value))}, {"digest": digest(name, value)})
        if np.ndim(value) == 0:
            r.arrays["value"] = np.float64(value)
        if name in ("logits", "losses"):
            r.arrays["values"] = np.asarray(value)
        yield r


def records_of(tf, slim, net):
    name, ((height, width, channels), decay) = safe_images(tf, slim, net), NETS[net]
    yield Record("inputs", {
        "net": net, "batch": len(LABELS), "classes": CLASSES, "height": height, "width": width,
        "channels": channels, "labels": extents(LABELS), "weight_decay": decay, "images": name,
        "steps": STEPS, "learning_rate": LEARNING_RATE, "momentum": MOMENTUM})
    yield from name_records(tf, slim, net, build(tf, slim, net, "float32", False)[1])
    for precision in ("float64", "float32"):
        for mode in ("inference", "training"):
            yield from digests(net, mode, precision, once(
                tf, slim, net, precision, mode == "training", name))
        yield from digests(net, "steps", precision, steps(tf, slim, net, precision, name)[0])


def check_lrn(tf):
    """Holds lrn from its definition against tf.nn.lrn."""
    import small_nets
    tf.compat.v1.reset_default_graph()
    x = tf.constant(uniform("lrn", (2, 3, 4, 13)) * 30)
    answers = [small_nets.lrn(x), small_nets.lrn(tf.cast(x, tf.float32))]
    answers += [tf.compat.v1.gradients(y, [x])[0] for y in answers]
    with tf.compat.v1.Session() as s:
        y, y32, dx, dx32 = s.run(answers)
    assert np.allclose(y, y32, 1e-5, 1e-5) and np.allclose(dx, dx32, 1e-5, 1e-5)


def make(folder):
    tf, slim = tensorflow()
    check_lrn(tf)
    write_records(os.path.join(folder, "small_nets.bin"),
                  [r for net in NETS for r in records_of(tf, slim, net)])
