#!/usr/bin/env python3
"""A network of nets.py in JAX on the CPU, jitted, as a worker of run.py.

forward   the logits, batch norm folded into the weights
backward  the mean softmax cross entropy with labels and its gradients in all variables; batch norm
          with the batch's statistics
"""
import os
import sys

import nets
import weights
import worker


def limit_threads(threads):
    """XLA takes as many threads as it may run on cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["JAX_PLATFORMS"] = "cpu"


def convolution(jax, layer, x, row):
    """Convolution, bias or batch norm, and ReLU."""
    padding = [nets.padding_of(layer, e) for e in x.shape[1:3]]
    y = jax.lax.conv_general_dilated(x, row["weights"], (layer.stride,) * 2, padding,
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    if "biases" in row:
        y = y + row["biases"]
    else:
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        scale = row.get("gamma", 1) * jax.lax.rsqrt(variance + layer.norm.epsilon)
        y = (y - mean) * scale + row["beta"]
    return jax.nn.relu(y) if layer.relu else y


def max_pool(jax, layer, x):
    """Max pooling."""
    padding = [(0, 0), *(nets.padding_of(layer, e) for e in x.shape[1:3]), (0, 0)]
    return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max,
                                 (1, layer.kernel, layer.kernel, 1),
                                 (1, layer.stride, layer.stride, 1), padding)


def run(jax, layers, x, rows):
    """The layers applied in a row; takes their variables from the iterator `rows`."""
    for layer in layers:
        if isinstance(layer, nets.Conv):
            x = convolution(jax, layer, x, next(rows))
        elif isinstance(layer, nets.Dense):
            row = next(rows)
            x = x @ row["weights"] + row["biases"]
            x = jax.nn.relu(x) if layer.relu else x
        elif isinstance(layer, nets.MaxPool):
            x = max_pool(jax, layer, x)
        elif isinstance(layer, nets.Mean):
            x = x.mean((1, 2))
        elif isinstance(layer, nets.Flatten):
            x = x.reshape(x.shape[0], -1)
        else:
            outputs = [run(jax, branch, x, rows) for branch in layer.branches]
            x = (jax.nn.relu(outputs[0] + outputs[1]) if isinstance(layer, nets.Sum)
                 else jax.numpy.concatenate(outputs, -1))
    return x


def rows_of(jax, net, given):
    """The variables as JAX's arrays; for inference folded."""
    answer = []
    for (layer, _), row in zip(nets.weighted(net.layers, net.image), worker.weights_of(given)):
        if given.mode == "forward":
            row = dict(zip(("weights", "biases"), weights.folded(layer, row)))
        answer.append({name: jax.numpy.asarray(values) for name, values in row.items()
                       if "moving" not in name})
    return answer


def main():
    """Serves repetitions."""
    given, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    limit_threads(given.threads)
    import jax
    net = nets.NETS[given.net]
    rows = rows_of(jax, net, given)
    images = jax.numpy.asarray(weights.images(net, given.batch))
    labels = jax.numpy.asarray(weights.labels(net, given.batch))

    def logits(rows, images):
        return run(jax, net.layers, images, iter(rows))

    def loss(rows, images, labels):
        likelihood = jax.nn.log_softmax(logits(rows, images))
        return -jax.numpy.take_along_axis(likelihood, labels[:, None], 1).mean()

    if given.mode == "forward":
        function, inputs = jax.jit(logits), (rows, images)
    else:
        function, inputs = jax.jit(jax.value_and_grad(loss)), (rows, images, labels)
    first = function(*inputs)
    if worker.checked(stream, given, first.ravel() if given.mode == "forward" else [
            first[0], *(jax.numpy.linalg.norm(values.ravel()) for row, (layer, shape) in
                        zip(first[1], nets.weighted(net.layers, net.image))
                        for values in (row[n] for n in nets.variables_of(layer, shape)
                                       if n in row))]):
        return
    worker.serve(stream, lambda: jax.block_until_ready(function(*inputs)),
                 f"JAX {jax.__version__}, jit, NHWC, {given.threads} threads")


if __name__ == "__main__":
    sys.exit(main())
