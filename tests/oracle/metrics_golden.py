"""metrics.bin: streaming metrics of the real TF-Slim over three batches, with and without weights."""
import os

import numpy as np

from golden import Record, tensorflow, uniform, write_records

BATCHES, SIZE, CLASSES = 3, 20, 5


def unit(name, shape=(SIZE,)):
    return ((uniform("metrics/" + name, shape) + 1) / 2).astype(np.float32)


def batch(k):
    c = (unit(f"c{k}") * CLASSES).astype(np.int64)
    d = (unit(f"d{k}") * CLASSES).astype(np.int64)
    return {"two": np.stack([c, (c + 1 + c % 3) % CLASSES], 1),
            "best": np.stack([d, (d + 2 + d % 2) % CLASSES], 1),
            "p": unit(f"p{k}"), "q": unit(f"q{k}"), "l": unit(f"l{k}") > 0.5, "c": c, "d": d,
            "s": unit(f"s{k}", (SIZE, CLASSES)), "w": unit(f"w{k}")}


def metrics(m):
    """Name: a function of the placeholders and weights that makes (value, update)."""
    binary = ["precision", "recall", "true_positives", "true_negatives", "false_positives",
              "false_negatives", "false_positive_rate", "false_negative_rate"]
    above = lambda x: x > 0.5
    yield "mean", lambda t, w: m.streaming_mean(t.p, w)
    yield "accuracy", lambda t, w: m.streaming_accuracy(t.c, t.d, w)
    yield "mean_absolute_error", lambda t, w: m.streaming_mean_absolute_error(t.p, t.q, w)
    yield "mean_squared_error", lambda t, w: m.streaming_mean_squared_error(t.p, t.q, w)
    yield "root_mean_squared_error", lambda t, w: m.streaming_root_mean_squared_error(t.p, t.q, w)
    yield "mean_relative_error", lambda t, w: m.streaming_mean_relative_error(t.p, t.q, t.q - 0.5, w)
    yield "percentage_less", lambda t, w: m.streaming_percentage_less(t.p, 0.3, w)
    yield "recall_at_2", lambda t, w: m.streaming_recall_at_k(t.s, t.c, 2, w)
    yield "mean_tensor", lambda t, w: m.streaming_mean_tensor(t.p, w)
    for name in binary:
        f = getattr(m, "streaming_" + name)
        yield name, lambda t, w, f=f: f(above(t.p), t.l, w)
    for name in ("true_positives", "true_negatives", "false_positives", "false_negatives",
                 "precision", "recall", "false_positive_rate", "false_negative_rate"):
        f = getattr(m, f"streaming_{name}_at_thresholds")
        yield name + "_at_thresholds", lambda t, w, f=f: f(t.p, t.l, [0.7, 0.1, 0.5], w)
    yield "auc_roc", lambda t, w: m.streaming_auc(t.p, t.l, w)
    yield "auc_pr", lambda t, w: m.streaming_auc(t.p, t.l, w, num_thresholds=50, curve="PR")
    yield "sensitivity", lambda t, w: m.streaming_sensitivity_at_specificity(t.p, t.l, 0.6, w)
    yield "f1", lambda t, w: m.f1_score(t.l, t.p, w)
    yield "specificity", lambda t, w: m.streaming_specificity_at_sensitivity(t.p, t.l, 0.6, w)
    yield "recall_at_precision", lambda t, w: m.recall_at_precision(t.l, t.p, 0.5, w)
    yield "recall_at_precision_strict", lambda t, w: m.recall_at_precision(
        t.l, t.p, 0.5, w, strict_mode=True)
    yield "precision_at_recall", lambda t, w: m.precision_at_recall(t.l, t.p, 0.6, w)
    yield "dynamic_auc", lambda t, w: m.streaming_dynamic_auc(t.l, t.p, weights=w)
    yield "dynamic_auc_pr", lambda t, w: m.streaming_dynamic_auc(t.l, t.p, "PR", weights=w)
    yield "sparse_recall_at_2", lambda t, w: m.streaming_sparse_recall_at_k(
        t.s, t.two, 2, weights=w)
    yield "sparse_recall_at_2_class", lambda t, w: m.streaming_sparse_recall_at_k(
        t.s, t.two, 2, class_id=1, weights=w)
    yield "sparse_precision_at_2", lambda t, w: m.streaming_sparse_precision_at_k(
        t.s, t.two, 2, weights=w)
    yield "sparse_precision_at_2_class", lambda t, w: m.streaming_sparse_precision_at_k(
        t.s, t.two, 2, class_id=1, weights=w)
    yield "sparse_average_precision_at_3", (
        lambda t, w: m.streaming_sparse_average_precision_at_k(t.s, t.two, 3, weights=w))
    yield "sparse_recall_at_top_2", lambda t, w: m.sparse_recall_at_top_k(t.two, t.best, weights=w)
    yield "sparse_precision_at_top_2_class", (
        lambda t, w: m.streaming_sparse_precision_at_top_k(t.best, t.two, class_id=1, weights=w))
    yield "sparse_average_precision_at_top_2", (
        lambda t, w: m.streaming_sparse_average_precision_at_top_k(t.best, t.two, weights=w))
    for name, options in (("auc_interval", {}), ("auc_interval_plain", {
            "alpha": 0.8, "logit_transformation": False})):
        yield name, lambda t, w, o=options: interval(m, t, w, o)
    yield "equal_thresholds", lambda t, w: equal_thresholds(m, t, w)
    yield "histogram_auc", lambda t, w: m.auc_using_histogram(t.l, t.p, [0.0, 1.0], nbins=10)
    yield "mean_iou", lambda t, w: m.streaming_mean_iou(t.c, t.d, CLASSES, w)
    yield "covariance", lambda t, w: m.streaming_covariance(t.p, t.q, w)
    yield "pearson", lambda t, w: m.streaming_pearson_correlation(t.p, t.q, w)
    yield "kappa", lambda t, w: m.cohen_kappa(t.d, t.c, CLASSES, w)
    yield "count", lambda t, w: m.count(t.p, w)


