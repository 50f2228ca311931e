#!/usr/bin/env python3
"""The input pipeline beside tf.data and torchvision: images a second of the same JPEGs in the same
TFRecords, decoded, preprocessed and batched by 32, as nets are trained:

  vgg        the smaller side resized to 256..512, a crop of 224 anywhere, mirrored half of the time,
             means subtracted
  inception  a part of random extent and shape resized to 224, mirrored half of the time, other
             brightness and saturation

  bench/pipeline.py --program build/bench/pipeline --environments FOLDER [--nets vgg,inception]
                    [--threads 2] [--seconds 5] [--rounds 5] [--out RESULT.md]

FOLDER gets the rivals' environments, by bench/rivals/install.py; --tensorflow and --torchvision name
interpreters that have them already.  `tf.data, cropping decoder` is its best known way for Inception:
decode_and_crop_jpeg.  The rivals' workers are this same file.  Rounds are interleaved, figures are
medians, a ratio is slim's images a second by the rival's.
"""
import argparse
import datetime
import glob
import os
import pathlib
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


def tensorflow_view(tf, net, cropping_decoder):
    """A function from an encoded image to what the net is trained on."""
    def vgg(jpeg):
        image = tf.io.decode_jpeg(jpeg, channels=3)
        side = tf.random.uniform((), 256, 513, tf.int32)
        shape = tf.shape(image)
        scale = tf.cast(side, tf.float32) / tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
        extent = tf.cast(tf.round(tf.cast(shape[:2], tf.float32) * scale), tf.int32)
        image = tf.image.random_crop(tf.image.resize(image, extent), (224, 224, 3))
        return tf.image.random_flip_left_right(image) - tf.constant(MEANS)

    def inception(jpeg):
        image = None if cropping_decoder else tf.io.decode_jpeg(jpeg, channels=3)
        shape = tf.image.extract_jpeg_shape(jpeg) if cropping_decoder else tf.shape(image)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape, tf.zeros((1, 0, 4)), min_object_covered=0.1, aspect_ratio_range=(0.75, 1.33),
            area_range=(0.05, 1.0), max_attempts=100, use_image_if_no_bounding_boxes=True)
        if cropping_decoder:
            part = tf.image.decode_and_crop_jpeg(jpeg, tf.concat((begin[:2], size[:2]), 0), channels=3)
        else:
            part = tf.slice(image, begin, size)
        part = tf.image.resize(tf.image.convert_image_dtype(part, tf.float32), (224, 224))
        part = tf.image.random_flip_left_right(part)
        part = tf.image.random_saturation(tf.image.random_brightness(part, 32 / 255), 0.5, 1.5)
        return (tf.clip_by_value(part, 0.0, 1.0) - 0.5) * 2.0

    return {"vgg": vgg, "inception": inception}[net]


def tensorflow_worker(given):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    tf.config.threading.set_inter_op_parallelism_threads(given.threads)
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    view = tensorflow_view(tf, given.net, given.worker == "tensorflow_cropping")

    def decode(record):
        e = tf.io.parse_single_example(record, {
            "image/encoded": tf.io.FixedLenFeature((), tf.string),
            "image/class/label": tf.io.FixedLenFeature((), tf.int64)})
        return view(e["image/encoded"]), e["image/class/label"]

    options = tf.data.Options()
    options.threading.private_threadpool_size = given.threads
    options.deterministic = False
    files = sorted(glob.glob(given.folder + "/train-*.tfrecord"))
    data = (tf.data.TFRecordDataset(files).repeat().shuffle(512)
            .map(decode, num_parallel_calls=given.threads).batch(32).prefetch(2)
            .with_options(options))
    return measure((len(labels) for _, labels in data), given.seconds)


