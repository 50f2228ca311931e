"""The networks of the comparison, described once for all rivals.

A network is a tuple of layers: TF-Slim's definitions, with its order of variables.  Every framework
has an interpreter (pytorch_worker.py, jax_worker.py, onnx_graph.py); this file has the one that
counts: shapes, variables and multiply-adds.  Images are [n, h, w, c], filters [h, w, in, out].
A convolution that sees its whole input, such as VGG's fc6, is a Dense layer here.
"""
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Norm:
    """Batch norm in place of a bias; without `scale` it has no gamma."""
    epsilon: float
    scale: bool


@dataclass(frozen=True)
class Conv:
    """A square convolution; padding is same or valid (TensorFlow's), or fixed: kernel // 2."""
    name: str
    outputs: int
    kernel: int
    stride: int = 1
    padding: str = "same"
    relu: bool = True
    norm: Norm | None = None


@dataclass(frozen=True)
class Dense:
    """A fully connected layer."""
    name: str
    outputs: int
    relu: bool = True


@dataclass(frozen=True)
class MaxPool:
    """A pool; padding as a convolution's."""
    kernel: int
    stride: int
    padding: str = "valid"


@dataclass(frozen=True)
class Mean:
    """The mean over the pixels: [n, c]."""


@dataclass(frozen=True)
class Flatten:
    """[n, h * w * c]."""


@dataclass(frozen=True)
class Sum:
    """The sum of branches, and ReLU."""
    branches: tuple


@dataclass(frozen=True)
class Concat:
    """Branches side by side in the channels."""
    branches: tuple


@dataclass(frozen=True)
class Net:
    """A network and the shape of one image."""
    image: tuple
    classes: int
    layers: tuple


# ---------------------------------------------------------------------------- definitions

def vgg_16():
    """VGG-16."""
    layers = []
    for block, (repeat, outputs) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        layers += [Conv(f"conv{block}_{i + 1}", outputs, 3) for i in range(repeat)]
        layers.append(MaxPool(2, 2))
    return Net((224, 224, 3), 1000, (*layers, Flatten(), Dense("fc6", 4096), Dense("fc7", 4096),
                                     Dense("fc8", 1000, relu=False)))


def alexnet_v2():
    """AlexNet without local response normalisation."""
    return Net((224, 224, 3), 1000, (
        Conv("conv1", 64, 11, stride=4, padding="valid"), MaxPool(3, 2), Conv("conv2", 192, 5),
        MaxPool(3, 2), Conv("conv3", 384, 3), Conv("conv4", 384, 3), Conv("conv5", 256, 3),
        MaxPool(3, 2), Flatten(), Dense("fc6", 4096), Dense("fc7", 4096),
        Dense("fc8", 1000, relu=False)))


