#!/usr/bin/env python3
"""Writes tests/data/checkpoints: small files of the real TensorFlow and the real safetensors.

  make_checkpoints.py [--out DIR]

Floats are uniform(name) as README.md, beside this file, says; all else is spelled out below, and
again in tests/checkpoint_test.cpp and tests/saver_test.cpp.
"""
import argparse
import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

from make_golden import DATA, uniform


def everything(tf1, v1=False):
    """One variable of every type that a Saver of this version takes."""
    types = {"int8": [-128, 127], "int16": [-32768, 5], "int32": [-1, 2 ** 31 - 1],
             "int64": [-2 ** 63, 300], "uint8": [0, 255], "uint16": [65535, 1],
             "bool": [True, False, True], "float64": [0.1, -1e300], "float16": [1.5, -0.25],
             "str": [b"", b"slim", b"\x00\xff" * 100]}
    if not v1:  # V1 has no field for these
        types |= {"uint32": [2 ** 32 - 1, 7], "uint64": [2 ** 64 - 1, 7]}
    made = [variable(tf1, "net/weights", (3, 4, 5)), variable(tf1, "net/biases", (5,))]
    for name, values in types.items():
        dtype = object if name == "str" else name
        made.append(tf1.get_variable("types/" + name, initializer=np.array(values, dtype)))
    if not v1:
        made.append(tf1.get_variable(
            "types/bfloat16", initializer=tf1.constant([1.5, -2.0], tf1.bfloat16)))
    made.append(tf1.get_variable("empty", initializer=np.zeros((0, 3), "f")))
    made.append(tf1.get_variable("global_step", initializer=np.int64(1234567890123)))
    return made


def variable(tf1, name, shape):
    return tf1.get_variable(name, initializer=uniform(name, shape).astype("float32"))


def cut_variable(tf1, name, shape, parts, axis):
    """A variable in parts of rows of an axis."""
    def initial(part_shape, dtype, partition_info):
        first = partition_info.var_offset
        part = tuple(slice(f, f + n) for f, n in zip(first, part_shape))
        return tf1.constant(uniform(name, shape)[part], dtype)

    return tf1.get_variable(name, shape, initializer=initial,
                            partitioner=tf1.fixed_size_partitioner(parts, axis))


def partitioned(tf1):
    """Cut along the first and along the second axis, unevenly."""
    return [cut_variable(tf1, "rows", (7, 3), 3, 0),
            cut_variable(tf1, "columns", (2, 200, 3), 3, 1)]


def save(tf1, out, name, make, **options):
    """A checkpoint of what `make` makes, by Saver."""
    import tensorflow as tf
    with tf.Graph().as_default():
        variables = make(tf1)
        config = tf1.ConfigProto(device_count={"CPU": 2})
        with tf1.Session(config=config) as session:
            session.run(tf1.global_variables_initializer())
            prefix = os.path.join(out, name)
            tf1.train.Saver(variables, **options).save(session, prefix, write_meta_graph=False,
                                                       write_state=False)


def two_devices(tf1):
    with tf1.device("/cpu:0"):
        first = variable(tf1, "first", (6, 2))
    with tf1.device("/cpu:1"):
        second = variable(tf1, "second", (5,))
    return [first, second]


def snappy_table(out):
    """The V1 file again with its blocks compressed, as TensorFlow wrote them before version 1."""
    import subprocess
    helper = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compress_table.cpp")
    binary = os.path.join(out, "compress_table")
    subprocess.run(["g++", "-O1", helper, "-o", binary, "-lleveldb"], check=True)
    subprocess.run([binary, os.path.join(out, "v1"), os.path.join(out, "v1_snappy")], check=True)
    os.remove(binary)


SLOT_OPTIMIZERS = {"momentum": lambda train: train.MomentumOptimizer(0.1, 0.9),
                   "adam": lambda train: train.AdamOptimizer(0.01),
                   "rmsprop": lambda train: train.RMSPropOptimizer(0.01, momentum=0.5),
                   "centered_rmsprop": lambda train: train.RMSPropOptimizer(0.01, momentum=0.5,
                                                                            centered=True),
                   "adagrad": lambda train: train.AdagradOptimizer(0.1),
                   "adadelta": lambda train: train.AdadeltaOptimizer(0.1),
                   "ftrl": lambda train: train.FtrlOptimizer(0.1),
                   "proximal_adagrad": lambda train: train.ProximalAdagradOptimizer(0.1)}
WRITTEN = ("momentum", "adam", "rmsprop")  # whose files the unit tests read


def slots_graph(tf1, optimizer):
    """A variable that is trained by given gradients, from global step 100 on."""
    start = uniform("slots/w", (5, 8)).astype("float32")
    w = tf1.get_variable("net/fc/weights", initializer=start)
    step = tf1.get_variable("global_step", initializer=np.int64(100), trainable=False)
    gradient = tf1.placeholder("float32", (5, 8))
    made = SLOT_OPTIMIZERS[optimizer](tf1.train)
    return gradient, made.apply_gradients([(gradient, w)], global_step=step)


def train_slots(session, gradient, train, steps):
    for k in steps:
        session.run(train, {gradient: uniform(f"slots/g{k}", (5, 8))})


def write_slots(tf1, out):
    """Runs of six updates with everything a Saver saves, behind the third and behind the last."""
    import tensorflow as tf
    for name in WRITTEN:
        with tf.Graph().as_default(), tf1.Session() as session:
            gradient, train = slots_graph(tf1, name)
            session.run(tf1.global_variables_initializer())
            saver = tf1.train.Saver()
            for steps in (range(3), range(3, 6)):
                train_slots(session, gradient, train, steps)
                saver.save(session, os.path.join(out, f"slots_{name}-{101 + steps[-1]}"),
                           write_meta_graph=False, write_state=False)


def write_safetensors(out):
    from safetensors.numpy import save_file
    save_file({"net/weights": uniform("net/weights", (3, 4, 5)).astype("float32"),
               "net/biases": uniform("net/biases", (5,)).astype("float32"),
               "half": np.array([1.5, -0.25], "float16"), "scalar": np.array(2.5, "float64"),
               "ints": np.array([-2 ** 63, 300], "int64"), "flags": np.array([True, False, True]),
               "empty": np.zeros((0, 3), "float32")},
              os.path.join(out, "all.safetensors"), {"made by": "the real \"safetensors\""})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(DATA, "checkpoints"))
    out = parser.parse_args().out
    import tensorflow as tf
    tf1 = tf.compat.v1
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    tf1.disable_eager_execution()
    tf1.disable_resource_variables()
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    v1 = {"write_version": tf1.train.SaverDef.V1}
    save(tf1, out, "v2", everything)
    save(tf1, out, "v2_partitioned", partitioned)
    save(tf1, out, "v2_sharded", two_devices, sharded=True)
    save(tf1, out, "v1", lambda tf1: everything(tf1, v1=True), **v1)
    save(tf1, out, "v1_partitioned", partitioned, **v1)
    save(tf1, out, "v1_sharded", two_devices, sharded=True, **v1)
    snappy_table(out)
    write_slots(tf1, out)
    write_safetensors(out)
    for name in sorted(os.listdir(out)):
        print(name, os.path.getsize(os.path.join(out, name)))


if __name__ == "__main__":
    main()
