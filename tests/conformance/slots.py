#!/usr/bin/env python3
"""A run that changes hands: TensorFlow's Saver restores our checkpoints with slots, we restore its,
and both go on to the values of a run that stayed where it was.

  slots.py --program SLOTS_RUN [--environment DIR]
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "oracle")]
from run import enter_environment

CLOSE = 1e-6  # of a value, or absolutely of one below 1
OURS = "slim/"  # what our checkpoints hold and no Saver asks for


def continue_ours(program, optimizer, folder, checkpoint=""):
    os.makedirs(folder, exist_ok=True)
    subprocess.run([program, optimizer, folder, *([checkpoint] if checkpoint else [])], check=True)


def continue_theirs(tf1, optimizer, folder, checkpoint="", **layout):
    """Three updates by TensorFlow, from the start or from a checkpoint; layout is for Saver."""
    import make_checkpoints
    os.makedirs(folder, exist_ok=True)
    config = tf1.ConfigProto(device_count={"CPU": 2})  # a sharded Saver has a file a device
    with tf1.Graph().as_default(), tf1.Session(config=config) as session:
        with tf1.device(lambda op: "/cpu:1" if "weights" in op.name else "/cpu:0"):
            gradient, train = make_checkpoints.slots_graph(tf1, optimizer)
            saver = tf1.train.Saver(**layout)
        session.run(tf1.global_variables_initializer())
        if checkpoint:
            saver.restore(session, checkpoint)
        step = int(session.run("global_step:0"))
        make_checkpoints.train_slots(session, gradient, train, range(step - 100, step - 97))
        saver.save(session, os.path.join(folder, "model.ckpt"), global_step=step + 3,
                   write_meta_graph=False)


def values(tf, folder):
    """What the latest checkpoint of a folder holds, by TensorFlow's own reading."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith(OURS)}


def compare(want, got, title):
    import numpy as np
    if want.keys() != got.keys():
        sys.exit(f"{title}: tensors {sorted(got)}, wanted {sorted(want)}")
    worst = max(float(np.max(np.abs(got[n] - want[n]) / np.maximum(np.abs(want[n]), 1)))
                for n in want)
    print(f"{title}: {len(want)} tensors within {worst:.1e}")
    if worst > CLOSE or want["global_step"] != got["global_step"]:
        sys.exit(f"{title}: not within {CLOSE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--environment", default="conformance-environment", metavar="DIR")
    given = parser.parse_args()
    enter_environment(given.environment, __file__)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import make_checkpoints
    tf1 = tf.compat.v1
    tf1.logging.set_verbosity(tf1.logging.ERROR)
    tf1.disable_eager_execution()
    tf1.disable_resource_variables()
    for optimizer in make_checkpoints.SLOT_OPTIMIZERS:
        with tempfile.TemporaryDirectory() as tmp:
            ours, theirs = os.path.join(tmp, "ours"), os.path.join(tmp, "theirs")
            continue_ours(given.program, optimizer, ours)
            continue_theirs(tf1, optimizer, theirs)
            compare(values(tf, theirs), values(tf, ours), f"{optimizer}, three updates")
            layouts = {"V1": {"write_version": tf1.train.SaverDef.V1}, "sharded": {"sharded": True}}
            for name, layout in layouts.items():
                continue_theirs(tf1, optimizer, os.path.join(tmp, name), **layout)
            begun = {folder: tf.train.latest_checkpoint(folder)
                     for folder in (ours, theirs, *(os.path.join(tmp, n) for n in layouts))}
            continue_theirs(tf1, optimizer, theirs, begun[theirs])
            want = values(tf, theirs)
            for title, go_on, checkpoint in (
                    ("ours, gone on with by TensorFlow", lambda *a: continue_theirs(tf1, *a), ours),
                    ("ours, gone on with", lambda *a: continue_ours(given.program, *a), ours),
                    ("TensorFlow's, gone on with by us",
                     lambda *a: continue_ours(given.program, *a), theirs),
                    *((f"TensorFlow's {name}, gone on with by us",
                       lambda *a: continue_ours(given.program, *a), os.path.join(tmp, name))
                      for name in layouts)):
                out = os.path.join(tmp, title)
                go_on(optimizer, out, begun[checkpoint])
                compare(want, values(tf, out), f"{optimizer}, {title}")


if __name__ == "__main__":
    main()
