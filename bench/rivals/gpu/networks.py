"""The networks of bench/rivals/nets.py that are compared on a GPU, and what training adds to them.

Images and labels are those of bench/rivals/weights.py, which can be imported once this module is;
the weights are made by each framework on its device.  A fully connected layer with ReLU is followed
by dropout where the network is trained: so TF-Slim has it in VGG-16 (fc6, fc7) and LeNet (fc3), and
ResNet has no such layer.
"""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
import nets  # noqa: E402

__all__ = ["KEEP", "MOMENTUM", "NETS", "NORM_DECAY", "RATE", "drops_out", "nets"]

NETS = {name: nets.NETS[name] for name in ("vgg_16", "resnet_v1_50", "lenet")}
KEEP = 0.5  # of the activations, in dropout
NORM_DECAY = 0.997  # of the moving averages of batch norm
RATE, MOMENTUM = 1e-3, 0.9  # of SGD; the rate is small enough for numbers to stay finite


def drops_out(layer):
    """Whether dropout follows a layer in training."""
    return isinstance(layer, nets.Dense) and layer.relu
