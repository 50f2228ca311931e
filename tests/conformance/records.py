#!/usr/bin/env python3
"""TensorFlow reads the records and Examples that we write, and the images in them.

  records.py --program RECORDS_RUN [--environment DIR]

The other way round is a matter of the unit tests: tests/data/records is TensorFlow's.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "oracle")]
from run import enter_environment


def noise(name, size):
    import golden
    import numpy as np
    return (golden.hashes(name, 0, size) & np.uint64(0xFF)).astype("u1").tobytes()


def check(title, holds):
    print(f"{title}: {'as written' if holds else 'WRONG'}")
    if not holds:
        sys.exit(1)


def check_records(tf, folder):
    want = [noise(f"record{i}", i ** 3) for i in range(70)]
    for name, kind in (("none", ""), ("gzip", "GZIP"), ("zlib", "ZLIB")):
        path = os.path.join(folder, name)
        check(f"{len(want)} records, {name}, tf.data",
              [r.numpy() for r in tf.data.TFRecordDataset(path, compression_type=kind)] == want)
        options = tf.io.TFRecordOptions(compression_type=kind)
        check(f"{len(want)} records, {name}, tf_record_iterator",
              list(tf.compat.v1.io.tf_record_iterator(path, options)) == want)


def check_example(tf, record):
    import golden
    import numpy as np
    fixed, var = tf.io.FixedLenFeature, tf.io.VarLenFeature
    e = tf.io.parse_single_example(record, {
        "bytes": fixed([2], tf.string), "floats": fixed([1000], tf.float32),
        "int64s": fixed([64], tf.int64), "none": var(tf.int64), "no floats": var(tf.float32),
        "\u00fc": fixed([], tf.int64), "png": fixed([], tf.string),
        "grey png": fixed([], tf.string), "jpeg": fixed([], tf.string)})
    check("bytes", e["bytes"].numpy().tolist() == [b"", noise("bytes", 300)])
    check("floats", (e["floats"].numpy() == golden.uniform("floats", (1000,))).all())
    check("int64s", (e["int64s"].numpy().view("u8") == 1 << np.arange(64, dtype="u8")).all())
    check("features without values",
          e["none"].values.shape == [0] and e["no floats"].values.shape == [0])
    check("a name in UTF-8", e["\u00fc"].numpy() == -1)
    pixels = lambda name, *dims: np.frombuffer(noise(name, int(np.prod(dims))), "u1").reshape(dims)
    check("a PNG", (tf.io.decode_png(e["png"]).numpy() == pixels("colours", 7, 9, 3)).all())
    check("a grey PNG", (tf.io.decode_png(e["grey png"]).numpy() == pixels("grey", 7, 9, 1)).all())
    # The encoders are the same library's, told the same.
    same = tf.io.encode_jpeg(pixels("colours", 7, 9, 3), quality=95)
    check("a JPEG", (tf.io.decode_jpeg(e["jpeg"]).numpy() == tf.io.decode_jpeg(same).numpy()).all())
    check("an Example written again", tf.train.Example.FromString(record.numpy())
          .SerializeToString(deterministic=True) == record.numpy())


def check_sequence(tf, record):
    context, lists = tf.io.parse_single_sequence_example(
        record, {"id": tf.io.FixedLenFeature([], tf.string)}, {
            "ragged": tf.io.VarLenFeature(tf.float32),
            "even": tf.io.FixedLenSequenceFeature([2], tf.int64),
            "no steps": tf.io.VarLenFeature(tf.int64)})
    check("a sequence's context", context["id"].numpy() == b"a sequence")
    check("a sequence's ragged steps",
          tf.sparse.to_dense(lists["ragged"], -1.).numpy().tolist() == [[1, 2], [-1, -1], [3, -1]])
    check("a sequence's even steps", lists["even"].numpy().tolist() == [[1, -2], [3, -4]])
    check("a sequence without steps", lists["no steps"].dense_shape.numpy().tolist() == [0, 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--environment", default="conformance-environment", metavar="DIR")
    given = parser.parse_args()
    enter_environment(given.environment, __file__)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([given.program, folder], check=True)
        check_records(tf, folder)
        example, sequence = tf.data.TFRecordDataset(os.path.join(folder, "examples"))
        check_example(tf, example)
        check_sequence(tf, sequence)


if __name__ == "__main__":
    main()
