// Data sets: files of records, what they hold, and threads that decode them ahead of training. Link
// with protobuf, ISA-L, zlib, libjpeg-turbo and libpng.
#pragma once

#include "data/dataset.hpp"
#include "data/dataset_info.hpp"
#include "data/pipeline.hpp"
#include "data/queues.hpp"
#include "data/tfexample_decoder.hpp"
