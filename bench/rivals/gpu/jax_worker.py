#!/usr/bin/env python3
"""A network of nets.py in JAX on a GPU, jitted, as a worker of run.py.

forward   the logits, batch norm folded into the weights
step      the mean softmax cross entropy, its gradients and a step of SGD with momentum; batch norm
          with the batch's statistics and its moving averages, dropout active

bfloat16 has variables and images in bfloat16 for forward, and variables in float that are cast
where they are used for step.  tf32 is what XLA does with float if nothing else is asked for; float
asks for the highest precision.  In a step the variables are donated.
"""
import functools
import os
import sys

import worker
from networks import KEEP, MOMENTUM, NETS, NORM_DECAY, RATE, drops_out, nets

import weights


def limit_memory(device):
    """Has JAX take the memory that it needs, on this device; before it is imported."""
    os.environ["JAX_PLATFORMS"] = device
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


# ---------------------------------------------------------------------------- the model

class Run:
    """One run through a network: takes the variables in a row and collects the moments of batch
    norm.  Without a key there is no dropout."""

    def __init__(self, jax, rows, key=None):
        self.jax, self.rows, self.key, self.moments = jax, iter(rows), key, []

    def normalise(self, layer, y, row):
        """Batch norm, in float whatever y is."""
        x = y.astype("float32")
        mean = x.mean((0, 1, 2))
        variance = (x * x).mean((0, 1, 2)) - mean * mean
        self.moments.append((mean, variance))
        scale = row["gamma"] * self.jax.lax.rsqrt(variance + layer.norm.epsilon)
        return (x * scale + (row["beta"] - mean * scale)).astype(y.dtype)

    def convolution(self, layer, x):
        """Convolution, bias or batch norm, and ReLU."""
        row, padding = next(self.rows), [nets.padding_of(layer, e) for e in x.shape[1:3]]
        y = self.jax.lax.conv_general_dilated(
            x, row["weights"].astype(x.dtype), (layer.stride,) * 2, padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y + row["biases"].astype(y.dtype) if "biases" in row else self.normalise(layer, y, row)
        return self.jax.nn.relu(y) if layer.relu else y

    def dense(self, layer, x):
        """A fully connected layer, ReLU and dropout."""
        row = next(self.rows)
        y = x @ row["weights"].astype(x.dtype) + row["biases"].astype(x.dtype)
        y = self.jax.nn.relu(y) if layer.relu else y
        if self.key is None or not drops_out(layer):
            return y
        self.key, own = self.jax.random.split(self.key)
        kept = self.jax.random.bernoulli(own, KEEP, y.shape)
        return self.jax.numpy.where(kept, y / KEEP, 0).astype(y.dtype)

    def max_pool(self, layer, x):
        """Max pooling."""
        padding = [(0, 0), *(nets.padding_of(layer, e) for e in x.shape[1:3]), (0, 0)]
        size, stride = ((1, n, n, 1) for n in (layer.kernel, layer.stride))
        return self.jax.lax.reduce_window(x, -self.jax.numpy.inf, self.jax.lax.max, size, stride,
                                          padding)

    def layer(self, layer, x):
        """One layer applied."""
        if isinstance(layer, nets.Conv):
            return self.convolution(layer, x)
        if isinstance(layer, nets.Dense):
            return self.dense(layer, x)
        if isinstance(layer, nets.MaxPool):
            return self.max_pool(layer, x)
        if isinstance(layer, nets.Mean):
            return x.mean((1, 2))
        if isinstance(layer, nets.Flatten):
            return x.reshape(x.shape[0], -1)
        one, other = (self.layers(branch, x) for branch in layer.branches)
        return self.jax.nn.relu(one + other)

    def layers(self, layers, x):
        """Layers applied in a row."""
        return functools.reduce(lambda value, layer: self.layer(layer, value), layers, x)


def row_of(jax, key, layer, shape):
    """The variables of a layer, made on the device; `weights` as large as activations need it."""
    row = {}
    for name, size in nets.variables_of(layer, shape).items():
        if name == "weights":
            inputs = functools.reduce(lambda a, b: a * b, size[:-1])
            row[name] = jax.random.normal(key, size) * (2 / inputs) ** 0.5
        elif "moving" not in name:
            row[name] = jax.numpy.full(size, float(name == "gamma"))
    return row


def variables(jax, net, given):
    """The variables of all layers; for inference biases instead of batch norm."""
    rows, key = [], jax.random.key(1)
    for number, (layer, shape) in enumerate(nets.weighted(net.layers, net.image)):
        row = row_of(jax, jax.random.fold_in(key, number), layer, shape)
        if given.mode == "forward":
            row = {"weights": row["weights"], "biases": row.get("biases", row.get("beta"))}
            row = jax.tree.map(lambda values: values.astype(kind_of(given)), row)
        rows.append(row)
    return rows


def kind_of(given):
    """The type that the network computes in."""
    return "bfloat16" if given.precision == "bfloat16" else "float32"


# ---------------------------------------------------------------------------- calls

def inference(jax, net, given, images):
    """A call of forward."""
    rows = variables(jax, net, given)
    function = jax.jit(lambda rows, images: Run(jax, rows).layers(net.layers, images))
    return lambda: function(rows, images)


def loss_function(jax, net):
    """The mean cross entropy, and the moments of batch norm."""
    def loss_of(rows, key, images, labels):
        run = Run(jax, rows, key)
        likelihood = jax.nn.log_softmax(run.layers(net.layers, images).astype("float32"))
        return -jax.numpy.take_along_axis(likelihood, labels[:, None], 1).mean(), run.moments
    return loss_of


def step_function(jax, net):
    """state, images, labels -> the next state, the loss."""
    gradients_of = jax.value_and_grad(loss_function(jax, net), has_aux=True)

    def step(state, images, labels):
        key, own = jax.random.split(state["key"])
        (loss, moments), gradients = gradients_of(state["rows"], own, images, labels)
        speed = jax.tree.map(lambda v, g: MOMENTUM * v + g, state["speed"], gradients)
        rows = jax.tree.map(lambda p, v: p - RATE * v, state["rows"], speed)
        moving = jax.tree.map(lambda old, new: NORM_DECAY * old + (1 - NORM_DECAY) * new,
                              state["moving"], moments)
        return {"rows": rows, "speed": speed, "moving": moving, "key": key}, loss
    return jax.jit(step, donate_argnums=0)


def first_state(jax, net, given):
    """Variables, their momentum, the moving averages and the key of dropout."""
    rows = variables(jax, net, given)
    moving = [(jax.numpy.zeros_like(row["beta"]), jax.numpy.ones_like(row["beta"]))
              for row in rows if "beta" in row]
    return {"rows": rows, "speed": jax.tree.map(jax.numpy.zeros_like, rows), "moving": moving,
            "key": jax.random.key(2, impl="rbg")}


def training(jax, net, given, images):
    """A call of step; it keeps the state."""
    labels = jax.numpy.asarray(weights.labels(net, given.batch))
    state, step = first_state(jax, net, given), step_function(jax, net)

    def call():
        nonlocal state
        state, loss = step(state, images, labels)
        return state, loss
    return call


def main():
    """Serves repetitions."""
    given = worker.net_parser(__doc__.split("\n")[0]).parse_args()
    stream = worker.protocol_stream()
    limit_memory(given.device)
    import jax
    if given.precision == "float":
        jax.config.update("jax_default_matmul_precision", "highest")
    net = NETS[given.net]
    images = jax.numpy.asarray(weights.images(net, given.batch), kind_of(given))
    call = (inference if given.mode == "forward" else training)(jax, net, given, images)
    first = jax.block_until_ready(call())
    said = f"; loss {float(first[1]):.4f}" if given.mode == "step" else ""
    worker.serve(stream, call, jax.block_until_ready,
                 f"JAX {jax.__version__}, jit, NHWC, on {jax.devices()[0].device_kind}{said}")


if __name__ == "__main__":
    sys.exit(main())
