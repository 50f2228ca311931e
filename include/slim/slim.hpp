// All of slim's core: layers, nets, losses, optimizers, models and the kernels of the CPU.
#pragma once

#include "network.hpp"  // first: the shortest way to its errors
#include "model.hpp"
#include "nets/alexnet.hpp"
#include "nets/cifarnet.hpp"
#include "nets/inception_v1.hpp"
#include "nets/lenet.hpp"
#include "nets/overfeat.hpp"
#include "nets/resnet_v1.hpp"
#include "nets/vgg.hpp"
#include "report.hpp"
