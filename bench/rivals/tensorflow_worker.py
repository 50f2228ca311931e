#!/usr/bin/env python3
"""TF-Slim's own nets on TensorFlow in graph mode with oneDNN, as a worker of run.py.

forward   the logits with is_training=False
backward  the mean softmax cross entropy with labels (without regularisation, dropout keeping all)
          and its gradients in all variables

Weights, images and labels lie in variables, so that nothing is folded into constants and nothing is
copied in.  Results are computed but not fetched: the session's targets are the operations that make
them, which keeps TensorFlow's optimisers from dropping them.
"""
import importlib
import importlib.metadata
import os
import sys

import nets
import weights
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


def lenet(slim, images):
    """LeNet, which TF-Slim's package lacks."""
    x = slim.max_pool2d(slim.conv2d(images, 32, 5, scope="conv1"), 2, scope="pool1")
    x = slim.max_pool2d(slim.conv2d(x, 64, 5, scope="conv2"), 2, scope="pool2")
    x = slim.fully_connected(slim.flatten(x), 1024, scope="fc3")
    return slim.fully_connected(x, 10, activation_fn=None, scope="fc4")


def mlp(slim, images):
    """The perceptron."""
    x = slim.stack(images, slim.fully_connected, [300, 100], scope="fc")
    return slim.fully_connected(x, 10, activation_fn=None, scope="logits")


def logits_of(slim, images, name, training):
    """A net of tf_slim.nets, or one of the two above."""
    if name in ("lenet", "mlp"):
        return {"lenet": lenet, "mlp": mlp}[name](slim, images)
    home = "vgg" if name == "vgg_16" else name.removesuffix("_v2").removesuffix("_50")
    home = importlib.import_module(f"tf_slim.nets.{home}")
    scope = next(getattr(home, s) for s in (f"{name}_arg_scope", "vgg_arg_scope",
                                            "resnet_arg_scope") if hasattr(home, s))
    further = {} if name == "resnet_v1_50" else {"dropout_keep_prob": 1.0}
    with slim.arg_scope(scope()):
        logits, _ = getattr(home, name)(images, 1000, is_training=training, **further)
    return logits if name != "resnet_v1_50" else slim.flatten(logits)


def tensors(tf, slim, given):
    """Builds the graph; answers the tensors that one repetition computes, and its parameters."""
    net, training = nets.NETS[given.net], given.mode != "forward"

    def local(name, values):
        return tf.compat.v1.get_variable(name, initializer=values, trainable=False, collections=[
            tf.compat.v1.GraphKeys.LOCAL_VARIABLES])

    images = local("images", weights.images(net, given.batch))
    logits = logits_of(slim, images, given.net, training)
    if not training:
        return [logits]
    labels = local("labels", weights.labels(net, given.batch))
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return [loss, *tf.gradients(loss, tf.compat.v1.trainable_variables())]


def verify(tf, session, operations, given):
    """Every layer's product, and every gradient of weights, must be in the graph that is really
    executed.  Answers whether oneDNN's operations are."""
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    metadata = tf.compat.v1.RunMetadata()
    session.run(operations, options=options, run_metadata=metadata)
    kinds = [node.op for graph in metadata.partition_graphs for node in graph.node]
    net = nets.NETS[given.net]
    layers = len(list(nets.weighted(net.layers, net.image)))
    backward = sum("Conv2DBackpropFilter" in kind for kind in kinds)
    products = sum(("Conv2D" in kind or "MatMul" in kind) and "Backprop" not in kind
                   for kind in kinds)
    if given.mode == "backward" and backward != layers:
        raise RuntimeError(f"{backward} of {layers} gradients of weights are computed")
    if products != layers:
        raise RuntimeError(f"{products} of {layers} layers are computed")
    return any("Mkl" in kind for kind in kinds)


def assign(tf, session, rows):
    """Sets TF-Slim's variables, in the order of their creation."""
    variables = iter(tf.compat.v1.global_variables())
    for row in rows:
        for values in row.values():
            variable = next(variables)
            variable.load(values.reshape(variable.shape), session)


def main():
    """Serves repetitions."""
    given, stream = worker.options(__doc__.split("\n")[0]), worker.protocol_stream()
    tf, slim = load()
    results = tensors(tf, slim, given)
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=given.threads,
                                      inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(config=config)
    session.run([tf.compat.v1.global_variables_initializer(),
                 tf.compat.v1.local_variables_initializer()])
    if given.check:
        assign(tf, session, worker.weights_of(given))
        values = session.run(results)
        worker.checked(stream, given, values[0].ravel() if given.mode == "forward" else [
            values[0], *((value.astype(float) ** 2).sum() ** 0.5 for value in values[1:])])
        return
    operations = [tensor.op for tensor in results]
    one_dnn = verify(tf, session, operations, given)
    version = importlib.metadata.version("tf_slim")
    parameters = sum(v.shape.num_elements() for v in tf.compat.v1.trainable_variables())
    worker.serve(stream, session.make_callable(operations),
                 f"TF-Slim {version} on TensorFlow {tf.__version__}, graph mode, oneDNN "
                 f"{'on' if one_dnn else 'off'}, intra_op {given.threads}, inter_op 1, weights in "
                 f"variables; parameters {parameters}")


if __name__ == "__main__":
    main()
