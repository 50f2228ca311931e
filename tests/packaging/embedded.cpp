// A program that carries its weights: run where there are no files.
#include <slim/checkpoint.hpp>
#include <slim/safetensors.hpp>
#include <slim/slim.hpp>

#include <cstdio>

#include "all.safetensors.hpp"
#include "v1.hpp"
#include "v2.data-00000-of-00001.hpp"
#include "v2.index.hpp"

using namespace slim;

struct small : net<"small", bias_add<scope{"logits"}>> {};

int main() {
  const safetensors_reader safe(embedded::all_safetensors());
  const checkpoint_reader v1(embedded::v1());
  const checkpoint_reader v2(embedded::v2_index(), embedded::v2_data_00000_of_00001());
  const std::vector<float> biases = safe.read<float>("net/biases");

  model<small, input<1, 5>> m;
  const std::map<std::string, std::string> names{{"net/biases", "small/logits/biases"}};
  bool same = biases.size() == 5;
  for (const tensor_reader* weights :
       {static_cast<const tensor_reader*>(&safe), static_cast<const tensor_reader*>(&v1),
        static_cast<const tensor_reader*>(&v2)}) {
    m.initialize();  // zeros
    restore(m, *weights, names);
    const auto logits = m.forward(std::vector<float>(5));
    same = same && std::equal(logits.begin(), logits.end(), biases.begin());
  }
  std::printf("%zu logits, %s\n", biases.size(), same ? "the same" : "not the same");
  return same ? 0 : 1;
}
