#!/usr/bin/env python3
"""The input pipeline beside tf.data and torchvision: images a second of the same JPEGs in the same
TFRecords, decoded and preprocessed as VGG is trained (the smaller side resized to 256..512, a crop of
224 anywhere, mirrored half of the time, means subtracted), in batches of 32.

  bench/pipeline.py --program build/bench/pipeline --tensorflow PYTHON --torchvision PYTHON
                    [--threads 2] [--seconds 5] [--rounds 5] [--out RESULT.md]

PYTHON is an interpreter that has the rival: bench/rivals/install.py makes such; torchvision and Pillow
are to be added to PyTorch's with pip. The rivals' workers are this same file. Rounds are interleaved,
figures are medians, a ratio is slim's images a second by the rival's.
"""
import argparse
import datetime
import glob
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

MEANS = (123.68, 116.78, 103.94)


def measure(batches, seconds):
    """Images a second of an iterator over batches of a number of images."""
    for _ in range(4):
        next(batches)
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += next(batches)
    return images / (time.perf_counter() - start)


def tensorflow_worker(folder, threads, seconds):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)

    def decode(record):
        e = tf.io.parse_single_example(record, {
            "image/encoded": tf.io.FixedLenFeature((), tf.string),
            "image/class/label": tf.io.FixedLenFeature((), tf.int64)})
        image = tf.io.decode_jpeg(e["image/encoded"], channels=3)
        side = tf.random.uniform((), 256, 513, tf.int32)
        shape = tf.shape(image)
        scale = tf.cast(side, tf.float32) / tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
        extent = tf.cast(tf.round(tf.cast(shape[:2], tf.float32) * scale), tf.int32)
        image = tf.image.resize(image, extent)
        image = tf.image.random_crop(image, (224, 224, 3))
        return tf.image.random_flip_left_right(image) - tf.constant(MEANS), e["image/class/label"]

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.deterministic = False
    data = (tf.data.TFRecordDataset(sorted(glob.glob(folder + "/train-*.tfrecord"))).repeat()
            .shuffle(512).map(decode, num_parallel_calls=threads).batch(32).prefetch(2)
            .with_options(options))
    return measure((len(labels) for _, labels in data), seconds)


def torchvision_worker(folder, threads, seconds):
    import io
    import random
    import struct

    import torch
    from PIL import Image
    from torchvision.transforms import v2
    torch.set_num_threads(1)

    def jpegs():
        """The encoded images: what lies between JPEG's markers of each record."""
        for path in sorted(glob.glob(folder + "/train-*.tfrecord")):
            data, at = open(path, "rb").read(), 0
            while at < len(data):
                n, = struct.unpack("<Q", data[at:at + 8])
                record = data[at + 12:at + 12 + n]
                yield record[record.index(b"\xff\xd8\xff"):record.rindex(b"\xff\xd9") + 2]
                at += 16 + n

    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.files = list(jpegs())
            self.after = v2.Compose([v2.RandomCrop(224), v2.RandomHorizontalFlip(),
                                     v2.ToDtype(torch.float32),
                                     v2.Normalize(MEANS, (1, 1, 1))])

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            image = Image.open(io.BytesIO(self.files[i])).convert("RGB")
            image = v2.functional.resize(image, random.randint(256, 512))
            return self.after(v2.functional.pil_to_tensor(image)), i

    def batches():
        loader = torch.utils.data.DataLoader(Images(), 32, shuffle=True, num_workers=threads,
                                             persistent_workers=True, drop_last=True)
        while True:
            for _, labels in loader:
                yield len(labels)

    return measure(batches(), seconds)


def report(figures, given):
    mine = statistics.median(figures["slim"])
    lines = [f"# The input pipeline beside its rivals, {datetime.date.today()}", "",
             f"{platform.processor() or platform.machine()}, {given.threads} threads, "
             f"{given.rounds} rounds in turn of {given.seconds:g} s; `bench/pipeline.py`.", "",
             "| | images/s, median | by round | slim's by it |", "|:--|--:|:--|--:|"]
    for name, all_rounds in figures.items():
        median = statistics.median(all_rounds)
        rounds = ", ".join(f"{f:.0f}" for f in all_rounds)
        lines.append(f"| {name} | {median:.0f} | {rounds} | {mine / median:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--program")
    p.add_argument("--tensorflow")
    p.add_argument("--torchvision")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--out")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    given = p.parse_args()
    if given.worker:
        work = {"tensorflow": tensorflow_worker, "torchvision": torchvision_worker}[given.worker]
        print(f"{work(given.folder, given.threads, given.seconds):.1f}")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([given.program, "make", folder], check=True)
        commands = {"slim": [given.program, "run", folder, str(given.threads), str(given.seconds)]}
        for name in ("tensorflow", "torchvision"):
            if getattr(given, name):
                commands[name] = [getattr(given, name), __file__, "--worker", name, "--folder",
                                  folder, "--threads", str(given.threads), "--seconds",
                                  str(given.seconds)]
        figures = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                figures[name].append(float(out.split()[-1]))
    text = report(figures, given)
    print(text)
    if given.out:
        open(given.out, "w", encoding="utf-8").write(text)


if __name__ == "__main__":
    sys.exit(main())
