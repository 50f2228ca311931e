"""Items as the real TF-Slim's tfexample_decoder makes them: decoder.tfrecord, decoder.bin.

  python make_decoder.py OUT

The records are two Examples and two SequenceExamples; decoder.bin has every item of each, which
decoder_test.cpp makes by the same handlers.
"""
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np

from golden import Record, tensorflow, uniform, write_records
from make_records import feature

BOX = ("ymin", "xmin", "ymax", "xmax")


def pixels(name, shape):
    return ((uniform("decoder/" + name, shape) + 1) * 127.5).astype(np.uint8)


def smooth(shape):
    y, x, c = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return (40 + 9 * y + 7 * x * (c + 1)).astype(np.uint8)


def example(tf, run, k):
    """Record k: of k = 0 everything is there, of k = 1 only what must be."""
    encode = (tf.io.encode_png, tf.io.encode_jpeg)[k]
    image = encode(pixels("png", (5, 6, 3)) if k == 0 else smooth((16, 17, 3)))
    f = {"image/encoded": feature(bytes=[run(image)]),
         "image/format": feature(bytes=[b"anything"]),
         "raw/encoded": feature(bytes=[uniform("decoder/raw", (2, 3)).astype("<f4").tobytes()]),
         "raw/format": feature(bytes=[b"raw"]),
         "several": feature(bytes=[run(tf.io.encode_png(pixels(n, (3, 4, 3)))) for n in "ab"]),
         "fixed": feature(floats=list(uniform("decoder/fixed", (6,))))}
    if k == 0:
        f |= {"numbers": feature(int64s=range(6)), "rows": feature(int64s=[3]),
              "columns": feature(int64s=[2]), "word": feature(bytes=[b"b", b"?", b"a"]),
              "defaulted": feature(int64s=[5, 6]), "first": feature(floats=[1.5]),
              "ids": feature(int64s=[1, 4]), "values": feature(floats=[2.5, -3]),
              "extents": feature(int64s=[7])}
        f |= {"box/" + s: feature(floats=list(uniform("decoder/" + s, (3,)))) for s in BOX}
    return tf.train.Example(features=tf.train.Features(feature=f))


def sequence(tf, k):
    lengths = ((2, 0, 3), ())[k]
    def ragged(name, kind="floats"):
        steps = [uniform(f"decoder/{name}{i}", (4,))[:n] for i, n in enumerate(lengths)]
        if kind == "int64s":
            steps = [np.arange(len(s)) * 2 + 1 for s in steps]
        return tf.train.FeatureList(feature=[feature(**{kind: list(s)}) for s in steps])
    lists = {n: ragged(n) for n in (*("box/" + s for s in BOX), "point/y", "point/x", "values")}
    lists["ids"] = ragged("ids", "int64s")
    lists["pairs"] = tf.train.FeatureList(feature=[feature(int64s=[i, -i]) for i in lengths])
    context = {"name": feature(int64s=[k + 7])}
    if k == 1:  # an absent list
        del lists["values"], lists["ids"]
    return tf.train.SequenceExample(context=tf.train.Features(feature=context),
                                    feature_lists=tf.train.FeatureLists(feature_list=lists))


