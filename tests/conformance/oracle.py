#!/usr/bin/env python3
"""What the real TF-Slim (tf_slim 1.1 on TensorFlow 2.15, graph mode) answers for whole networks.

  oracle.py inputs --images X.npy --labels Y.npy [--batch N] [--size S] [--seed S] ...
      random images and labels
  oracle.py checkpoint NET --out PREFIX [--seed S] [--classes K]
                           [--v1 | --sharded | --partitioned N]
      random model variables and a global step, saved by tf.train.Saver; --sharded spreads them over
      two data files, --partitioned cuts every variable into up to N slices
  oracle.py answers NET --checkpoint PREFIX --images X.npy [--labels Y.npy] [--train] --out PREFIX
                        [--classes K] [--dtype float64] [--plain]
      logits and end_points/<key>; with labels also loss, regularization_loss, total_loss and
      gradients/<variable> of the total loss; with both labels and --train also updated/<variable>,
      the moving averages after one update
  oracle.py steps NET --checkpoint PREFIX --images X.npy --labels Y.npy --out PREFIX
                      [--steps N] [--optimizer NAME] [--learning-rate R] [as above]
      trains on one batch: every model variable after the last step, and losses [N], the total loss
      before each step
  oracle.py compare WANT GOT [--rtol R] [--spread PREFIX...] [--only PREFIX] [--ignore SUFFIX]
                             [--start PREFIX]
      the distance |want - got| / |want| (2-norms) of every tensor; exit status 1 where it is above
      R and above three times that between WANT and a PREFIX, or where one file lacks a tensor;
      with --start, which both began with, the same of what was added to each tensor

Answers are V2 checkpoints. Dropout keeps everything, so that training is deterministic. --plain
runs without oneDNN: how far that moves a float32 answer is TensorFlow's own spread. TensorFlow's
fused batch norm has no float64, and moves the variance's average by the unbiased variance where the
unfused one takes the biased; so --dtype float64 takes the unfused and leaves moving variances out.
"""
import argparse
import functools
import importlib
import inspect
import os
import sys
import warnings
from typing import Any, NamedTuple

import numpy as np


CLASSES = 1000
HERE = os.path.dirname(os.path.abspath(__file__))


class Network(NamedTuple):
    module: str
    arg_scope: str
    size: int = 224
    channels: int = 3
    classes: int = CLASSES


NETWORKS = {
    "lenet": Network("small_nets", "lenet_arg_scope", 28, 1, 10),  # not part of tf_slim: see there
    "alexnet_v2": Network("alexnet", "alexnet_v2_arg_scope"),
    "overfeat": Network("overfeat", "overfeat_arg_scope", 231),
    **{f"vgg_{kind}": Network("vgg", "vgg_arg_scope") for kind in ("a", "16", "19")},
    "inception_v1": Network("inception_v1", "inception_v1_arg_scope"),
    "inception_v2": Network("inception_v2", "inception_v2_arg_scope"),
    "inception_v3": Network("inception_v3", "inception_v3_arg_scope", 299),
    **{f"resnet_v{version}_{depth}": Network(f"resnet_v{version}", "resnet_arg_scope")
       for version in (1, 2) for depth in (50, 101, 152, 200)},
}


def like(tensor, value):
    """A float32 number as a constant of a tensor's type."""
    return tensorflow()[0].constant(np.float32(value), tensor.dtype)


