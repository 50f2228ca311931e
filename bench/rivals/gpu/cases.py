"""What is compared on a GPU, with whom, and which ratio to the fastest rival is the target."""
from dataclasses import dataclass

from networks import NETS, nets

# Per rival: its worker and the worker's further options.
RIVALS = {
    "torch-eager": ("pytorch_worker.py", "--how", "eager"),
    "torch-graph": ("pytorch_worker.py", "--how", "graph"),
    "torch-compile": ("pytorch_worker.py", "--how", "compile"),
    "jax": ("jax_worker.py",),
}


@dataclass(frozen=True)
class Case:
    """A network, a precision, forward or step (forward, backward and update), and a batch size.
    `large` is a case whose contestants do not all fit into the memory of a GPU at once."""
    net: str
    precision: str
    mode: str
    batch: int
    target: float | None = None
    large: bool = False

    @property
    def name(self):
        return f"{self.net}/{self.precision}/{self.mode}/{self.batch}"

    @property
    def gflop(self):
        """Operations of a call, by direct convolution: two a multiply-add; step has both gradients
        of each layer besides, but for that of the images."""
        return 2e-9 * self.batch * nets.multiply_adds(NETS[self.net], self.mode)


CASES = (
    Case("vgg_16", "bfloat16", "forward", 1, 1.8),
    Case("vgg_16", "bfloat16", "forward", 32, 1.2),
    Case("vgg_16", "bfloat16", "forward", 256, 1.2),
    Case("vgg_16", "bfloat16", "step", 32, 1.25),
    Case("vgg_16", "bfloat16", "step", 256, 1.2, large=True),
    Case("vgg_16", "tf32", "forward", 256, 1.05),
    Case("vgg_16", "tf32", "step", 256, 1.3, large=True),
    Case("lenet", "float", "forward", 1, 1.5),
    Case("lenet", "float", "step", 64, 1.5),
    Case("resnet_v1_50", "bfloat16", "forward", 256, 1.15),
    Case("resnet_v1_50", "bfloat16", "step", 256, 1.15, large=True),
)
