// A fixed piece of work for a compiler: bench/compile_time.py compiles it in the same run as the
// units under budget and gives their times as ratios to its time.  About half of it is templates
// and constant expressions, the rest is optimisation.  To change it changes what budgets mean.
#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace calibration {

// Types named by values, and lists of them.
template <std::size_t Rows, std::size_t Columns>
struct shape {
    static constexpr std::size_t rows = Rows;
    static constexpr std::size_t columns = Columns;
    static constexpr std::size_t size = Rows * Columns;
};

template <class... Items>
struct list {
    static constexpr std::size_t size = sizeof...(Items);
};

template <class List, class Item>
struct append;

template <class... Items, class Item>
struct append<list<Items...>, Item> {
    using type = list<Items..., Item>;
};

template <std::size_t Count>
struct shapes {
    using type = typename append<typename shapes<Count - 1>::type,
                                 shape<Count % 7 + 1, Count % 11 + Count / 32 + 1>>::type;
};

template <>
struct shapes<0> {
    using type = list<>;
};

template <class Sum, class... Items>
struct total : Sum {};

template <class Sum, class First, class... Rest>
struct total<Sum, First, Rest...>
    : total<std::integral_constant<std::size_t, Sum::value + First::size>, Rest...> {};

template <class... Items>
constexpr std::size_t total_of(list<Items...>) {
    return total<std::integral_constant<std::size_t, 0>, Items...>::value;
}

// A constant expression: the primes below a bound.
template <std::size_t Bound>
constexpr std::size_t primes() {
    std::array<bool, Bound> composite{};
    std::size_t count = 0;
    for (std::size_t i = 2; i < Bound; ++i) {
        if (composite[i]) continue;
        ++count;
        for (std::size_t j = i * i; j < Bound; j += i) composite[j] = true;
    }
    return count;
}

// Expression templates over fixed arrays.
template <class Shape>
struct dense {
    std::array<float, Shape::size> values{};
    float operator[](std::size_t i) const { return values[i]; }
};

template <class Left, class Right, class Operation>
struct binary {
    const Left& left;
    const Right& right;
    auto operator[](std::size_t i) const { return Operation{}(left[i], right[i]); }
};

template <class Shape, class Left, class Right>
void assign(dense<Shape>& to, const Left& left, const Right& right) {
    const binary<Left, Right, std::plus<>> sum{left, right};
    const binary<decltype(sum), Right, std::multiplies<>> product{sum, right};
    const binary<decltype(product), Left, std::minus<>> difference{product, left};
    for (std::size_t i = 0; i < Shape::size; ++i) to.values[i] = difference[i];
}

template <class Shape>
float multiply(const dense<Shape>& a, const dense<Shape>& b) {
    dense<shape<Shape::rows, Shape::rows>> c;
    for (std::size_t i = 0; i < Shape::rows; ++i)
        for (std::size_t j = 0; j < Shape::rows; ++j)
            for (std::size_t k = 0; k < Shape::columns; ++k)
                c.values[i * Shape::rows + j] +=
                    a[i * Shape::columns + k] * b[j * Shape::columns + k];
    return *std::max_element(c.values.begin(), c.values.end());
}

template <class Shape>
float work(float start) {
    dense<Shape> a, b, c;
    a.values.fill(start);
    b.values.fill(1 - start);
    assign(c, a, b);
    assign(a, c, b);
    std::sort(c.values.begin(), c.values.end());
    return multiply(a, c);
}

template <class... Items>
float work_all(list<Items...>, float start) {
    std::tuple<std::pair<Items, float>...> results{{Items{}, work<Items>(start)}...};
    return std::apply([](const auto&... pair) { return (pair.second + ...); }, results);
}

// The standard containers.
template <std::size_t Number>
struct tag {
    std::vector<std::unique_ptr<shape<Number, Number>>> items;
};

template <std::size_t... Numbers>
std::size_t visit_all(std::index_sequence<Numbers...>) {
    using any = std::variant<tag<Numbers>...>;
    std::map<std::string, any> named;
    (named.emplace(std::to_string(Numbers), tag<Numbers>{}), ...);
    std::size_t sum = 0;
    for (auto& [name, item] : named)
        sum += name.size() + std::visit([](auto& value) { return value.items.size(); }, item);
    return sum;
}

using all = shapes<12>::type;
static_assert(total_of(all{}) > 0);
static_assert(primes<5000>() == 669);

}  // namespace calibration

float calibrate(float start) {
    return calibration::work_all(calibration::all{}, start) +
           static_cast<float>(calibration::visit_all(std::make_index_sequence<6>{}));
}