def resnet_v1_50():
    """ResNet-50; a block's stride is that of its last unit's 3x3."""
    norm = Norm(1e-5, scale=True)

    def unit(inputs, depth, stride):
        if inputs != depth:
            shortcut = (Conv("shortcut", depth, 1, stride, relu=False, norm=norm),)
        else:
            shortcut = (MaxPool(1, stride),) if stride > 1 else ()
        return Sum((shortcut, (Conv("conv1", depth // 4, 1, norm=norm),
                               Conv("conv2", depth // 4, 3, stride, "fixed", norm=norm),
                               Conv("conv3", depth, 1, relu=False, norm=norm))))

    layers, inputs = [Conv("conv1", 64, 7, 2, "fixed", norm=norm), MaxPool(3, 2, "same")], 64
    for units, depth, stride in ((3, 256, 2), (4, 512, 2), (6, 1024, 2), (3, 2048, 1)):
        for i in range(units):
            layers.append(unit(inputs, depth, stride if i == units - 1 else 1))
            inputs = depth
    return Net((224, 224, 3), 1000, (*layers, Mean(), Dense("logits", 1000, relu=False)))


def inception_v1():
    """GoogLeNet with batch norm; 3x3 where the paper has 5x5."""
    norm = Norm(0.001, scale=False)

    def conv(outputs, kernel, stride=1):
        return Conv(f"conv_{kernel}x{kernel}", outputs, kernel, stride, norm=norm)

    def mixed(branch0, reduce1, branch1, reduce2, branch2, branch3):
        return Concat(((conv(branch0, 1),), (conv(reduce1, 1), conv(branch1, 3)),
                       (conv(reduce2, 1), conv(branch2, 3)),
                       (MaxPool(3, 1, "same"), conv(branch3, 1))))

    return Net((224, 224, 3), 1000, (
        conv(64, 7, 2), MaxPool(3, 2, "same"), conv(64, 1), conv(192, 3), MaxPool(3, 2, "same"),
        mixed(64, 96, 128, 16, 32, 32), mixed(128, 128, 192, 32, 96, 64), MaxPool(3, 2, "same"),
        mixed(192, 96, 208, 16, 48, 64), mixed(160, 112, 224, 24, 64, 64),
        mixed(128, 128, 256, 24, 64, 64), mixed(112, 144, 288, 32, 64, 64),
        mixed(256, 160, 320, 32, 128, 128), MaxPool(2, 2, "same"),
        mixed(256, 160, 320, 32, 128, 128), mixed(384, 192, 384, 48, 128, 128),
        Mean(), Dense("logits", 1000, relu=False)))


def lenet():
    """LeNet of TF-Slim's model library."""
    return Net((28, 28, 1), 10, (
        Conv("conv1", 32, 5), MaxPool(2, 2), Conv("conv2", 64, 5), MaxPool(2, 2), Flatten(),
        Dense("fc3", 1024), Dense("fc4", 10, relu=False)))


def mlp():
    """A perceptron for MNIST."""
    return Net((784,), 10, (Dense("fc1", 300), Dense("fc2", 100), Dense("fc3", 10, relu=False)))


NETS = {make.__name__: make() for make in
        (vgg_16, resnet_v1_50, inception_v1, alexnet_v2, lenet, mlp)}


# ---------------------------------------------------------------------------- counting

def padding_of(layer, extent):
    """Pixels added before and behind one axis."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "fixed":
        return layer.kernel // 2, layer.kernel // 2
    outputs = -(-extent // layer.stride)
    total = max(0, (outputs - 1) * layer.stride + layer.kernel - extent)
    return total // 2, total - total // 2


def output_shape(layer, shape):
    """What a layer makes of an image of this shape."""
    if isinstance(layer, (Conv, MaxPool)):
        height, width = ((e + sum(padding_of(layer, e)) - layer.kernel) // layer.stride + 1
                         for e in shape[:2])
        return height, width, layer.outputs if isinstance(layer, Conv) else shape[2]
    if isinstance(layer, Dense):
        return (layer.outputs,)
    if isinstance(layer, Mean):
        return (shape[2],)
    if isinstance(layer, Flatten):
        return (prod(shape),)
    outputs = [shape_behind(branch, shape) for branch in layer.branches]
    if isinstance(layer, Concat):
        return *outputs[0][:2], sum(o[2] for o in outputs)
    return outputs[0]


def shape_behind(layers, shape):
    """What several layers in a row make of it."""
    for layer in layers:
        shape = output_shape(layer, shape)
    return shape


def weighted(layers, shape):
    """(layer, shape of its input) of each Conv and Dense, in the order of their variables."""
    for layer in layers:
        if isinstance(layer, (Conv, Dense)):
            yield layer, shape
        for branch in getattr(layer, "branches", ()):
            yield from weighted(branch, shape)
        shape = output_shape(layer, shape)


def variables_of(layer, shape):
    """{name: shape} of a layer's variables, in TF-Slim's order."""
    if isinstance(layer, Dense):
        return {"weights": (*shape, layer.outputs), "biases": (layer.outputs,)}
    one = (layer.outputs,)
    weights = {"weights": (layer.kernel, layer.kernel, shape[2], layer.outputs)}
    if layer.norm is None:
        return {**weights, "biases": one}
    gamma = {"gamma": one} if layer.norm.scale else {}
    return {**weights, **gamma, "beta": one, "moving_mean": one, "moving_variance": one}


def parameters(net):
    """Elements of the variables that train."""
    return sum(prod(size) for layer, shape in weighted(net.layers, net.image)
               for name, size in variables_of(layer, shape).items() if "moving" not in name)


def multiply_adds(net, what):
    """Of one image, by direct convolution.  Backward is forward and both gradients of each layer,
    but for that of the images."""
    each = [prod(variables_of(layer, shape)["weights"]) * prod(output_shape(layer, shape)[:-1])
            for layer, shape in weighted(net.layers, net.image)]
    return sum(each) if what == "forward" else 3 * sum(each) - each[0]
