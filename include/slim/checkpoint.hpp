// TensorFlow's checkpoints: reading V2 and V1, writing V2, the file `checkpoint`, and models
// restored from them. Needs protobuf, leveldb, snappy and ISA-L (see docs/dependencies.md).
//
//   model<nets::vgg_arg_scope<nets::vgg_16<>>, input<1, 224, 224, 3>> m;
//   restore(m, "vgg_16.ckpt");
//   save_checkpoint(m, "logdir/model.ckpt-0");
#pragma once

#include "checkpoint/checkpoint_reader.hpp"
#include "checkpoint/checkpoint_state.hpp"
#include "checkpoint/checkpoint_writer.hpp"
#include "checkpoint/restore.hpp"
