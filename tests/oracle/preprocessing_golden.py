"""preprocessing.bin: tf.image's resizing, crops and colours, and TF-Slim models' views."""
import os

import numpy as np

from golden import Record, extents, hashes, tensorflow, uniform, write_records

METHODS = ("bilinear", "nearest_neighbor", "bicubic", "area")
SIZES = [((7, 9), (5, 11)), ((13, 8), (6, 3)), ((6, 5), (15, 12)), ((9, 9), (9, 9))]
SAMPLES, QUANTILES = 20000, 21


def bytes_of(name, shape):
    """The last bytes of the name's hashes, as uint8."""
    count = int(np.prod(shape))
    return (hashes(name, 0, count) & np.uint64(255)).astype(np.uint8).reshape(shape)


def run(tf1, tensor):
    with tf1.Session() as session:
        return session.run(tensor)


def resized(tf1):
    for method, name in enumerate(METHODS):
        for number, (before, after) in enumerate(SIZES):
            tf1.reset_default_graph()
            ident = f"preprocessing/resize/{name}/{number}"
            x = tf1.constant(bytes_of(ident, (*before, 3)).astype(np.float32))
            y = run(tf1, tf1.image.resize_images(x, after, method))
            yield Record("resize", {"id": ident, "method": method, "in": extents(before),
                                    "out": extents(after)}, {"y": y})


def adjusted(tf1):
    image = tf1.image
    steps = {"brightness": image.adjust_brightness, "saturation": image.adjust_saturation,
             "hue": image.adjust_hue, "contrast": image.adjust_contrast}
    cases = [[("brightness", 0.125)], [("saturation", 0.5)], [("saturation", 1.5)], [("hue", 0.2)],
             [("hue", -0.15)], [("contrast", 0.3)], [("contrast", 1.7)],
             [("contrast", 1.5), ("hue", 0.1), ("brightness", -0.1), ("saturation", 0.75)],
             [("hue", -0.2), ("saturation", 1.25), ("contrast", 0.5), ("brightness", 0.0625)]]
    for number, case in enumerate(cases):
        tf1.reset_default_graph()
        ident = f"preprocessing/adjust/{number}"
        # Most within [0, 1], some outside: steps before may have left it.
        x = (0.6 * uniform(ident, (5, 7, 3)) + 0.45).astype(np.float32)
        y = tf1.constant(x)
        for name, value in case:
            y = steps[name](y, value)
        yield Record("adjust", {"id": ident, "steps": ",".join(f"{n}:{v}" for n, v in case)},
                     {"y": run(tf1, y)})
    for ident, x in (("preprocessing/standardize", bytes_of("preprocessing/standardize", (6, 5, 3))),
                     ("preprocessing/standardize_plain", np.full((4, 4, 3), 77, np.uint8))):
        tf1.reset_default_graph()
        yield Record("standardize", {"id": ident}, {
            "x": x, "y": run(tf1, image.per_image_standardization(tf1.constant(x)))})


def views(tf1):
    """What TF-Slim models' preprocess_for_eval do, step by step."""
    image = tf1.image

    def inception(x, height, width):
        x = image.central_crop(image.convert_image_dtype(x, tf1.float32), 0.875)
        x = image.resize_bilinear(x[None], [height, width], align_corners=False)[0]
        return (x - 0.5) * 2.0

    def boxed(x, height, width):
        return image.resize_image_with_crop_or_pad(tf1.to_float(x), height, width)

    nets = {"inception": inception, "lenet": lambda *a: (boxed(*a) - 128.0) / 128.0,
            "cifarnet": lambda *a: image.per_image_standardization(boxed(*a))}
    for net, view in nets.items():
        for number, (before, after) in enumerate([((11, 14), (8, 8)), ((6, 9), (7, 12)),
                                                  ((9, 5), (4, 8))]):
            tf1.reset_default_graph()
            ident = f"preprocessing/{net}/{number}"
            x = tf1.constant(bytes_of(ident, (*before, 3)))
            yield Record("view", {"id": ident, "net": net, "in": extents(before),
                                  "out": extents(after)}, {"y": run(tf1, view(x, *after))})


def central_crops(tf1):
    rows = []
    for height, width, fraction in [(375, 500, 0.875), (10, 7, 0.875), (1, 1, 0.5), (333, 500, 1.0),
                                    (299, 8, 0.3), (640, 427, 0.7)]:
        tf1.reset_default_graph()
        where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
        part = run(tf1, tf1.image.central_crop(tf1.constant(where.astype(np.int32)), fraction))
        rows.append([height, width, fraction, *part[0, 0], *part.shape[:2]])
    yield Record("central_crop", {"id": "preprocessing/central_crop"}, {"rows": np.array(rows)})


def distorted_boxes(tf1):
    """Quantiles of the boxes' top, left, height, width and area."""
    cases = [((375, 500), [], 0.1, (0.75, 1.33), (0.05, 1.0)),
             ((375, 500), [[0.2, 0.3, 0.6, 0.5]], 0.7, (0.75, 1.33), (0.05, 1.0)),
             ((64, 32), [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], 0.5, (0.5, 2.0), (0.2, 0.6))]
    at = np.linspace(0, 1, QUANTILES)
    for number, (extent, boxes, covered, aspect, area) in enumerate(cases):
        tf1.reset_default_graph()
        begin, size, _ = tf1.image.sample_distorted_bounding_box(
            [*extent, 3], np.array(boxes, np.float32).reshape(1, -1, 4), seed=number + 1,
            min_object_covered=covered, aspect_ratio_range=aspect, area_range=area,
            max_attempts=100, use_image_if_no_bounding_boxes=True)
        with tf1.Session() as session:
            drawn = [session.run((begin, size)) for _ in range(SAMPLES)]
        b, s = (np.array(x)[:, :2].astype(float) for x in zip(*drawn))
        table = np.stack([b[:, 0], b[:, 1], s[:, 0], s[:, 1], s[:, 0] * s[:, 1]])
        yield Record("distorted_box", {
            "id": f"preprocessing/distorted_box/{number}", "in": extents(extent),
            "min_object_covered": covered, "aspect_low": aspect[0], "aspect_high": aspect[1],
            "area_low": area[0], "area_high": area[1]},
            {"boxes": np.array(boxes).reshape(-1, 4), "quantiles": np.quantile(table, at, axis=1)})


def make(folder):
    tf, _ = tensorflow()
    tf1 = tf.compat.v1
    tf1.disable_v2_behavior()
    records = [r for part in (resized, adjusted, views, central_crops, distorted_boxes)
               for r in part(tf1)]
    write_records(os.path.join(folder, "preprocessing.bin"), records)
