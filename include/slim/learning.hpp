// Training: steps as TF-Slim takes them, and the loop around them. Needs what checkpoints and records
// need, and libpng (see docs/dependencies.md).
#pragma once

#include "learning/moving_averages.hpp"
#include "learning/optimize_loss.hpp"
#include "learning/progress.hpp"
#include "learning/train.hpp"
#include "learning/train_op.hpp"
