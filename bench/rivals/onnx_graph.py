#!/usr/bin/env python3
"""Writes a network of nets.py, with weights, as an ONNX file for inference.

    onnx_graph.py --net vgg_16 --batch 1 --mode forward --model FILE [--check WEIGHTS]

Batch norm is folded into the convolutions, as exporters do.
"""
import numpy as np
import nets
import onnx
import weights
import worker
from onnx import helper, numpy_helper


class Builder:
    """Nodes and initializers as they come; every method answers the name of its output."""

    def __init__(self, rows):
        self.rows, self.nodes, self.constants = iter(rows), [], []

    def constant(self, values):
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def window(self, layer, shape):
        """The attributes of a convolution or pool."""
        (top, bottom), (left, right) = (nets.padding_of(layer, e) for e in shape[:2])
        return {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2,
                "pads": [top, left, bottom, right]}

    def weighted(self, layer, x, shape):
        """A convolution or fully connected layer, and ReLU."""
        kernel, bias = weights.folded(layer, next(self.rows))
        if isinstance(layer, nets.Conv):
            x = self.node("Conv", x, self.constant(kernel.transpose(3, 2, 0, 1)),
                          self.constant(bias), **self.window(layer, shape))
        else:
            x = self.node("Gemm", x, self.constant(kernel), self.constant(bias))
        return self.node("Relu", x) if layer.relu else x

    def layer(self, layer, x, shape):
        """One layer."""
        if isinstance(layer, (nets.Conv, nets.Dense)):
            return self.weighted(layer, x, shape)
        if isinstance(layer, nets.MaxPool):
            return self.node("MaxPool", x, **self.window(layer, shape))
        if isinstance(layer, nets.Mean):
            return self.node("Flatten", self.node("GlobalAveragePool", x))
        if isinstance(layer, nets.Flatten):  # in the order of channels last, as the weights are
            return self.node("Flatten", self.node("Transpose", x, perm=[0, 2, 3, 1]))
        outputs = [self.run(branch, x, shape) for branch in layer.branches]
        if isinstance(layer, nets.Sum):
            return self.node("Relu", self.node("Add", *outputs))
        return self.node("Concat", *outputs, axis=1)

    def run(self, layers, x, shape):
        """Layers in a row."""
        for layer in layers:
            x = self.layer(layer, x, shape)
            shape = nets.output_shape(layer, shape)
        return x


def model_of(net, batch, rows):
    """The network as an ONNX model; images are [n, c, h, w]."""
    builder = Builder(rows)
    output = builder.run(net.layers, "images", net.image)
    image = net.image if len(net.image) == 1 else (net.image[2], *net.image[:2])
    graph = helper.make_graph(
        builder.nodes, "net",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (batch, *image))],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, (batch, net.classes))],
        builder.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main():
    """Writes the file."""
    given = worker.options(__doc__.split("\n")[0])
    onnx.save(model_of(nets.NETS[given.net], given.batch, worker.weights_of(given)), given.model)


if __name__ == "__main__":
    main()
