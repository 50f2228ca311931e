"""LeNet in TF-Slim with the weights of a checkpoint: the logits of one image.

    start/tensorflow_lenet.py FILE
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
import tf_slim as slim

tf.compat.v1.disable_eager_execution()
images = tf.compat.v1.placeholder(tf.float32, (1, 28, 28, 1))
x = slim.max_pool2d(slim.conv2d(images, 32, 5, scope="conv1"), 2, scope="pool1")
x = slim.max_pool2d(slim.conv2d(x, 64, 5, scope="conv2"), 2, scope="pool2")
x = slim.fully_connected(slim.flatten(x), 1024, scope="fc3")
logits = slim.fully_connected(x, 10, activation_fn=None, scope="fc4")
with tf.compat.v1.Session() as session:
    tf.compat.v1.train.Saver().restore(session, sys.argv[1])
    image = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None] / 28, (1, 28, 28, 1))
    print(*session.run(logits, {images: image})[0])