def example_decoder(tf):
    from tf_slim.data import tfexample_decoder as d
    v1 = tf.compat.v1
    fixed, var = v1.FixedLenFeature, v1.VarLenFeature
    init = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([3, 4], tf.int64))
    table = tf.lookup.StaticHashTable(init, -1)
    features = {
        "image/encoded": fixed((), tf.string), "image/format": fixed((), tf.string, "jpeg"),
        "raw/encoded": fixed((), tf.string), "raw/format": fixed((), tf.string),
        "several": fixed((2,), tf.string), "fixed": fixed((2, 3), tf.float32),
        "numbers": var(tf.int64), "rows": var(tf.int64), "columns": var(tf.int64),
        "word": var(tf.string), "defaulted": fixed((2,), tf.int64, [8, 9]),
        "first": var(tf.float32), "ids": var(tf.int64), "values": var(tf.float32),
        "extents": fixed((1,), tf.int64, [9])}
    features |= {"box/" + s: var(tf.float32) for s in BOX}
    image = lambda **k: d.Image("image/encoded", "image/format", **k)
    backup = d.BackupHandler(d.Tensor("first"), d.Tensor("fixed", shape=[6]))
    return d.TFExampleDecoder(features, {
        "image": image(), "grey": image(channels=1), "real": image(dtype=tf.float32),
        "accurate": image(dct_method="INTEGER_ACCURATE"),
        "raw": d.Image("raw/encoded", "raw/format", shape=[1, 2, 3], dtype=tf.float32),
        "several": d.Image("several", "image/format", repeated=True),
        "fixed": d.Tensor("fixed"), "flat": d.Tensor("fixed", shape=[-1]),
        "numbers": d.Tensor("numbers"), "defaulted": d.Tensor("defaulted"),
        "shaped": d.Tensor("numbers", shape_keys=["rows", "columns"]),
        "word": d.LookupTensor("word", table),
        "boxes": d.BoundingBox(prefix="box/"), "backup": backup,
        "sparse": d.SparseTensor("ids", "values", "extents"),
        "unshaped": d.SparseTensor("ids", "values"),
        "dense": d.SparseTensor("ids", "values", shape=[5], densify=True, default_value=-1),
    })


def sequence_decoder(tf):
    from tf_slim.data import tfexample_decoder as d
    v1 = tf.compat.v1
    steps = {n: v1.VarLenFeature(tf.float32)
             for n in (*("box/" + s for s in BOX), "point/y", "point/x", "values")}
    steps["ids"] = v1.VarLenFeature(tf.int64)
    steps["pairs"] = v1.FixedLenSequenceFeature((2,), tf.int64)
    steps["absent"] = v1.FixedLenSequenceFeature((3,), tf.float32, allow_missing=True)
    full = ["box/" + s for s in BOX]
    return d.TFSequenceExampleDecoder({"name": v1.FixedLenFeature((), tf.int64)}, steps, {
        "boxes": d.BoundingBoxSequence(prefix="box/"),
        "sparse_boxes": d.BoundingBoxSequence(prefix="box/", return_dense=False),
        "count": d.NumBoxesSequence(full),
        "points": d.KeypointsSequence(prefix="point/", default_value=-2.0),
        "name": d.Tensor("name"), "pairs": d.Tensor("pairs"), "absent": d.Tensor("absent"),
        "padded": d.Tensor("values", default_value=0.5),
        "sparse": d.SparseTensor("ids", "values", shape=[3, 9]),
        "dense": d.SparseTensor("ids", "values", shape=[3, 9], densify=True),
    })


def find_moved(tf):
    """TensorFlow 2.15 has these elsewhere than TF-Slim looks for them."""
    from tf_slim.data import tfexample_decoder as d
    d.control_flow_ops.case, d.control_flow_ops.cond = tf.compat.v1.case, tf.compat.v1.cond
    d.array_ops.stack, d.image_ops.is_jpeg = tf.stack, tf.io.is_jpeg


def main(out):
    tf, _ = tensorflow()
    find_moved(tf)
    v1 = tf.compat.v1
    records = []
    with v1.Session() as session:
        decoder = example_decoder(tf)
        serialized = [example(tf, session.run, k).SerializeToString(deterministic=True)
                      for k in range(2)]
        serialized += [sequence(tf, k).SerializeToString(deterministic=True) for k in range(2)]
        session.run(v1.tables_initializer())
        for number, bytes_ in enumerate(serialized):
            d = decoder if number < 2 else sequence_decoder(tf)
            for name in d.list_items():
                if number == 1 and name == "shaped":
                    continue  # its shape is absent, too
                answer, = session.run(d.decode(tf.constant(bytes_), [name]))
                record = Record("item", {"id": f"{number}/{name}"})
                if isinstance(answer, v1.SparseTensorValue):
                    record.store("indices", answer.indices)
                    record.store("dims", answer.dense_shape)
                    answer = answer.values
                record.store("values", np.asarray(answer).astype("float64"))
                records.append(record)
    with tf.io.TFRecordWriter(os.path.join(out, "decoder.tfrecord")) as writer:
        for bytes_ in serialized:
            writer.write(bytes_)
    write_records(os.path.join(out, "decoder.bin"), records)


if __name__ == "__main__":
    main(sys.argv[1])
