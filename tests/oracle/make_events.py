"""An event file as the real TensorFlow writes it: tests/data/events.tfevents.

  python make_events.py OUT

One scalar, one histogram and two pictures; summaries_test.cpp makes the same of the same numbers.
"""
import glob
import os
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

from golden import uniform

tf1 = tf.compat.v1
tf1.disable_v2_behavior()


def main(out):
    values = uniform("events/values", (1000,)).astype(np.float64)
    values[::3] = 0
    images = uniform("events/images", (2, 4, 5, 3)).astype(np.float32)
    positive = np.abs(images[..., :1])
    summaries = tf1.summary.merge([
        tf1.summary.scalar("scalar", tf.constant(0.25)),
        tf1.summary.histogram("histogram", tf.constant(values)),
        tf1.summary.image("images", tf.constant(images)),
        tf1.summary.image("positive", tf.constant(positive), max_outputs=1)])
    with tempfile.TemporaryDirectory() as folder, tf1.Session() as s:
        with tf1.summary.FileWriter(folder) as writer:
            writer.add_summary(s.run(summaries), 7)
        path, = glob.glob(folder + "/events*")
        open(out, "wb").write(open(path, "rb").read())


if __name__ == "__main__":
    main(sys.argv[1])