def interval(m, t, w, options):
    """The area and its bounds, of predictions among which some tie."""
    import tensorflow as tf
    data, update = m.auc_with_confidence_intervals(t.l, tf.round(t.p * 8) / 8, w, **options)
    return tf.stack(data), update


def equal_thresholds(m, t, w):
    """Precision and recall at six thresholds, side by side."""
    import tensorflow as tf
    data, update = m.precision_recall_at_equal_thresholds(t.l, t.p, w, num_thresholds=6)
    return tf.concat([data.precision, data.recall], 0), update


def record(tf1, name, make, weighted):
    tf1.reset_default_graph()
    first = batch(0)
    placeholders = {k: tf1.placeholder(v.dtype, v.shape) for k, v in first.items()}
    tensors = type("tensors", (), placeholders)
    value, update = make(tensors, placeholders["w"] if weighted else None)
    values = []
    with tf1.Session() as s:
        s.run(tf1.local_variables_initializer())
        # Some values depend on the inputs' placeholders, though not on what is fed.
        before = s.run(value, {placeholders[key]: v for key, v in first.items()})
        for k in range(BATCHES):
            s.run(update, {placeholders[key]: v for key, v in batch(k).items()})
            values.append(s.run(value, {placeholders[key]: v for key, v in first.items()}))
    return Record("metric", {"id": name, "weighted": int(weighted)},
                  {"before": np.array(before, float), "values": np.array(values, float)})


def make(folder):
    tf, slim = tensorflow()
    tf.compat.v1.disable_v2_behavior()
    # TF-Slim 1.1 looks for these where TensorFlow 2.15 no longer has them.
    from tensorflow.python.ops import (array_ops, array_ops_stack, cond, control_flow_assert,
                                       control_flow_ops)
    control_flow_ops.cond, control_flow_ops.Assert = cond.cond, control_flow_assert.Assert
    array_ops.stack, array_ops.unstack = array_ops_stack.stack, array_ops_stack.unstack
    records = [record(tf.compat.v1, name, f, weighted)
               for name, f in metrics(slim.metrics) for weighted in (False, True)]
    write_records(os.path.join(folder, "metrics.bin"), records)
