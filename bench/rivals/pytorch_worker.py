#!/usr/bin/env python3
"""VGG-16 in PyTorch, as a worker of run.py: TF-Slim's arithmetic, in torch.nn by hand.

forward   the logits under inference_mode
backward  the mean softmax cross entropy with labels and loss.backward(), the gradients dropped
          before each; no dropout, as the others have it

Weights, images and labels are random; activations and weights are channels_last.  With --compile
the model goes through torch.compile (for forward with its weights frozen and packed).
"""
import sys

import worker

VGG_16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool",
          512, 512, 512, "pool", 512, 512, 512, "pool")


def vgg_16(torch):
    """13 convolutions of 3x3, 5 pools of 2x2 and 3 fully connected layers."""
    nn, layers, channels = torch.nn, [], 3
    for item in VGG_16:
        if item == "pool":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, item, 3, padding=1), nn.ReLU(inplace=True)]
        channels = item
    layers += [nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True),
               nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def forward(torch, model, images):
    """One repetition of inference."""
    model.eval()

    def repetition():
        with torch.inference_mode():
            return model(images)
    return repetition


def backward(torch, model, images, labels):
    """One repetition of the loss and all gradients."""
    model.train()

    def repetition():
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        if any(p.grad is None for p in model.parameters()):
            raise RuntimeError("a gradient is missing")
    return repetition


def compiled(torch, model, options):
    """The model through torch.compile."""
    import torch._inductor.config as inductor
    inductor.freezing = options.mode == "forward"
    return torch.compile(model)


def main():
    """Serves repetitions."""
    options, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    import torch
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    model = vgg_16(torch)
    images = torch.randn(options.batch, 3, 224, 224).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (options.batch,))
    if options.compile:
        model = compiled(torch, model, options)
    if options.mode == "forward":
        repetition = forward(torch, model, images)
    else:
        repetition = backward(torch, model, images, labels)
    one_dnn = "on" if torch.backends.mkldnn.is_available() else "off"
    text = (f"PyTorch {torch.__version__}, {'compiled' if options.compile else 'eager'}, "
            f"channels_last, oneDNN {one_dnn}, {torch.get_num_threads()} threads")
    worker.serve(stream, repetition, text)


if __name__ == "__main__":
    sys.exit(main())