OPTIMIZERS = {
    "sgd": lambda train, rate: train.GradientDescentOptimizer(rate),
    "momentum": lambda train, rate: train.MomentumOptimizer(rate, momentum=0.9),
    "nesterov": lambda train, rate: train.MomentumOptimizer(rate, 0.9, use_nesterov=True),
    "adam": lambda train, rate: train.AdamOptimizer(rate),
    "rmsprop": lambda train, rate: train.RMSPropOptimizer(rate),
    "centered_rmsprop": lambda train, rate: train.RMSPropOptimizer(rate, momentum=0.9,
                                                                   centered=True),
    "adagrad": lambda train, rate: train.AdagradOptimizer(rate),
    "adadelta": lambda train, rate: train.AdadeltaOptimizer(rate),
    "ftrl": lambda train, rate: train.FtrlOptimizer(rate),
    "proximal_gradient_descent": lambda train, rate: train.ProximalGradientDescentOptimizer(
        rate, l1_regularization_strength=like(rate, 1e-3),
        l2_regularization_strength=like(rate, 1e-2)),
    "proximal_adagrad": lambda train, rate: train.ProximalAdagradOptimizer(
        rate, l1_regularization_strength=like(rate, 1e-3),
        l2_regularization_strength=like(rate, 1e-2)),
}

CHUNK = 1 << 22  # elements compared at a time: float64 copies of whole tensors take gigabytes
MOVING_VARIANCE = "moving_variance"


# ---- TensorFlow ---------------------------------------------------------------------------------

def choose_kernels(plain):
    """With oneDNN or, if plain, without; TensorFlow reads the choice while it loads."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0" if plain else "1"


@functools.lru_cache(maxsize=None)
def tensorflow():
    """TensorFlow, its version 1 and TF-Slim, loaded when first needed: it takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="`layer.apply` is deprecated")
    import tensorflow as tf
    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    # The unfused batch norm is looked for in a package that is not part of TensorFlow 2.15.
    sys.modules["tf_keras.legacy_tf_layers.normalization"] = importlib.import_module(
        "keras.src.legacy_tf_layers.normalization")
    import tf_slim as slim
    return tf, tf1, slim


def module_of(net):
    """Where a network is: TF-Slim's, or ours of those that TF-Slim's package leaves out."""
    name = NETWORKS[net].module
    if name != "small_nets":
        return importlib.import_module(f"tf_slim.nets.{name}")
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), "oracle"))
    return importlib.import_module(name)


class Model(NamedTuple):
    """The tensors of a network in the current graph."""
    images: Any
    logits: Any  # [n, classes]
    end_points: dict


def build(net, shape, training, dtype="float32", classes=None):
    """Builds a network under its own arg_scope for images of this shape, in the current graph."""
    classes = classes or NETWORKS[net].classes
    tf, tf1, slim = tensorflow()
    module = module_of(net)
    network, arg_scope = getattr(module, net), getattr(module, NETWORKS[net].arg_scope)
    takes = [*inspect.signature(network).parameters, *inspect.signature(arg_scope).parameters]
    dropout = {"dropout_keep_prob": 1.0} if "dropout_keep_prob" in takes else {}
    fused = dtype == "float32"
    scope_options = {"use_fused_batchnorm": fused} if "use_fused_batchnorm" in takes else {}
    images = tf1.placeholder(dtype, shape, name="images")
    with slim.arg_scope(arg_scope(**scope_options)), slim.arg_scope([slim.batch_norm], fused=fused):
        logits, end_points = network(images, num_classes=classes, is_training=training, **dropout)
    return Model(images, tf.reshape(logits, (shape[0], classes)), end_points)


class Losses(NamedTuple):
    loss: Any
    regularization_loss: Any
    total_loss: Any


def losses_of(model, labels):
    """Adds the losses of a model to the current graph."""
    tf, tf1, _ = tensorflow()
    loss = tf1.losses.sparse_softmax_cross_entropy(tf.constant(labels), model.logits)
    # Of a network without regularizers it is a float32 zero, whatever the precision.
    regularization = tf.cast(tf1.losses.get_regularization_loss(), loss.dtype)
    return Losses(loss, regularization, loss + regularization)


# ---- checkpoints --------------------------------------------------------------------------------

def load(prefix):
    """TensorFlow's reader of a checkpoint, whichever its version."""
    return tensorflow()[0].train.load_checkpoint(prefix)


