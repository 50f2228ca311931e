"""learning.bin: learning rates, and steps of training, of the real TF-Slim."""
import os

import numpy as np

from golden import Record, tensorflow, uniform, write_records

STEPS = (0, 1, 2, 3, 4, 5, 9, 10, 11, 20, 29, 30, 31, 45, 60, 100)


def decays(tf1):
    t = tf1.train
    rate = {"learning_rate": 0.1}
    time = {**rate, "decay_steps": 10, "decay_rate": 0.7}
    power = {**rate, "decay_steps": 30, "end_learning_rate": 0.01, "power": 1.5}
    cosine = {**rate, "alpha": 0.1}
    yield "piecewise", {}, lambda s: t.piecewise_constant(s, [3, 10], [1.0, 0.5, 0.1])
    for name, f in (("exponential", t.exponential_decay), ("natural_exp", t.natural_exp_decay),
                    ("inverse_time", t.inverse_time_decay)):
        yield name, time, lambda s, f=f: f(global_step=s, **time)
        yield name + "_staircase", time, lambda s, f=f: f(global_step=s, staircase=True, **time)
    yield "polynomial", power, lambda s: t.polynomial_decay(global_step=s, **power)
    yield "polynomial_cycle", power, lambda s: t.polynomial_decay(global_step=s, cycle=True, **power)
    whole = {**cosine, "decay_steps": 30}
    yield "cosine_decay", whole, lambda s: t.cosine_decay(global_step=s, **whole)
    for name, t_mul in (("cosine_restarts", 2.0), ("cosine_restarts_equal", 1.0)):
        a = {**cosine, "first_decay_steps": 10, "t_mul": t_mul, "m_mul": 0.8}
        yield name, a, lambda s, a=a: t.cosine_decay_restarts(global_step=s, **a)
    linear = {**cosine, "decay_steps": 30, "num_periods": 1.5, "beta": 0.01}
    yield "linear_cosine", linear, lambda s: t.linear_cosine_decay(global_step=s, **linear)


def decay_records(tf):
    tf1 = tf.compat.v1
    for name, attributes, make in decays(tf1):
        tf1.reset_default_graph()
        step = tf1.placeholder(tf.int64, ())
        rate = make(step)
        with tf1.Session() as s:
            rates = [s.run(rate, {step: k}) for k in STEPS]
        yield Record("decay", {"id": name, **attributes},
                     {"steps": np.array(STEPS, float), "rates": np.array(rates)})


BATCH, FEATURES, CLASSES, TRAINED_STEPS = 4, 5, 3, 5
# What create_train_op is given.
TRAINED = {
    "plain": {},
    "clip": {"clip_gradient_norm": 0.1},
    "multipliers_and_clip": {"clip_gradient_norm": 0.2,
                             "gradient_multipliers": {"a/weights": 10.0, "b/biases": 0.5}},
    "some": {"variables_to_train": ["b/weights", "b/biases"]},
    "decay": {"decay": True},
}


# What optimize_loss is given.
OPTIMIZED = {
    "plain": {},
    "clip": {"clip_gradients": 0.3},
    "multipliers_and_clip": {"clip_gradients": 0.3,
                             "gradient_multipliers": {"a/weights:0": 10.0, "b/biases:0": 0.5}},
    "decay": {"learning_rate_decay_fn": True},
}


def two_layers(tf, slim):
    """The net that is trained, and its total loss."""
    tf1 = tf.compat.v1
    tf1.reset_default_graph()
    x = tf1.placeholder(tf.float64, (BATCH, FEATURES))
    y = tf1.placeholder(tf.int32, (BATCH,))
    hidden = slim.fully_connected(x, 8, scope="a",
                                  weights_regularizer=slim.l2_regularizer(0.01))
    logits = slim.fully_connected(hidden, CLASSES, activation_fn=None, scope="b")
    tf1.losses.sparse_softmax_cross_entropy(y, logits)
    return x, y, tf1.losses.get_total_loss()


def take_steps(tf, slim, x, y, step):
    """The loss before each step, and all variables after it."""
    losses, moved = [], []
    with tf.compat.v1.Session() as s:
        s.run(tf.compat.v1.global_variables_initializer())
        for v in slim.get_model_variables():
            v.load(uniform("learning/" + v.op.name, v.shape.as_list()), s)
        for k in range(TRAINED_STEPS):
            batch = {x: uniform(f"learning/x{k}", (BATCH, FEATURES)),
                     y: [(k + i) % CLASSES for i in range(BATCH)]}
            losses.append(s.run(step, batch))
            moved.append(np.concatenate([s.run(v).ravel() for v in slim.get_model_variables()]))
        count = s.run(slim.get_global_step())
    return int(count), {"losses": np.array(losses), "variables": np.array(moved)}


def train_record(tf, slim, name, options):
    """Steps of momentum; each on another batch."""
    tf1, options, rate = tf.compat.v1, dict(options), 0.1
    x, y, total = two_layers(tf, slim)
    if options.pop("decay", False):
        rate = tf1.train.exponential_decay(0.1, slim.get_or_create_global_step(), 2, 0.5)
    if "variables_to_train" in options:
        options["variables_to_train"] = [v for v in slim.get_trainable_variables()
                                         if v.op.name in options["variables_to_train"]]
    step = slim.learning.create_train_op(total, tf1.train.MomentumOptimizer(rate, 0.9), **options)
    count, arrays = take_steps(tf, slim, x, y, step)
    return Record("train_op", {"id": name, "global_step": count}, arrays)


def optimize_loss_record(tf, slim, name, options):
    from tf_slim.layers.optimizers import optimize_loss
    tf1, options = tf.compat.v1, dict(options)
    x, y, total = two_layers(tf, slim)
    if options.get("learning_rate_decay_fn"):
        options["learning_rate_decay_fn"] = lambda rate, step: tf1.train.exponential_decay(
            rate, step, 2, 0.5)
    step = optimize_loss(total, slim.get_or_create_global_step(), 0.1,
                         lambda rate: tf1.train.MomentumOptimizer(rate, 0.9), **options)
    count, arrays = take_steps(tf, slim, x, y, step)
    return Record("optimize_loss", {"id": name, "global_step": count}, arrays)


def average_records(tf):
    """An exponential moving average of one variable that is another at each step."""
    tf1 = tf.compat.v1
    for by_step in (0, 1):
        tf1.reset_default_graph()
        w = tf1.get_variable("w", initializer=uniform("learning/ema0", (8,)), use_resource=True)
        step = tf1.placeholder(tf.float32, ())
        average = tf1.train.ExponentialMovingAverage(0.9, step if by_step else None)
        update = average.apply([w])
        values = []
        with tf1.Session() as s:
            s.run(tf1.global_variables_initializer())
            for k in range(1, 6):
                w.load(uniform(f"learning/ema{k}", (8,)), s)
                s.run(update, {step: k})
                values.append(s.run(average.average(w)))
        yield Record("average", {"id": by_step}, {"values": np.array(values)})


def make(folder):
    tf, slim = tensorflow()
    tf.compat.v1.disable_v2_behavior()
    # TF-Slim 1.1 looks for the class where TensorFlow 2.15 no longer has it.
    from tensorflow.python.framework import indexed_slices, ops
    ops.IndexedSlices = indexed_slices.IndexedSlices
    trained = [train_record(tf, slim, name, o) for name, o in TRAINED.items()]
    trained += [optimize_loss_record(tf, slim, name, o) for name, o in OPTIMIZED.items()]
    write_records(os.path.join(folder, "learning.bin"),
                  [*decay_records(tf), *trained, *average_records(tf)])
