// ring_buffer, timer_heap, split_slab, chunk_source, buffer.
#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "eventer/base/buffer.hpp"
#include "eventer/base/ring_buffer.hpp"
#include "eventer/base/split_slab.hpp"
#include "eventer/base/timer_heap.hpp"

using namespace std::chrono_literals;

TEST_CASE("a ring buffer keeps its order while it grows and wraps") {
  eventer::ring_buffer<int> queue;
  int in = 0, out = 0;
  for (int round = 0; round < 2000; ++round) {
    for (int i = 0; i < 3; ++i) queue.push_back(in++);
    REQUIRE(queue[1] == out + 1);
    for (int i = 0; i < 2; ++i) REQUIRE(queue.pop_front() == out++);
  }
  while (!queue.empty()) REQUIRE(queue.pop_front() == out++);
  CHECK(in == out);
  const std::size_t peak = queue.capacity();
  queue.shrink();
  CHECK(queue.capacity() < peak);
  queue.push_back(7);
  CHECK(queue.pop_front() == 7);
}

TEST_CASE("timers fire in the order of their deadlines, whatever is cancelled between") {
  eventer::timer_heap heap;
  std::mt19937 random(42);
  std::vector<eventer::timer_node> nodes(5000);
  std::vector<std::pair<eventer::time_point, eventer::timer_node*>> model;
  for (auto& node : nodes) {
    const auto deadline = eventer::time_point(std::chrono::nanoseconds(random() % 1000));
    heap.arm(node, deadline);
    model.emplace_back(deadline, &node);
  }
  for (int i = 0; i < 2000; ++i) {
    const std::size_t index = random() % model.size();
    heap.cancel(*model[index].second);
    CHECK_FALSE(model[index].second->armed());
    model.erase(model.begin() + static_cast<std::ptrdiff_t>(index));
  }
  std::sort(model.begin(), model.end());
  REQUIRE(heap.size() == model.size());
  for (const auto& [deadline, node] : model) {
    REQUIRE(heap.earliest() == deadline);
    if (deadline > eventer::time_point{}) {
      REQUIRE(heap.take_expired(deadline - 1ns) == nullptr);
    }
    REQUIRE(heap.take_expired(deadline) != nullptr);
  }
  CHECK(heap.empty());
}

TEST_CASE("cancelling a timer twice, or one that has fired, does nothing") {
  eventer::timer_heap heap;
  eventer::timer_node node;
  heap.arm(node, eventer::time_point(1ns));
  heap.cancel(node);
  heap.cancel(node);
  heap.arm(node, eventer::time_point(1ns));
  CHECK(heap.take_expired(eventer::time_point(2ns)) == &node);
  heap.cancel(node);
  CHECK(heap.empty());
}

TEST_CASE("slab blocks are distinct, aligned, and find their cold part and owner") {
  struct alignas(64) hot {
    char bytes[64];
  };
  struct cold {
    char bytes[40];
  };
  eventer::chunk_source source;
  int owner = 0;
  eventer::split_slab<hot, cold> slab(source, &owner);
  std::set<hot*> seen;
  std::vector<hot*> blocks;
  for (int i = 0; i < 3000; ++i) {
    hot* const block = slab.allocate();
    REQUIRE(block != nullptr);
    REQUIRE(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
    REQUIRE(seen.insert(block).second);
    REQUIRE(slab.owner_of(block) == &owner);
    REQUIRE(slab.hot_of_cold(&slab.cold_of(block)) == block);
    blocks.push_back(block);
  }
  for (hot* const block : blocks) slab.release(block);
  CHECK(slab.allocate() != nullptr);
}

TEST_CASE("buffers are made from what holds bytes") {
  std::array<char, 8> array{};
  char plain[4];
  std::string text = "abc";
  std::vector<unsigned char> bytes(5);
  CHECK(eventer::buffer(array).size() == 8);
  CHECK(eventer::buffer(plain).size() == 4);
  CHECK(eventer::buffer(text).size() == 3);
  CHECK(eventer::buffer(bytes).size() == 5);
  CHECK(eventer::buffer(plain, 2).size() == 2);
  CHECK(eventer::const_buffer("thanks!\n").size() == 8);
  CHECK(eventer::const_buffer(std::string_view("xy")).size() == 2);
  const std::string constant = "four";
  CHECK(eventer::const_buffer(constant).size() == 4);
  CHECK(eventer::const_buffer(eventer::buffer(array)).after(3).size() == 5);
}