def restore(session, variables, prefix):
    """Restores float32 variables with a Saver, as users do; it cannot widen to float64."""
    _, tf1, _ = tensorflow()
    if all(v.dtype.base_dtype == "float32" for v in variables):
        tf1.train.Saver(variables).restore(session, prefix)
        return
    reader = load(prefix)
    for v in variables:
        v.load(reader.get_tensor(v.op.name).astype(v.dtype.as_numpy_dtype), session)


def save(values, prefix, v1=False, shards=1, slices=1):
    """Saves arrays by name with a Saver, spread over some data files or cut into some slices."""
    tf, tf1, _ = tensorflow()
    version = tf1.train.SaverDef.V1 if v1 else tf1.train.SaverDef.V2
    config = tf1.ConfigProto(device_count={"CPU": shards})  # a sharded Saver has a file a device
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        variables, feed = {}, {}
        for number, (name, value) in enumerate(values.items()):
            value = np.asarray(value)
            # Fed, for as constants they would exceed the two gigabytes of a graph.
            initial = tf1.placeholder(value.dtype, value.shape)
            feed[initial] = value
            with tf.device(f"/cpu:{number * shards // len(values)}"):
                variables[name] = tf1.get_variable(name, initializer=initial,
                                                   partitioner=partitioner(value.shape, slices))
        session.run(tf1.global_variables_initializer(), feed)
        saver = tf1.train.Saver(variables, write_version=version, sharded=shards > 1)
        saver.save(session, prefix, write_meta_graph=False, write_state=False)


def partitioner(shape, slices):
    """Cuts the longest axis, or nothing."""
    if slices == 1 or not shape:
        return None
    axis = int(np.argmax(shape))
    return tensorflow()[1].fixed_size_partitioner(min(slices, shape[axis]), axis)


# ---- inputs -------------------------------------------------------------------------------------

def inputs(images, labels, batch=2, size=224, channels=3, classes=CLASSES, seed=1):
    """Writes random images and labels."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((batch, size, size, channels), "float32")
    np.save(images, x)
    np.save(labels, random.integers(0, classes, batch, "int32"))


def initial_value(name, shape, seed):
    """A variable's value, which follows from its name, its shape and the seed alone.

    Weights keep activations at their scale from layer to layer; moving variances are positive.
    """
    random = np.random.default_rng([seed, *name.encode()])
    noise = random.standard_normal(shape, "float32")
    leaf = name.rsplit("/", 1)[-1]
    if leaf.endswith("weights"):
        fan_in = np.prod(shape[:2] if leaf == "depthwise_weights" else shape[:-1])
        return noise * np.float32(np.sqrt(2 / fan_in))
    if leaf == MOVING_VARIANCE:
        return 0.5 + random.random(shape, "float32")
    centre = {"gamma": 1, "beta": 0, "biases": 0, "moving_mean": 0}[leaf]
    return np.float32(centre) + np.float32(0.1) * noise


def image_shape(net, batch=1):
    facts = NETWORKS[net]
    return batch, facts.size, facts.size, facts.channels


def checkpoint(net, out, seed=1, classes=None, **layout):
    """Writes random variables of a network; layout is that of save."""
    tf, _, slim = tensorflow()
    with tf.Graph().as_default():
        build(net, image_shape(net), False, classes=classes)
        shapes = {v.op.name: v.shape.as_list() for v in slim.get_model_variables()}
    values = {name: initial_value(name, shape, seed) for name, shape in shapes.items()}
    save({**values, "global_step": np.int64(0)}, out, **layout)


# ---- answers ------------------------------------------------------------------------------------

def values_of(variables, session, dtype):
    """The variables by name, in float64 without moving variances: see above."""
    return session.run({v.op.name: v for v in variables
                        if dtype == "float32" or not v.op.name.endswith(MOVING_VARIANCE)})


def answers(net, checkpoint, images, out, labels=None, train=False, dtype="float32",
            classes=None):
    """Writes what one run of a network computes."""
    tf, tf1, slim = tensorflow()
    x = np.load(images)
    with tf.Graph().as_default(), tf1.Session() as session:
        model = build(net, x.shape, train, dtype, classes)
        wanted = {"logits": model.logits,
                  **{f"end_points/{key}": t for key, t in model.end_points.items()}}
        updates, averages = [], []
        trained, variables = tf1.trainable_variables(), slim.get_model_variables()
        if labels:
            losses = losses_of(model, np.load(labels))
            gradients = zip(trained, tf1.gradients(losses.total_loss, trained))
            wanted.update(losses._asdict())
            wanted.update({f"gradients/{v.op.name}": g for v, g in gradients if g is not None})
            if train:
                updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
                averages = [v for v in variables if v not in trained]
        restore(session, variables, checkpoint)
        got, _ = session.run((wanted, updates), {model.images: x})
        updated = values_of(averages, session, dtype)
    save({**got, **{f"updated/{name}": value for name, value in updated.items()}}, out)


def steps(net, checkpoint, images, labels, out, steps=3, optimizer="sgd", learning_rate=0.01,
          dtype="float32", classes=None):
    """Writes what some training steps on one batch make of a network's variables."""
    tf, tf1, slim = tensorflow()
    x = np.load(images)
    with tf.Graph().as_default(), tf1.Session() as session:
        model = build(net, x.shape, True, dtype, classes)
        total_loss = losses_of(model, np.load(labels)).total_loss
        variables = slim.get_model_variables()
        slim.get_or_create_global_step()
        # TensorFlow holds rates in float32; its proximal optimizers refuse those in float64.
        rate = (tf.constant(np.float32(learning_rate), dtype)
                if optimizer.startswith("proximal") else learning_rate)
        train_op = slim.learning.create_train_op(
            total_loss, OPTIMIZERS[optimizer](tf1.train, rate))
        session.run(tf1.global_variables_initializer())
        restore(session, variables, checkpoint)
        losses = [session.run(train_op, {model.images: x}) for _ in range(steps)]
        got = values_of(variables, session, dtype)
    save({**got, "losses": np.asarray(losses, dtype)}, out)


