#!/usr/bin/env python3
"""TensorBoard's reader reads the event files that we write: what it finds is what TensorFlow and
TF-Slim write of the same numbers, tag by tag and bucket by bucket.

  summaries.py --program SUMMARIES_RUN [--environment DIR]

The other way round is a matter of the unit tests: tests/data/events.tfevents is TensorFlow's.
"""
import argparse
import contextlib
import glob
import io
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "oracle")]
from run import enter_environment

STEPS, BATCH = 3, 2
KINDS = ["loss", "learning_rate", "gradients", "gradient_norm", "global_gradient_norm"]


def check(title, holds, detail=""):
    print(f"{title}: {'ok' if holds else f'WRONG {detail}'}")
    if not holds:
        sys.exit(1)


def tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import oracle
    return oracle.tensorflow()


def slims_lenet():
    """TF-Slim's LeNet in the current graph, and its loss."""
    tf, tf1, slim = tensorflow()
    import small_nets
    images = tf1.placeholder("float32", (BATCH, 28, 28, 1))
    with slim.arg_scope(small_nets.lenet_arg_scope()):
        logits, _ = small_nets.lenet(images, is_training=True, dropout_keep_prob=1.0)
    return tf1.losses.sparse_softmax_cross_entropy(tf.zeros(BATCH, "int32"), logits)


def slims_tags():
    """The summaries of TF-Slim's optimize_loss."""
    tf, tf1, _ = tensorflow()
    from tf_slim.layers import optimizers
    # TF-Slim 1.1 looks for these where TensorFlow 2.15 no longer has them.
    from tensorflow.python.framework import indexed_slices, ops
    ops.IndexedSlices, ops.Tensor = indexed_slices.IndexedSlices, tf.Tensor
    with tf.Graph().as_default():
        tf1.train.create_global_step()
        optimizers.optimize_loss(
            slims_lenet(), tf1.train.get_global_step(), 0.01, "Momentum", clip_gradients=1.0,
            learning_rate_decay_fn=lambda rate, step: tf1.train.exponential_decay(rate, step, 2, .5),
            summaries=KINDS)
        return {tf.get_static_value(s.op.inputs[0]).item().decode()
                for s in tf1.get_collection(tf1.GraphKeys.SUMMARIES)}


def slims_analysis():
    """What its model analyzer prints of the same network."""
    tf, _, slim = tensorflow()
    from tf_slim import model_analyzer
    printed = io.StringIO()
    with tf.Graph().as_default(), contextlib.redirect_stdout(printed):
        slims_lenet()
        model_analyzer.analyze_vars(slim.get_model_variables(), print_info=True)
    return printed.getvalue()


def histogram(values):
    """TensorFlow's HistogramProto."""
    tf, tf1, _ = tensorflow()
    with tf.Graph().as_default(), tf1.Session() as session:
        text = session.run(tf1.summary.histogram("h", values))
    return tf1.Summary.FromString(text).value[0].histo


def last_values(path):
    """Tag: the value in the last event that has it."""
    tf, tf1, _ = tensorflow()
    return {v.tag: v for e in tf1.train.summary_iterator(path) for v in e.summary.value}


def check_graph(graph):
    nodes = {n.name: n for n in graph.node}
    check(f"a graph of {len(nodes)} nodes", len(nodes) == len(graph.node))
    dangling = [i for n in graph.node for i in n.input if i.split(":")[0] not in nodes]
    check("whose edges begin at nodes", not dangling, dangling)
    check("of TensorFlow's types", {"Conv2D", "BiasAdd", "Relu", "MaxPool", "MatMul", "VariableV2",
                                    "Placeholder"} <= {n.op for n in graph.node})
    conv = nodes["LeNet/conv1/Conv2D"]
    check("joined as in the network", "LeNet/conv1/weights" in conv.input, conv.input)
    shape = [d.size for d in conv.attr["_output_shapes"].list.shape[0].dim]
    check("with shapes", shape == [BATCH, 28, 28, 32], shape)


def check_values(folder, found):
    import numpy as np
    tf, tf1, _ = tensorflow()
    saved = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder))
    for name in saved.get_variable_to_shape_map():
        if not name.startswith("LeNet") or name.endswith("Momentum"):
            continue
        want, got = histogram(saved.get_tensor(name)), found[f"vars/{name}"].histo
        same = (list(want.bucket_limit) == list(got.bucket_limit)
                and list(want.bucket) == list(got.bucket) and want.num == got.num
                and np.allclose([want.min, want.max, want.sum, want.sum_squares],
                                [got.min, got.max, got.sum, got.sum_squares], rtol=1e-9))
        check(f"histogram of {name}", same)
    weights = saved.get_tensor("LeNet/conv1/weights")
    zeros = found["LeNet/conv1/weights/Fraction_of_Zero_Values"].simple_value
    check("fraction of zero values", zeros == np.mean(weights == 0))
    rate = found["OptimizeLoss/learning_rate_1"].simple_value
    check("learning rate", abs(rate - 0.01 * 0.5 ** (STEPS / 2)) < 1e-8, rate)
    check("scalar of a function", found["the/Answer"].simple_value == 42)
    active = found["LeNet/conv1/Relu/activation"].histo
    idle = found["LeNet/conv1/Relu/zeros"].simple_value
    check("an activation", active.num == BATCH * 28 * 28 * 32 and 0 < idle < 1, idle)
    with tf.Graph().as_default(), tf1.Session() as session:
        pixels = session.run(
            tf.io.decode_png(found["grid_1/image/0"].image.encoded_image_string))
    check("an image", pixels.shape == (7, 7 * 16, 4) and pixels.any(), pixels.shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--environment", default="conformance-environment", metavar="DIR")
    given = parser.parse_args()
    enter_environment(given.environment, __file__)
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run([given.program, folder], check=True, capture_output=True,
                                 text=True).stdout
        path, = glob.glob(folder + "/events.out.tfevents.*")
        from tensorboard.backend.event_processing import event_accumulator
        reader = event_accumulator.EventAccumulator(folder)
        reader.Reload()
        found, tags = last_values(path), reader.Tags()
        listed = set(tags["scalars"]) | set(tags["histograms"]) | set(tags["images"])
        check("TensorBoard finds every tag", listed == set(found), listed ^ set(found))
        ours = {tag for tag in listed if tag.startswith("OptimizeLoss/")}
        want = {tag for tag in slims_tags() if tag.startswith("OptimizeLoss/")}
        check("optimize_loss's tags are TF-Slim's", ours == want, ours ^ want)
        check_graph(reader.Graph())
        check_values(folder, found)
        check("analyze_vars prints what TF-Slim's does", printed.startswith(slims_analysis()),
              printed)


if __name__ == "__main__":
    main()
