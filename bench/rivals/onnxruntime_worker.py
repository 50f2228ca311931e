#!/usr/bin/env python3
"""An ONNX file in ONNX Runtime, as a worker of run.py: forward alone, in float."""
import nets
import onnxruntime
import weights
import worker


def main():
    """Serves repetitions.  Input and output are bound, so that nothing is copied."""
    given, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = given.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(given.model, options, ["CPUExecutionProvider"])
    images = weights.images(nets.NETS[given.net], given.batch)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2).copy()
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images))
    binding.bind_output(session.get_outputs()[0].name, "cpu")

    def call():
        session.run_with_iobinding(binding)

    call()
    if not worker.checked(stream, given, binding.copy_outputs_to_cpu()[0].ravel()):
        worker.serve(stream, call, f"ONNX Runtime {onnxruntime.__version__}, all optimisations, "
                     f"{given.threads} threads, bound to its arrays")


if __name__ == "__main__":
    main()