# ---- comparison ---------------------------------------------------------------------------------

class Distance(NamedTuple):
    """How far a tensor is from what was wanted, and how far it may be."""
    name: str
    value: float
    allowed: float

    def fits(self):
        return np.isfinite(self.value) and self.value <= self.allowed

    def excess(self):
        return self.value / max(self.allowed, sys.float_info.min)


class Comparison(NamedTuple):
    distances: list  # of all tensors that can be compared
    faults: list  # a line for each tensor that cannot, or that is too far

    def worst(self):
        return max(self.distances, key=Distance.excess, default=Distance("-", 0.0, 0.0))


def distance(want, got):
    """|want - got| / |want|; infinite where there is no number."""
    want, got = want.reshape(-1), got.reshape(-1)
    square_norm = square_difference = 0.0
    for first in range(0, want.size, CHUNK):
        a, b = (t[first:first + CHUNK].astype("float64") for t in (want, got))
        square_norm += float(a @ a)
        square_difference += float((a - b) @ (a - b))
    value = np.sqrt(square_difference) / max(np.sqrt(square_norm), 1e-9)
    return float(value) if np.isfinite(value) else np.inf


def compare(want, got, rtol=1e-4, spread=(), only="", ignore=None, start=None):
    """Compares two checkpoints, whose tensors must be the same ones.

    With the checkpoint that both began with, also what each has added to its tensors.
    """
    want, got, spread = load(want), load(got), [load(prefix) for prefix in spread]
    start = load(start) if start else None
    want_shapes, got_shapes = (
        {name: shape for name, shape in reader.get_variable_to_shape_map().items()
         if name.startswith(only) and not (ignore and name.endswith(ignore))}
        for reader in (want, got))
    faults = [f"missing   {name}" for name in sorted(want_shapes.keys() - got_shapes.keys())]
    faults += [f"extra     {name}" for name in sorted(got_shapes.keys() - want_shapes.keys())]
    distances = []
    for name in sorted(want_shapes.keys() & got_shapes.keys()):
        if want_shapes[name] != got_shapes[name]:
            faults.append(f"shape     {name} {got_shapes[name]} instead of {want_shapes[name]}")
            continue
        tensor, allowed = want.get_tensor(name), rtol
        for other in spread:
            if other.has_tensor(name):  # float64 answers have no moving variances
                moved = distance(tensor, other.get_tensor(name))
                allowed = max(allowed, 3 * moved if np.isfinite(moved) else 0)
        distances.append(Distance(name, distance(tensor, got.get_tensor(name)), allowed))
        if start and start.has_tensor(name):
            first = start.get_tensor(name)
            moved = distance(tensor - first, got.get_tensor(name) - first)
            distances.append(Distance(f"what was added to {name}", moved, allowed))
    faults += [f"differs   {d.name} {d.value:.2e} of {d.allowed:.2e}"
               for d in distances if not d.fits()]
    return Comparison(distances, faults)


