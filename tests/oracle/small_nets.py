"""LeNet and CifarNet of TensorFlow's models repository (research/slim/nets), written anew.

They are not part of tf_slim; these have the scopes, end points, initial values and regularizers of
lenet.py and cifarnet.py there.
"""
import tensorflow as tf
import tf_slim as slim

tf1 = tf.compat.v1


def truncated_normal(stddev):
    return tf1.truncated_normal_initializer(stddev=stddev)


def lrn(x, radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75):
    """tf.nn.lrn over channels, which has no float64, from its definition."""
    if x.dtype == tf.float32:
        return tf.nn.lrn(x, radius, bias=bias, alpha=alpha, beta=beta)
    channels = x.shape.as_list()[-1]
    band = tf.linalg.band_part(tf.ones((channels, channels), x.dtype), radius, radius)
    return x * tf.pow(bias + alpha * tf.tensordot(x * x, band, 1), -beta)


# ---- LeNet --------------------------------------------------------------------------------------

def lenet_arg_scope(weight_decay=0.0):
    with slim.arg_scope([slim.conv2d, slim.fully_connected], activation_fn=tf.nn.relu,
                        weights_initializer=truncated_normal(0.1),
                        weights_regularizer=slim.l2_regularizer(weight_decay)) as scope:
        return scope


def lenet(images, num_classes=10, is_training=False, dropout_keep_prob=0.5, scope="LeNet"):
    """Logits and end points; images are 28x28x1."""
    end_points = {}

    def add(key, tensor):
        end_points[key] = tensor
        return tensor

    with tf1.variable_scope(scope, "LeNet", [images]):
        net = add("conv1", slim.conv2d(images, 32, [5, 5], scope="conv1"))
        net = add("pool1", slim.max_pool2d(net, [2, 2], 2, scope="pool1"))
        net = add("conv2", slim.conv2d(net, 64, [5, 5], scope="conv2"))
        net = add("pool2", slim.max_pool2d(net, [2, 2], 2, scope="pool2"))
        net = add("Flatten", slim.flatten(net))
        net = add("fc3", slim.fully_connected(net, 1024, scope="fc3"))
        net = add("dropout3", slim.dropout(net, dropout_keep_prob, is_training=is_training,
                                           scope="dropout3"))
        logits = add("Logits", slim.fully_connected(net, num_classes, activation_fn=None,
                                                    scope="fc4"))
    add("Predictions", slim.softmax(logits, scope="Predictions"))
    return logits, end_points


# ---- CifarNet -----------------------------------------------------------------------------------

def cifarnet_arg_scope(weight_decay=0.004):
    """Convolutions are not regularized, and their biases start from 0."""
    with slim.arg_scope([slim.conv2d], activation_fn=tf.nn.relu,
                        weights_initializer=truncated_normal(0.05)):
        with slim.arg_scope([slim.fully_connected], activation_fn=tf.nn.relu,
                            biases_initializer=tf1.constant_initializer(0.1),
                            weights_initializer=truncated_normal(0.04),
                            weights_regularizer=slim.l2_regularizer(weight_decay)) as scope:
            return scope


def cifarnet(images, num_classes=10, is_training=False, dropout_keep_prob=0.5, scope="CifarNet"):
    """Logits and end points; images are 32x32x3. The second lrn comes before its pool."""
    end_points = {}

    def add(key, tensor):
        end_points[key] = tensor
        return tensor

    with tf1.variable_scope(scope, "CifarNet", [images]):
        net = add("conv1", slim.conv2d(images, 64, [5, 5], scope="conv1"))
        net = add("pool1", slim.max_pool2d(net, [2, 2], 2, scope="pool1"))
        net = add("conv2", slim.conv2d(lrn(net), 64, [5, 5], scope="conv2"))
        net = add("pool2", slim.max_pool2d(lrn(net), [2, 2], 2, scope="pool2"))
        net = add("Flatten", slim.flatten(net))
        net = add("fc3", slim.fully_connected(net, 384, scope="fc3"))
        net = slim.dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout3")
        net = add("fc4", slim.fully_connected(net, 192, scope="fc4"))
        logits = add("Logits", slim.fully_connected(
            net, num_classes, activation_fn=None, scope="logits", weights_regularizer=None,
            weights_initializer=truncated_normal(1 / 192.0),
            biases_initializer=tf1.zeros_initializer()))
        add("Predictions", slim.softmax(logits, scope="Predictions"))
    return logits, end_points
