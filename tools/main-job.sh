#!/bin/sh
# The main job: VGG-16's report, one image classified, the forward/backward benchmark, and LeNet
# trained from nothing on a data set that is made here.
set -eu
cd "$(dirname "$0")/.."
sh tools/install-packages.sh
[ -d build/release ] || meson setup build/release >/dev/null
ninja -C build/release -j 2 examples/04_report examples/03_classify bench/vgg_16 \
  examples/08_make_glyphs examples/09_train_lenet
echo
echo "== VGG-16, as the compiler sees it"
build/release/examples/04_report
echo
echo "== One image"
build/release/examples/03_classify examples/data/grace_hopper.jpg
echo
echo "== Forward, and forward + backward"
build/release/bench/vgg_16 --benchmark_min_time=2
echo
echo "== LeNet from nothing: a data set of this machine's fonts, training, evaluation on others"
rm -rf build/glyphs
build/release/examples/08_make_glyphs build/glyphs
build/release/examples/09_train_lenet build/glyphs --logdir build/glyphs/log