# ---- command line -------------------------------------------------------------------------------

def parser():
    top = argparse.ArgumentParser(description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    option = {command: commands.add_parser(command).add_argument
              for command in ("inputs", "checkpoint", "answers", "steps", "compare")}

    for name in ("--images", "--labels"):
        option["inputs"](name, required=True)
    for name, default in (("--batch", 2), ("--size", 224), ("--channels", 3), ("--seed", 1)):
        option["inputs"](name, type=int, default=default)

    option["checkpoint"]("--seed", type=int, default=1)
    option["checkpoint"]("--v1", action="store_true", help="one file of version 1")
    option["checkpoint"]("--sharded", dest="shards", action="store_const", const=2, default=1)
    option["checkpoint"]("--partitioned", dest="slices", type=int, default=1, metavar="N")

    for command in ("checkpoint", "answers", "steps"):
        option[command]("net", choices=NETWORKS, metavar="NET")
        option[command]("--out", required=True, metavar="PREFIX")
    for command in ("answers", "steps"):
        option[command]("--checkpoint", required=True, metavar="PREFIX")
        option[command]("--images", required=True)
        option[command]("--labels", required=command == "steps")
        option[command]("--dtype", choices=("float32", "float64"), default="float32")
        option[command]("--plain", action="store_true", help="without oneDNN")
    option["inputs"]("--classes", type=int, default=CLASSES)
    for command in ("checkpoint", "answers", "steps"):
        option[command]("--classes", type=int, help="the network's own if not given")
    option["answers"]("--train", action="store_true")
    option["steps"]("--steps", type=int, default=3)
    option["steps"]("--optimizer", choices=OPTIMIZERS, default="sgd")
    option["steps"]("--learning-rate", type=float, default=0.01)

    option["compare"]("want")
    option["compare"]("got")
    option["compare"]("--rtol", type=float, default=1e-4)
    option["compare"]("--spread", metavar="PREFIX", nargs="*", default=[])
    option["compare"]("--only", default="", metavar="PREFIX")
    option["compare"]("--ignore", metavar="SUFFIX")
    option["compare"]("--start", metavar="PREFIX")
    return top


def report(comparison):
    """Prints a comparison; returns the exit status."""
    for fault in comparison.faults:
        print(fault)
    worst = comparison.worst()
    print(f"{len(comparison.distances)} tensors, {len(comparison.faults)} fall short, "
          f"worst {worst.value:.2e} of {worst.allowed:.2e} at {worst.name}")
    return 1 if comparison.faults or not comparison.distances else 0


def main():
    options = vars(parser().parse_args())
    command = options.pop("command")
    choose_kernels(options.pop("plain", False))
    if command == "compare":
        return report(compare(**options))
    {"inputs": inputs, "checkpoint": checkpoint, "answers": answers, "steps": steps}[command](
        **options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
