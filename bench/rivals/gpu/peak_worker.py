#!/usr/bin/env python3
"""What the GPU can do at best, as a worker of run.py: its `ready` line tells the work of a call.

matmul    a product of two random square matrices in bfloat16, 8192 wide
copy      a copy of 1 GiB within the device's memory; bytes read and written count
"""
import sys

import torch
import worker


def matmul(device, size):
    """A call of the product, and its GFLOP."""
    one, other = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    result = torch.empty_like(one)
    return lambda: torch.mm(one, other, out=result), 2e-9 * size**3


def copy(device, size):
    """A call of the copy, and its GB; 4 * size**2 floats are 1 GiB for a size of 8192."""
    source = torch.randn(4 * size**2, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2e-9 * source.nbytes


def main():
    """Serves repetitions."""
    parser = worker.parser(__doc__.split("\n")[0])
    parser.add_argument("--what", required=True, choices=("matmul", "copy"))
    parser.add_argument("--size", type=int, default=8192)
    given, stream = parser.parse_args(), worker.protocol_stream()
    call, work = {"matmul": matmul, "copy": copy}[given.what](given.device, given.size)
    cuda = given.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else "a processor"
    worker.serve(stream, call, lambda _: torch.cuda.synchronize() if cuda else None,
                 f"{work:.6g} of work, PyTorch {torch.__version__} on {name}")


if __name__ == "__main__":
    sys.exit(main())
