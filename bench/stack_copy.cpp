// What copying stacks costs on this machine: by depth, and by the number of coroutines that take turns.
//
//   stack_copy [--quick] [--counts 2,1000,100000,1000000] [--depths 64,...] [--json FILE] [--plot FILE.png]
//
// Each figure stands beside a floor measured in the same rounds: two bare memcpys of the same bytes, over the same
// footprint, in the same order, which is the least that moving one stack out and another one in can cost without
// prefetching.
#include <alloca.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <eventer/eventer.hpp>
#include <numeric>
#include <random>

#include "measure.hpp"

namespace {

using eventer::coroutine;

struct settings {
  int rounds = 7;
  long swaps = 200'000;  // a round, of two coroutines
  std::vector<std::size_t> depths{64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
  std::vector<std::size_t> counts{2, 1000, 100'000, 1'000'000};
  std::string json, plot;
};

// Suspends for ever with `extra` bytes of locals.
void suspend_with(std::size_t extra) {
  char* const locals = extra == 0 ? nullptr : static_cast<char*>(alloca(extra));
  if (extra != 0) std::memset(locals, 1, extra);
  for (;;) {
    asm volatile("" : : "r"(locals) : "memory");
    coroutine::suspend();
  }
}
std::size_t depth_with(std::size_t extra) {
  eventer::shared_stack stack;
  coroutine one(stack, [extra] { suspend_with(extra); });
  one.resume();
  return one.stack_bytes();
}

struct by_depth {
  std::size_t wanted, bytes;  // asked for; really used and copied
  bench::measurement resident, copying, floor;
};

by_depth measure_depth(std::size_t depth, std::size_t shallowest, const settings& options) {
  const std::size_t extra = depth > shallowest + 32 ? depth - shallowest - 32 : 0;
  const long swaps = std::max<long>(
      2000, static_cast<long>(static_cast<double>(options.swaps) * 1024.0 / static_cast<double>(depth + 1024)));
  const auto body = [extra] { suspend_with(extra); };
  eventer::shared_stack shared;
  coroutine a(shared, body), b(shared, body);
  coroutine own_a(eventer::own_stack{}, body), own_b(eventer::own_stack{}, body);
  a.resume();
  const std::size_t bytes = (a.stack_bytes() + 15) / 16 * 16;
  std::vector<char> buffers(3 * bytes + 192);
  char* const base = buffers.data() + (64 - reinterpret_cast<std::uintptr_t>(buffers.data()) % 64);
  const std::size_t step = (bytes + 63) / 64 * 64;
  const auto results = bench::interleaved({{"resident",
                                            [&] {
                                              return bench::time_each(swaps / 2,
                                                                      [&] {
                                                                        own_a.resume();
                                                                        own_b.resume();
                                                                      }) /
                                                     2;
                                            }},
                                           {"copying",
                                            [&] {
                                              return bench::time_each(swaps / 2,
                                                                      [&] {
                                                                        a.resume();
                                                                        b.resume();
                                                                      }) /
                                                     2;
                                            }},
                                           {"floor",
                                            [&] {
                                              bool second = false;
                                              return bench::time_each(swaps, [&] {
                                                char* const out = base + step + (second ? step : 0);
                                                char* const in = base + step + (second ? 0 : step);
                                                std::memcpy(out, base, bytes);
                                                asm volatile("" : : : "memory");
                                                std::memcpy(base, in, bytes);
                                                asm volatile("" : : : "memory");
                                                second = !second;
                                              });
                                            }}},
                                          options.rounds);
  return {depth, bytes, results[0], results[1], results[2]};
}

// A loop's coroutines that take turns for ever, in the order of `rank`, and the floor over as many buffers in the same
// order.
struct by_count {
  std::size_t count, bytes;
  bool shuffled;
  bench::measurement loop, floor;
};

class footprint {
 public:
  footprint(std::size_t count, std::size_t bytes)
      : step_((bytes + 15) / 16 * 16), bytes_(count * step_ + (std::size_t{2} << 20)) {
    memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory_, bytes_, MADV_HUGEPAGE);
    std::memset(memory_, 1, bytes_);
  }
  footprint(const footprint&) = delete;
  footprint& operator=(const footprint&) = delete;
  ~footprint() { ::munmap(memory_, bytes_); }
  char* operator[](std::size_t i) const { return static_cast<char*>(memory_) + i * step_; }

 private:
  std::size_t step_, bytes_;
  void* memory_;
};

by_count measure_count(std::size_t count, bool shuffled, const settings& options) {
  std::vector<std::uint32_t> rank(count);
  std::iota(rank.begin(), rank.end(), 0u);
  if (shuffled) std::shuffle(rank.begin(), rank.end(), std::mt19937(7));
  const long turns = std::max<long>(2, options.swaps / static_cast<long>(count));
  by_count result{count, 0, shuffled, {"loop", {}}, {"floor", {}}};

  eventer::run(
      [&result, &rank, count, turns, rounds = options.rounds] {
        const auto start = eventer::clock::now();
        std::size_t bytes = 0;
        auto* const seen = new std::size_t(0);  // how deep the coroutines are, told by one of them
        for (std::size_t i = 0; i < count; ++i)
          (void)eventer::spawn({.name = "turn"}, [i, seen, at = start + std::chrono::nanoseconds(rank[i])] {
            if (i == 0) *seen = eventer::this_coroutine::stack_bytes();
            eventer::sleep_until(at);  // past already: it goes on in the order of these times
            char locals[32];
            for (;;) {
              asm volatile("" : : "r"(locals) : "memory");
              eventer::yield();
            }
          });
        for (int i = 0; i < 4; ++i) eventer::yield();
        while (eventer::event_loop::current().stats().timers > 0) eventer::yield();
        for (int i = 0; i < 4; ++i) eventer::yield();
        bytes = eventer::event_loop::current().stacks().rows.front().p50;
        result.bytes = bytes;
        delete seen;

        const footprint buffers(count, bytes);
        std::vector<char> stack(bytes + 64);
        std::vector<std::uint32_t> order(count);
        for (std::size_t i = 0; i < count; ++i) order[rank[i]] = static_cast<std::uint32_t>(i);
        const auto floor = [&] {
          const double begin = bench::nanoseconds();
          std::uint32_t previous = order.back();
          for (long turn = 0; turn < turns; ++turn)
            for (const std::uint32_t next : order) {
              std::memcpy(buffers[previous], stack.data(), bytes);
              asm volatile("" : : : "memory");
              std::memcpy(stack.data(), buffers[next], bytes);
              asm volatile("" : : : "memory");
              previous = next;
            }
          return (bench::nanoseconds() - begin) / static_cast<double>(turns) / static_cast<double>(count);
        };
        const auto loop = [&] {
          const double begin = bench::nanoseconds();
          for (long turn = 0; turn < turns; ++turn) eventer::yield();
          return (bench::nanoseconds() - begin) / static_cast<double>(turns) / static_cast<double>(count + 1);
        };
        loop(), floor();
        for (int round = 0; round < rounds; ++round) {
          result.loop.samples.push_back(loop());
          result.floor.samples.push_back(floor());
        }
      },
      {.shared_stacks = 1});
  return result;
}

void write_json(const std::string& path, const std::vector<by_depth>& depths, const std::vector<by_count>& counts) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) throw std::system_error(errno, std::generic_category(), path);
  std::fprintf(file, "{\"unit\":\"ns per resume and suspend\",\"by_depth\":[");
  for (std::size_t i = 0; i < depths.size(); ++i)
    std::fprintf(file, "%s{\"bytes\":%zu,\"resident\":%.2f,\"copying\":%.2f,\"floor\":%.2f,\"ratio\":%.3f}",
                 i == 0 ? "" : ",", depths[i].bytes, depths[i].resident.middle(), depths[i].copying.middle(),
                 depths[i].floor.middle(), depths[i].copying.ratio_to(depths[i].floor));
  std::fprintf(file, "],\"by_count\":[");
  for (std::size_t i = 0; i < counts.size(); ++i)
    std::fprintf(file,
                 "%s{\"coroutines\":%zu,\"shuffled\":%s,\"bytes\":%zu,\"copying\":%.2f,\"floor\":%.2f,\"ratio\":%.3f}",
                 i == 0 ? "" : ",", counts[i].count, counts[i].shuffled ? "true" : "false", counts[i].bytes,
                 counts[i].loop.middle(), counts[i].floor.middle(), counts[i].loop.ratio_to(counts[i].floor));
  std::fprintf(file, "]}\n");
  if (std::fclose(file) != 0) throw std::system_error(errno, std::generic_category(), path);
}

