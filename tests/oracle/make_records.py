"""Files of records as the real TensorFlow writes them: tests/data/records.

  python make_records.py OUT

Three records in each compression, and one file with an Example of every kind of feature and a
SequenceExample. records_test.cpp knows their contents.
"""
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf


def options(kind):
    return tf.io.TFRecordOptions(compression_type=kind)


def feature(**kinds):
    make = {"bytes": (tf.train.BytesList, "bytes_list"),
            "floats": (tf.train.FloatList, "float_list"),
            "int64s": (tf.train.Int64List, "int64_list")}
    (kind, values), = kinds.items()
    message, field = make[kind]
    return tf.train.Feature(**{field: message(value=values)})


def example():
    return tf.train.Example(features=tf.train.Features(feature={
        "bytes": feature(bytes=[b"one", b"", b"\x00\xff"]),
        "floats": feature(floats=[0.5, -1.25, 3e38]),
        "int64s": feature(int64s=[0, 1, -1, 2**63 - 1, -2**63]),
        "empty": feature(floats=[]),
        "none": tf.train.Feature(),
    }))


def sequence_example():
    steps = [feature(int64s=[1, 2]), feature(int64s=[]), feature(int64s=[3])]
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={"id": feature(bytes=[b"s"])}),
        feature_lists=tf.train.FeatureLists(
            feature_list={"steps": tf.train.FeatureList(feature=steps)}))


def main(out):
    os.makedirs(out, exist_ok=True)
    for kind in ("", "GZIP", "ZLIB"):
        path = os.path.join(out, "three" + (kind and "." + kind.lower()) + ".tfrecord")
        with tf.io.TFRecordWriter(path, options(kind)) as writer:
            for record in (b"first", b"", bytes(range(256)) * 8):
                writer.write(record)
    with tf.io.TFRecordWriter(os.path.join(out, "examples.tfrecord")) as writer:
        writer.write(example().SerializeToString(deterministic=True))
        writer.write(sequence_example().SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(sys.argv[1])
