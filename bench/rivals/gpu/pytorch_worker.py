#!/usr/bin/env python3
"""A network of nets.py in PyTorch on a GPU, as a worker of run.py.

forward   the logits under inference_mode, batch norm folded into the convolutions
step      the mean softmax cross entropy, loss.backward() and a step of SGD with momentum (the fused
          one); batch norm with the batch's statistics, dropout active

bfloat16 is a model in bfloat16 for forward, and autocast over variables in float for step; the
images are in bfloat16, too.  tf32 and float switch TF32 on and off.  All is channels_last, and
cuDNN looks for its fastest algorithms.

eager     one kernel after another
graph     a call (for step all of it) captured as a CUDA graph and replayed
compile   the model (for step with its loss, and so the gradients) through torch.compile with
          max-autotune, the whole call captured as a CUDA graph as above: that spares the copy of
          the images and the checks that torch.compile's own graphs have.  Where it cannot be
          captured, the worker starts anew with torch.compile's own graphs (--own-graphs).
"""
import os
import sys

import torch
import worker
from networks import KEEP, MOMENTUM, NETS, NORM_DECAY, RATE, drops_out, nets
from torch import nn
from torch.nn import functional

import weights


class Branches(nn.Module):
    """The branches of a Sum, with ReLU."""

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        one, other = (branch(x) for branch in self.branches)
        return functional.relu(one + other, inplace=True)


class Rows(nn.Module):
    """[n, h * w * c] as TF-Slim orders it, for which channels_last need not be copied."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


# ---------------------------------------------------------------------------- the model

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
        modules.append(nn.BatchNorm2d(layer.outputs, layer.norm.epsilon, 1 - NORM_DECAY))
    return modules + [nn.ReLU(inplace=True)] * layer.relu


def dense(layer, shape):
    """A fully connected layer, ReLU and dropout."""
    return ([nn.Linear(shape[0], layer.outputs)] + [nn.ReLU(inplace=True)] * layer.relu
            + [nn.Dropout(1 - KEEP)] * drops_out(layer))


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
        return dense(layer, shape)
    if isinstance(layer, nets.Mean):
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if isinstance(layer, nets.Flatten):
        return [Rows()]
    return [Branches([build(b, shape) for b in layer.branches])]


def build(layers, shape):
    """Layers in a row."""
    modules = []
    for layer in layers:
        modules += modules_of(layer, shape)
        shape = nets.output_shape(layer, shape)
    return nn.Sequential(*modules)


def initialise(model):
    """Weights with which activations keep their size."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fold(model):
    """Batch norm folded into the convolutions before it, by PyTorch's own function."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            before = str(int(name) - 1)  # modules in a sequence are named by number
            setattr(model, before, nn.utils.fuse_conv_bn_eval(getattr(model, before), child))
            setattr(model, name, nn.Identity())
        fold(child)


def model_of(net, given):
    """The model of a case, on the device."""
    torch.manual_seed(1)
    with torch.device(given.device):
        model = build(net.layers, net.image)
    initialise(model)
    if given.mode == "forward":
        fold(model.eval())
        model.requires_grad_(False)
        if given.precision == "bfloat16":
            model = model.bfloat16()
    return model.to(memory_format=torch.channels_last)


# ---------------------------------------------------------------------------- calls

def configure(given):
    """PyTorch's switches."""
    torch.backends.cuda.matmul.allow_tf32 = given.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = given.precision == "tf32"
    torch.backends.cudnn.benchmark = True


def images_of(net, given):
    """The batch on the device."""
    images = torch.from_numpy(weights.images(net, given.batch)).permute(0, 3, 1, 2)
    kind = torch.bfloat16 if given.precision == "bfloat16" else torch.float32
    return images.to(given.device, kind).contiguous(memory_format=torch.channels_last)


def inference(net, given, through):
    """A call of forward; `through` is what the model goes through."""
    images, function = images_of(net, given), through(model_of(net, given))

    @torch.inference_mode()
    def call():
        return function(images)
    return call


def loss_function(model, given):
    """The mean cross entropy; variables are cast as autocast has it."""
    def loss_of(images, labels):
        with torch.autocast(given.device, torch.bfloat16, given.precision == "bfloat16",
                            cache_enabled=False):  # each variable is used once
            return functional.cross_entropy(model(images), labels)
    return loss_of


def training(net, given, through):
    """A call of step."""
    images, model = images_of(net, given), model_of(net, given).train()
    labels = torch.from_numpy(weights.labels(net, given.batch)).long().to(given.device)
    function = through(loss_function(model, given))
    sgd = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, fused=True)

    def call():
        sgd.zero_grad(set_to_none=True)
        loss = function(images, labels)
        loss.backward()
        sgd.step()
        return loss.detach()
    return call


def plain(function):
    """What goes through nothing."""
    return function


def compiler(mode):
    """torch.compile for shapes that do not change."""
    def through(function):
        return torch.compile(function, mode=mode, fullgraph=True, dynamic=False)
    return through


def captured(call):
    """A call as a CUDA graph, captured after some calls on a stream beside the usual one."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(worker.WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay():
        graph.replay()
        return result
    replay.call = call  # it owns the weights and images that the graph reads
    return replay


def start_anew(stream, *further):
    """Replaces the process by one with further options; its first standard output is given back."""
    os.dup2(stream.fileno(), 1)
    os.execv(sys.executable, [sys.executable, *sys.argv, *further])


def compiled(make, given, stream):
    """A call through torch.compile, and how it runs."""
    if given.own_graphs or given.device == "cpu":
        mode = "max-autotune" if given.device == "cuda" else "default"
        return make(compiler(mode)), f"torch.compile ({mode})"
    call = make(compiler("max-autotune-no-cudagraphs"))
    call()  # what fails here fails with torch.compile's own graphs as well
    try:
        return captured(call), "torch.compile (max-autotune) in one CUDA graph"
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return start_anew(stream, "--own-graphs")


def call_of(net, given, stream):
    """One call of the case, and how it runs."""
    def make(through):
        return (inference if given.mode == "forward" else training)(net, given, through)
    if given.how == "eager":
        return make(plain), "eager"
    if given.how == "graph":
        return captured(make(plain)), "CUDA graph"
    return compiled(make, given, stream)


def description(how, given, first):
    """What the worker says of itself; behind the semicolon what differs from case to case."""
    cast = ", autocast" if given.precision == "bfloat16" and given.mode == "step" else ""
    said = f"; loss {first.item():.4f}" if given.mode == "step" else ""
    dnn = f", cuDNN {torch.backends.cudnn.version()}" if given.device == "cuda" else ""
    return f"PyTorch {torch.__version__}{dnn}, {how}, channels_last{cast}{said}"


def main():
    """Serves repetitions."""
    parser = worker.net_parser(__doc__.split("\n")[0])
    parser.add_argument("--how", required=True, choices=("eager", "graph", "compile"))
    parser.add_argument("--own-graphs", action="store_true",
                        help="compile only: leave CUDA graphs to torch.compile")
    given, stream = parser.parse_args(), worker.protocol_stream()
    configure(given)
    call, how = call_of(NETS[given.net], given, stream)
    text = description(how, given, call())
    cuda = given.device == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what the search for algorithms took, others may need
    worker.serve(stream, call, lambda _: torch.cuda.synchronize() if cuda else None, text)


if __name__ == "__main__":
    sys.exit(main())
