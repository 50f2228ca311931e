"""The section graphs of make_golden.py: small compositions of layers, in float64."""
import os
from typing import Any, NamedTuple

import numpy as np

from golden import (MARGIN, Record, extents, graph_margin, tensorflow, uniform, variable_value,
                    write_records)


class Graph(NamedTuple):
    """What a graph is asked for; `objective` is what gradients are of (None: sum(y * g))."""
    outputs: dict  # the first is y
    objective: Any = None
    losses: dict = {}


class Tools(NamedTuple):
    """TensorFlow, TF-Slim, and the inputs of the graph that is being built."""
    tf: Any
    slim: Any
    name: str
    inputs: dict

    def input(self, leaf, *shape):
        """The placeholder of uniform("<id>/<leaf>")."""
        return self.inputs.setdefault(leaf, self.tf.compat.v1.placeholder("float64", shape, leaf))

    def scope(self, name, **options):
        return self.tf.compat.v1.variable_scope(name, **options)

    def batch_norm(self, **params):
        """An arg_scope in which every conv2d is normalised, in training and unfused."""
        return self.slim.arg_scope(
            [self.slim.conv2d], normalizer_fn=self.slim.batch_norm,
            normalizer_params={"is_training": True, "fused": False, **params})

    def l2(self, scale):
        return self.slim.arg_scope([self.slim.conv2d, self.slim.fully_connected],
                                   weights_regularizer=self.slim.l2_regularizer(scale))


# ---- the graphs ---------------------------------------------------------------------------------

def inception_block(t):
    """Four branches, concatenated."""
    slim, x = t.slim, t.input("x", 2, 6, 7, 5)
    with t.scope("Mixed"), t.batch_norm(decay=0.9):
        with t.scope("Branch_0"):
            branch_0 = slim.conv2d(x, 4, [1, 1], scope="Conv2d_0a_1x1")
        with t.scope("Branch_1"):
            branch_1 = slim.conv2d(x, 3, [1, 1], scope="Conv2d_0a_1x1")
            branch_1 = slim.conv2d(branch_1, 6, [3, 3], scope="Conv2d_0b_3x3")
        with t.scope("Branch_2"):
            branch_2 = slim.conv2d(x, 2, [1, 1], scope="Conv2d_0a_1x1")
            branch_2 = slim.conv2d(branch_2, 3, [3, 3], scope="Conv2d_0b_3x3")
        with t.scope("Branch_3"):
            branch_3 = slim.max_pool2d(x, [3, 3], stride=1, padding="SAME",
                                       scope="MaxPool_0a_3x3")
            branch_3 = slim.conv2d(branch_3, 2, [1, 1], scope="Conv2d_0b_1x1")
        return Graph({"y": t.tf.concat([branch_0, branch_1, branch_2, branch_3], 3)})


def residual_unit(t):
    """A bottleneck with a projection and stride 2, then one with an identity."""
    slim, relu = t.slim, t.tf.nn.relu
    x = t.input("x", 2, 5, 6, 8)
    with t.batch_norm(decay=0.9, epsilon=1e-5, scale=True):
        with t.scope("unit_1"):
            shortcut = slim.conv2d(x, 12, [1, 1], stride=2, activation_fn=None, scope="shortcut")
            net = slim.conv2d(x, 4, [1, 1], scope="conv1")
            net = slim.conv2d(net, 4, [3, 3], stride=2, scope="conv2")
            net = slim.conv2d(net, 12, [1, 1], activation_fn=None, scope="conv3")
            unit_1 = relu(shortcut + net)
        with t.scope("unit_2"):
            net = slim.conv2d(unit_1, 4, [1, 1], scope="conv1")
            net = slim.conv2d(net, 4, [3, 3], scope="conv2")
            net = slim.conv2d(net, 12, [1, 1], activation_fn=None, scope="conv3")
            return Graph({"y": relu(unit_1 + net), "unit_1": unit_1})


def unet(t):
    """Two levels down and up again, with a skip each."""
    slim, concat = t.slim, t.tf.concat
    x = t.input("x", 2, 8, 8, 2)
    with t.scope("unet"):
        down1 = slim.conv2d(x, 4, [3, 3], scope="down1")
        pool1 = slim.max_pool2d(down1, [2, 2], scope="pool1")
        down2 = slim.conv2d(pool1, 6, [3, 3], scope="down2")
        pool2 = slim.max_pool2d(down2, [2, 2], scope="pool2")
        bottom = slim.conv2d(pool2, 8, [3, 3], scope="bottom")
        up2 = slim.conv2d_transpose(bottom, 6, [2, 2], stride=2, scope="up2")
        join2 = slim.conv2d(concat([up2, down2], 3), 6, [3, 3], scope="join2")
        up1 = slim.conv2d_transpose(join2, 4, [3, 3], stride=2, scope="up1")
        join1 = slim.conv2d(concat([up1, down1], 3), 4, [3, 3], scope="join1")
        logits = slim.conv2d(join1, 3, [1, 1], activation_fn=None, scope="logits")
    return Graph({"y": logits, "bottom": bottom, "up2": up2, "up1": up1})


