#!/bin/sh
# Installs the headers of cuDNN's C++ frontend below a folder, unless they are there, and prints where
# they are; prints nothing where they cannot be had: the kernels are then built without cuDNN.
set -eu
folder=$1
find_headers() { find "$(pwd)/$folder" -name cudnn_frontend.h -printf '%h\n' 2>/dev/null | head -n 1; }
if [ -z "$(find_headers)" ]; then
  python3 -m venv "$folder" >/dev/null 2>&1 &&
    "$folder/bin/pip" install --quiet --no-deps nvidia-cudnn-frontend==1.32.0 >/dev/null 2>&1 || true
fi
find_headers
