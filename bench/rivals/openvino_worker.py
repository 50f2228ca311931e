#!/usr/bin/env python3
"""An ONNX file, or OpenVINO's own format, in OpenVINO, as a worker of run.py: forward alone."""
import nets
import openvino
import weights
import worker


def main():
    """Serves repetitions; the image's tensor shares its array."""
    given, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(given.model), "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": given.threads,
        "INFERENCE_PRECISION_HINT": "f32"})
    images = weights.images(nets.NETS[given.net], given.batch)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2).copy()
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

    def call():
        request.infer(share_outputs=True)

    call()
    if not worker.checked(stream, given, request.get_output_tensor().data.ravel()):
        worker.serve(stream, call, f"OpenVINO {openvino.__version__.split('-')[0]}, latency, f32, "
                     f"{given.threads} threads")


if __name__ == "__main__":
    main()