def towers(t):
    """One tower on two inputs; its variables, and their penalties, exist once."""
    slim = t.slim

    def tower(x, reuse):
        with t.scope("tower", reuse=reuse), t.l2(0.1):
            net = slim.conv2d(x, 4, [3, 3], scope="conv1")
            net = slim.max_pool2d(net, [2, 2], scope="pool1")
            return slim.fully_connected(slim.flatten(net), 5, activation_fn=None, scope="fc2")

    first = tower(t.input("x1", 2, 6, 6, 3), None)
    y = first + tower(t.input("x2", 2, 6, 6, 3), True)
    penalty = t.tf.compat.v1.losses.get_regularization_loss()
    g = t.tf.constant(uniform(t.name + "/g", y.shape.as_list()))
    return Graph({"y": y, "first": first}, t.tf.reduce_sum(y * g) + penalty,
                 {"regularization_loss": penalty})


def two_heads(t):
    """A class and a position from shared layers, with penalties."""
    slim, tf = t.slim, t.tf
    x, targets = t.input("x", 4, 6, 6, 2), t.input("targets", 4, 2)
    with t.l2(0.01):
        with t.scope("shared"):
            net = slim.conv2d(x, 4, [3, 3], scope="conv1")
            net = slim.max_pool2d(net, [2, 2], scope="pool1")
            net = slim.fully_connected(slim.flatten(net), 8, scope="fc2")
        logits = slim.fully_connected(net, 3, activation_fn=None, scope="class")
        position = slim.fully_connected(net, 2, activation_fn=None, scope="position")
    labels = tf.one_hot([0, 2, 1, 2], 3, dtype=tf.float64)
    losses = {"class_loss": slim.losses.softmax_cross_entropy(logits, labels, weights=1.0),
              "position_loss": slim.losses.mean_squared_error(position, targets),
              "regularization_loss": tf.compat.v1.losses.get_regularization_loss()}
    # get_total_loss fails on float64: mean_squared_error is a float32, whatever it is given.
    losses["total_loss"] = tf.add_n([tf.cast(loss, tf.float64) for loss in losses.values()])
    return Graph({"y": logits, "position": position}, losses["total_loss"], losses)


GRAPHS = (inception_block, residual_unit, unet, towers, two_heads)


# ---- records ------------------------------------------------------------------------------------

def value_of(record_id, v):
    """variable_value of "<id>/<variable>", but around 1 for gamma and moving variances."""
    if v.op.name.rsplit("/", 1)[1] in ("gamma", "moving_variance"):
        return 1 + 0.5 * uniform(f"{record_id}/{v.op.name}", v.shape.as_list())
    return variable_value(v, record_id + "/")


def wanted_of(tf, name, graph, inputs, variables):
    """Outputs, losses, and the gradients of the objective by inputs and trainable variables."""
    y = graph.outputs["y"]
    objective = graph.objective
    if objective is None:
        objective = tf.reduce_sum(y * tf.constant(uniform(name + "/g", y.shape.as_list())))
    by = {"d" + leaf: x for leaf, x in inputs.items() if leaf.startswith("x")}
    by.update({f"gradients/{v.op.name}": v for v in variables if v.trainable})
    grads = tf.compat.v1.gradients(objective, list(by.values()))
    return {**graph.outputs, **graph.losses, **dict(zip(by, grads))}


def graph_record(tf, slim, build):
    """The answers of a graph; other names are tried until no activation lies near a kink."""
    for suffix in ["", *"abcdefghijklmnopqrstuvwxyz"]:
        tf.compat.v1.reset_default_graph()
        name, inputs = f"graphs/{build.__name__}{suffix}", {}
        graph = build(Tools(tf, slim, name, inputs))
        variables = slim.get_model_variables()
        updates = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
        feed = {x: uniform(f"{name}/{leaf}", x.shape.as_list()) for leaf, x in inputs.items()}
        with tf.compat.v1.Session() as s:
            for v in variables:
                v.load(value_of(name, v).astype("float64"), s)
            if graph_margin(s, feed) < MARGIN:
                continue
            answers, _ = s.run((wanted_of(tf, name, graph, inputs, variables), updates), feed)
            answers.update({f"updated/{v.op.name}": s.run(v) for v in variables
                            if not v.trainable})
        r = Record("graph", {
            "id": name, "graph": build.__name__, "precision": "float64", "stored": "full",
            "variables": len(variables), **{leaf + "_dims": extents(x.shape.as_list())
                                            for leaf, x in inputs.items()}})
        for key, value in answers.items():
            r.store(key, value)
        return r
    raise RuntimeError(f"{build.__name__}: no safe inputs found")


def make(folder):
    tf, slim = tensorflow()
    write_records(os.path.join(folder, "graphs.bin"),
                  [graph_record(tf, slim, build) for build in GRAPHS])
