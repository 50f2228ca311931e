#!/usr/bin/env python3
"""A network of nets.py in PyTorch, as a worker of run.py.

forward   the logits under inference_mode, batch norm folded into the convolutions
backward  the mean softmax cross entropy with labels and loss.backward(), the gradients dropped
          before each; batch norm with the batch's statistics
step      backward, and a step of SGD (the fused one)

Activations and weights are channels_last.  With --compile the model (for training with its loss)
goes through torch.compile, for forward with its weights frozen and packed.
"""
import sys

import nets
import torch
import weights
import worker
from torch import nn
from torch.nn import functional


class Branches(nn.Module):
    """The branches of a Sum, with ReLU, or of a Concat."""

    def __init__(self, branches, adds):
        super().__init__()
        self.branches, self.adds = nn.ModuleList(branches), adds

    def forward(self, x):
        outputs = [branch(x) for branch in self.branches]
        if self.adds:
            return functional.relu(outputs[0] + outputs[1], inplace=True)
        return torch.cat(outputs, 1)


def symmetric(layer, shape):
    """A module for padding that convolutions do not take, and what remains for them to do."""
    (top, bottom), (left, right) = (nets.padding_of(layer, e) for e in shape[:2])
    if top == bottom and left == right:
        return [], (top, left)
    return [nn.ZeroPad2d((left, right, top, bottom))], 0


def convolution(layer, shape):
    """Padding, convolution, batch norm and ReLU."""
    pad, padding = symmetric(layer, shape)
    modules = [*pad, nn.Conv2d(shape[2], layer.outputs, layer.kernel, layer.stride, padding,
                               bias=layer.norm is None)]
    if layer.norm:
        modules.append(nn.BatchNorm2d(layer.outputs, layer.norm.epsilon))
        modules[-1].weight.requires_grad_(layer.norm.scale)
    return modules + [nn.ReLU(inplace=True)] * layer.relu


def pool(layer, shape):
    """Max pooling; what SAME adds behind, ceil_mode cuts off instead."""
    before = [nets.padding_of(layer, e)[0] for e in shape[:2]]
    return [nn.MaxPool2d(layer.kernel, layer.stride, before, ceil_mode=layer.padding == "same")]


def modules_of(layer, shape):
    """The modules of one layer."""
    if isinstance(layer, nets.Conv):
        return convolution(layer, shape)
    if isinstance(layer, nets.MaxPool):
        return pool(layer, shape)
    if isinstance(layer, nets.Dense):
        return [nn.Linear(shape[0], layer.outputs)] + [nn.ReLU(inplace=True)] * layer.relu
    if isinstance(layer, nets.Mean):
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if isinstance(layer, nets.Flatten):
        return [nn.Flatten()]
    return [Branches([build(b, shape) for b in layer.branches], isinstance(layer, nets.Sum))]


def build(layers, shape):
    """Layers in a row."""
    modules = []
    for layer in layers:
        modules += modules_of(layer, shape)
        shape = nets.output_shape(layer, shape)
    return nn.Sequential(*modules)


def assign(model, net, rows):
    """Sets the variables from those of nets.py; answers the trainable ones in its order."""
    modules = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))]
    flat, trained = iter(modules), []
    for (layer, _), row in zip(nets.weighted(net.layers, net.image), rows):
        module = next(flat)
        values = torch.from_numpy(row["weights"])
        module.weight.data.copy_(dense_order(net, layer, values) if values.dim() == 2
                                 else values.permute(3, 2, 0, 1))
        trained.append(module.weight)
        if "biases" in row:
            module.bias.data.copy_(torch.from_numpy(row["biases"]))
            trained.append(module.bias)
            continue
        norm = next(flat)
        norm.bias.data.copy_(torch.from_numpy(row["beta"]))
        norm.running_mean.copy_(torch.from_numpy(row["moving_mean"]))
        norm.running_var.copy_(torch.from_numpy(row["moving_variance"]))
        if layer.norm.scale:
            norm.weight.data.copy_(torch.from_numpy(row["gamma"]))
            trained.append(norm.weight)
        trained.append(norm.bias)
    return trained


def dense_order(net, layer, values):
    """[out, in] of [in, out]; behind Flatten PyTorch's inputs are ordered [c, h, w]."""
    for before, after in zip(net.layers, net.layers[1:]):
        if isinstance(before, nets.Flatten) and after is layer:
            shape = nets.shape_behind(net.layers[:net.layers.index(before)], net.image)
            return values.reshape(*shape, -1).permute(3, 2, 0, 1).flatten(1)
    return values.t()


def fold(model):
    """Batch norm folded into the convolutions before it, by PyTorch's own function."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            before = str(int(name) - 1)  # modules in a sequence are named by number
            setattr(model, before, nn.utils.fuse_conv_bn_eval(getattr(model, before), child))
            setattr(model, name, nn.Identity())
        fold(child)


def forward(model, images):
    """One call of inference."""
    def call():
        with torch.inference_mode():
            return model(images)
    return call


def training(model, images, labels, given):
    """One call of the loss and all gradients, and of the step."""
    def loss_of(images, labels):
        return functional.cross_entropy(model(images), labels)
    function = torch.compile(loss_of) if given.compile else loss_of
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01, fused=True)

    def call():
        sgd.zero_grad(set_to_none=True)
        loss = function(images, labels)
        loss.backward()
        if given.mode == "step":
            sgd.step()
        return loss
    return call


def call_of(model, net, given):
    """One call of the case."""
    images = torch.from_numpy(weights.images(net, given.batch))
    if images.dim() == 4:
        images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    if given.mode != "forward":
        labels = torch.from_numpy(weights.labels(net, given.batch)).long()
        return training(model.train(), images, labels, given)
    fold(model.eval())
    model = model.to(memory_format=torch.channels_last)
    if given.compile:
        import torch._inductor.config as inductor
        inductor.freezing = inductor.cpp_wrapper = True  # calls in C++: small nets gain
        model = torch.compile(model)
    return forward(model, images)


def main():
    """Serves repetitions."""
    given, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    torch.set_num_threads(given.threads)
    torch.set_num_interop_threads(1)
    net = nets.NETS[given.net]
    model = build(net.layers, net.image).to(memory_format=torch.channels_last)
    trained = assign(model, net, worker.weights_of(given)) if given.check else []
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    call = call_of(model, net, given)
    first = call()
    if worker.checked(stream, given, first.flatten() if given.mode == "forward" else
                      [first, *(p.grad.norm() for p in trained)]):
        return
    one_dnn = "on" if torch.backends.mkldnn.is_available() else "off"
    how = "torch.compile" if given.compile else "eager"
    worker.serve(stream, call, f"PyTorch {torch.__version__}, {how}, channels_last, oneDNN "
                 f"{one_dnn}, {torch.get_num_threads()} threads; parameters {parameters}")


if __name__ == "__main__":
    sys.exit(main())