bool draw(const std::string& path, const std::vector<by_depth>& depths) {
  std::FILE* const gnuplot = ::popen("gnuplot", "w");
  if (gnuplot == nullptr) return false;
  std::fprintf(
      gnuplot,
      "set terminal pngcairo size 900,560 font 'sans,11'\nset output '%s'\nset title 'resume + suspend, two coroutines on one shared "
      "stack'\nset xlabel 'stack bytes in use at the suspension'\nset ylabel 'nanoseconds'\nset logscale xy\nset format x "
      "'%%.0f'\nset grid xtics ytics lc rgb '#dddddd'\nset key top left\n$data << EOD\n",
      path.c_str());
  for (const by_depth& each : depths)
    std::fprintf(gnuplot, "%zu %.2f %.2f %.2f\n", each.bytes, each.resident.middle(), each.copying.middle(),
                 each.floor.middle());
  std::fprintf(
      gnuplot,
      "EOD\nplot $data using 1:3 with linespoints lw 2 pt 7 lc rgb '#1b6ca8' title 'copied out and in', $data using 1:4 with "
      "linespoints lw 2 dt 2 pt 6 lc rgb '#888888' title 'floor: two memcpys', $data using 1:2 with linespoints lw 2 pt 5 lc rgb "
      "'#2a9d4e' title 'own stacks: nothing copied'\n");
  return ::pclose(gnuplot) == 0;
}

