"""What is compared, with whom, and the ratio to the fastest rival that slim is to reach."""
from dataclasses import dataclass

from nets import NETS, multiply_adds

# Per rival: the environment it lives in, its worker and the worker's further options, what it does.
RIVALS = {
    "pytorch": ("pytorch", "pytorch_worker.py", (), ("forward", "backward", "step", "start")),
    "torch.compile": ("pytorch", "pytorch_worker.py", ("--compile",),
                      ("forward", "backward", "step")),
    "onnxruntime": ("onnxruntime", "onnxruntime_worker.py", (), ("forward", "start")),
    "openvino": ("openvino", "openvino_worker.py", (), ("forward", "start")),
    "tensorflow": ("tensorflow", "tensorflow_worker.py", (), ("forward", "backward", "start")),
    "jax": ("jax", "jax_worker.py", (), ("forward", "backward", "start")),
}


@dataclass(frozen=True)
class Case:
    """`what` is forward, backward (and forward), step (and both), memory or start."""
    net: str
    what: str
    batch: int
    target: float | None = None
    threads: int = 2

    @property
    def name(self):
        return f"{self.net}/{self.what}/{self.batch}"

    @property
    def mode(self):
        """What its workers do."""
        return "forward" if self.what == "memory" else self.what

    @property
    def gflop(self):
        """Operations of a call, by direct convolution; None where time is not arithmetic."""
        if self.what in ("memory", "start"):
            return None
        return 2e-9 * self.batch * multiply_adds(NETS[self.net], self.what)

    def rivals(self):
        """Who takes part."""
        return [name for name, rival in RIVALS.items() if self.mode in rival[3]]


CASES = (
    Case("vgg_16", "forward", 1, 3.0),
    Case("vgg_16", "forward", 8, 3.3),
    Case("vgg_16", "backward", 8, 3.6),
    Case("resnet_v1_50", "forward", 1, 1.35),
    Case("resnet_v1_50", "forward", 8, 1.35),
    Case("resnet_v1_50", "backward", 8, 1.7),
    Case("inception_v1", "forward", 1, 1.8),
    Case("inception_v1", "forward", 8, 1.8),
    Case("inception_v1", "backward", 8, 1.8),
    Case("alexnet_v2", "backward", 16, 1.5),
    Case("mlp", "forward", 1, 3.0, threads=1),
    Case("lenet", "forward", 1, 2.0, threads=1),
    Case("lenet", "step", 32, 3.0),
    Case("vgg_16", "memory", 1),
    Case("lenet", "start", 1, 20.0),
)
