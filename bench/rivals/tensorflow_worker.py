#!/usr/bin/env python3
"""TF-Slim's own vgg_16 on TensorFlow in graph mode with oneDNN, as a worker of run.py.

forward   the logits with is_training=False
backward  the mean softmax cross entropy with labels (without regularisation, dropout keeping all)
          and its gradients in all variables

Weights, images and labels are random and lie in variables, so that nothing is folded into
constants and nothing is copied in.  Results are computed but not fetched: the session's targets are
the operations that make them, which keeps TensorFlow's optimisers from dropping them.
"""
import importlib
import importlib.metadata
import os
import sys

import worker


def load():
    """TensorFlow and TF-Slim; TensorFlow 2.15 looks for one module where tf_keras had it before."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    tf.compat.v1.disable_eager_execution()
    import tf_slim as slim
    sys.modules["tf_keras.legacy_tf_layers.normalization"] = importlib.import_module(
        "tf_keras.src.legacy_tf_layers.normalization")
    return tf, slim


def local(tf, name, value):
    """A variable that is no parameter."""
    return tf.compat.v1.get_variable(name, initializer=value, trainable=False)


def targets(tf, slim, options):
    """Builds the graph and answers the operations that one repetition runs."""
    from tf_slim.nets import vgg
    training = options.mode == "backward"
    images = local(tf, "images", tf.random.normal((options.batch, 224, 224, 3), seed=1))
    with slim.arg_scope(vgg.vgg_arg_scope()):
        logits, _ = getattr(vgg, options.net)(
            images, num_classes=1000, is_training=training, dropout_keep_prob=1.0)
    if not training:
        return [logits.op]
    labels = local(tf, "labels", tf.random.uniform(
        (options.batch,), maxval=1000, dtype=tf.int32, seed=2))
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    variables = tf.compat.v1.trainable_variables()
    return [loss.op] + [g.op for g in tf.gradients(loss, variables)]


def check(tf, session, operations):
    """Every convolution's weights must get a gradient in the graph that is really executed."""
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    metadata = tf.compat.v1.RunMetadata()
    session.run(operations, options=options, run_metadata=metadata)
    kinds = [node.op for graph in metadata.partition_graphs for node in graph.node]
    backward = sum("Conv2DBackpropFilter" in kind for kind in kinds)
    convolutions = sum("Conv2D" in kind and "Backprop" not in kind for kind in kinds)
    if len(operations) > 1 and backward != 16:
        raise RuntimeError(f"{backward} of 16 gradients of weights are computed")
    if convolutions != 16:
        raise RuntimeError(f"{convolutions} of 16 convolutions are computed")
    return any("Mkl" in kind for kind in kinds)


def main():
    """Serves repetitions."""
    options, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    tf, slim = load()
    operations = targets(tf, slim, options)
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=options.threads,
                                      inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(config=config)
    session.run(tf.compat.v1.global_variables_initializer())
    one_dnn = check(tf, session, operations)
    repetition = session.make_callable(operations)
    version = importlib.metadata.version("tf_slim")
    text = (f"TF-Slim {version} on TensorFlow {tf.__version__}, graph mode, oneDNN "
            f"{'on' if one_dnn else 'off'}, intra_op {options.threads}, inter_op 1, "
            "weights in variables")
    if options.mode == "backward":
        text += ", no regularisation, dropout keep 1.0"
    worker.serve(stream, repetition, text)


if __name__ == "__main__":
    main()