int measure(const settings& options) {
  bench::pin_to_core(0);
  const std::size_t shallowest = depth_with(0);
  std::printf("Two coroutines in turn, ns per resume + suspend (the shallowest coroutine uses %zu bytes)\n",
              shallowest);
  std::vector<by_depth> depths;
  bench::table depth_table({"stack bytes", "not copied", "copied", "floor: two memcpys", "copied / floor"});
  for (const std::size_t depth : options.depths) {
    if (!depths.empty() && depth <= depths.back().bytes) continue;
    depths.push_back(measure_depth(depth, shallowest, options));
    const by_depth& each = depths.back();
    depth_table.row({std::to_string(each.bytes), bench::number(each.resident.middle()),
                     bench::number(each.copying.middle()), bench::number(each.floor.middle()),
                     bench::times(each.copying.ratio_to(each.floor))});
  }
  depth_table.print();

  std::printf("\nMany coroutines of a loop in turn on one shared stack, ns per resume + suspend\n");
  std::vector<by_count> counts;
  bench::table count_table({"coroutines", "order", "stack bytes", "copied", "floor: two memcpys", "copied / floor"});
  for (const std::size_t count : options.counts)
    for (const bool shuffled : {false, true}) {
      if (shuffled && count < 100) continue;
      counts.push_back(measure_count(count, shuffled, options));
      const by_count& each = counts.back();
      count_table.row({std::to_string(count), shuffled ? "shuffled" : "as spawned", std::to_string(each.bytes),
                       bench::number(each.loop.middle()), bench::number(each.floor.middle()),
                       bench::times(each.loop.ratio_to(each.floor))});
    }
  count_table.print();

  std::printf("\n");
  for (const by_depth& each : depths)
    if (each.bytes >= 128 && each.bytes <= 1024)
      bench::goal(("two on one stack, " + std::to_string(each.bytes) + " bytes, to two memcpys").c_str(),
                  each.copying.ratio_to(each.floor), 1.6, "x");
  for (const by_count& each : counts)
    if (each.shuffled && each.count == 100'000)
      bench::goal("100,000 shuffled, to two memcpys over the same footprint", each.loop.ratio_to(each.floor), 0.8, "x");
  if (!options.json.empty()) write_json(options.json, depths, counts);
  if (!options.plot.empty()) {
    if (!draw(options.plot, depths))
      return std::fprintf(stderr, "stack_copy: no plot: gnuplot did not run (apt-get install gnuplot-nox)\n"), 1;
    std::printf("\nplot: %s\n", options.plot.c_str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings options;
  bool quick = false;
  CLI::App app{"What copying stacks costs on this machine, beside two memcpys of the same bytes."};
  app.add_flag("--quick", quick, "few rounds and no million: a few seconds, rough figures");
  app.add_option("--rounds", options.rounds, "measured rounds, interleaved")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--depths", options.depths, "stack depths in bytes")->delimiter(',')->check(CLI::Range(16, 900'000));
  app.add_option("--counts", options.counts, "numbers of coroutines")->delimiter(',')->check(CLI::Range(2, 20'000'000));
  app.add_option("--json", options.json, "write the figures to this file");
  app.add_option("--plot", options.plot, "draw the first table into this PNG file (needs gnuplot)");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    options.rounds = std::min(options.rounds, 3);
    options.swaps = 20'000;
    std::erase_if(options.counts, [](std::size_t count) { return count > 100'000; });
  }
  try {
    return measure(options);
  } catch (const std::exception& failure) {
    return std::fprintf(stderr, "stack_copy: %s\n", failure.what()), 1;
  }
}
