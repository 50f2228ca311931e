// The passes over a made-up graph of 3,000 nodes, as nvcc evaluates them (see nvcc.sh).
#include "made_up_graph.hpp"

constexpr slim_test::made_up_facts facts = slim_test::made_up_program();
static_assert(facts.steps >= 3000 && facts.gradients == facts.variables && facts.bytes > 0);