def torchvision_worker(given):
    import io
    import random
    import struct

    import torch
    from PIL import Image
    from torchvision.transforms import v2
    torch.set_num_threads(1)

    def jpegs():
        """The encoded images: what lies between JPEG's markers of each record."""
        for path in sorted(glob.glob(given.folder + "/train-*.tfrecord")):
            data, at = open(path, "rb").read(), 0
            while at < len(data):
                n, = struct.unpack("<Q", data[at:at + 8])
                record = data[at + 12:at + 12 + n]
                yield record[record.index(b"\xff\xd8\xff"):record.rindex(b"\xff\xd9") + 2]
                at += 16 + n

    def resized(image):
        return v2.functional.resize(image, random.randint(256, 512))

    to_tensor = [v2.RandomHorizontalFlip(), v2.functional.pil_to_tensor, v2.ToDtype(torch.float32)]
    after = v2.Compose({
        "vgg": [resized, v2.RandomCrop(224), *to_tensor, v2.Normalize(MEANS, (1, 1, 1))],
        "inception": [v2.RandomResizedCrop(224, (0.05, 1.0), (0.75, 1.33)),
                      v2.ColorJitter(brightness=32 / 255, saturation=0.5), *to_tensor,
                      v2.Normalize((127.5,) * 3, (127.5,) * 3)]}[given.net])

    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.files = list(jpegs())

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            return after(Image.open(io.BytesIO(self.files[i])).convert("RGB")), i

    def batches():
        loader = torch.utils.data.DataLoader(Images(), 32, shuffle=True, num_workers=given.threads,
                                             persistent_workers=True, drop_last=True)
        while True:
            for _, labels in loader:
                yield len(labels)

    return measure(batches(), given.seconds)


WORKERS = {"tensorflow": (tensorflow_worker, "tf.data"),
           "tensorflow_cropping": (tensorflow_worker, "tf.data, cropping decoder"),
           "torchvision": (torchvision_worker, "torchvision, Pillow")}


def report(figures, given):
    lines = [f"# The input pipeline beside its rivals, {datetime.date.today()}", "",
             f"{platform.processor() or platform.machine()}, {given.threads} threads, "
             f"{given.rounds} rounds in turn of {given.seconds:g} s; `bench/pipeline.py`."]
    for net, contestants in figures.items():
        mine = statistics.median(contestants["slim"])
        lines += ["", f"| {net} | images/s, median | by round | slim's by it |", "|:--|--:|:--|--:|"]
        for name, all_rounds in contestants.items():
            median = statistics.median(all_rounds)
            rounds = ", ".join(f"{f:.0f}" for f in all_rounds)
            lines.append(f"| {name} | {median:.0f} | {rounds} | {mine / median:.2f} |")
    return "\n".join(lines) + "\n"


def commands(given, folder):
    """(net, contestant): the command that measures it."""
    pythons = {"tensorflow": given.tensorflow, "torchvision": given.torchvision}
    if given.environments:
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "rivals"))
        import install
        for name in pythons:
            pythons[name] = pythons[name] or install.environment(given.environments, name)
    found = {}
    for net in given.nets.split(","):
        found[net, "slim"] = [given.program, "run", folder, net, str(given.threads),
                              str(given.seconds)]
        for worker, (_, title) in WORKERS.items():
            python = pythons[worker.split("_")[0]]
            if python and (net == "inception" or worker != "tensorflow_cropping"):
                found[net, title] = [python, __file__, "--worker", worker, "--folder", folder,
                                     "--net", net, "--threads", str(given.threads), "--seconds",
                                     str(given.seconds)]
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--program")
    p.add_argument("--environments", type=pathlib.Path)
    p.add_argument("--tensorflow")
    p.add_argument("--torchvision")
    p.add_argument("--nets", default="vgg,inception")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--out")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    p.add_argument("--net", help=argparse.SUPPRESS)
    given = p.parse_args()
    if given.worker:
        print(f"{WORKERS[given.worker][0](given):.1f}")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([given.program, "make", folder], check=True)
        figures = {net: {} for net in given.nets.split(",")}
        todo = commands(given, folder)
        for _ in range(given.rounds):
            for (net, title), command in todo.items():
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                figures[net].setdefault(title, []).append(float(out.split()[-1]))
    text = report(figures, given)
    print(text)
    if given.out:
        open(given.out, "w", encoding="utf-8").write(text)


if __name__ == "__main__":
    sys.exit(main())
