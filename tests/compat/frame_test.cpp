// Times, callbacks by name, and mtev_main with what comes before it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/compat/detail/callback_names.hpp"
#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/eventer_aco.h"
#include "stderr_file.hpp"

namespace {

bool equal(const timeval& a, time_t seconds, suseconds_t microseconds) {
  return a.tv_sec == seconds && a.tv_usec == microseconds;
}

// An empty folder, which is the current one of the children.
class folder {
 public:
  folder() {
    char name[] = "/tmp/eventer-frame-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    for (const std::string& each : files_) ::unlink(each.c_str());
    ::rmdir(path_.c_str());
  }

  std::string file(const char* name) {
    files_.push_back(path_ + "/" + name);
    std::FILE* const made = std::fopen(files_.back().c_str(), "w");
    if (made == nullptr) throw std::runtime_error("fopen");
    std::fclose(made);
    return files_.back();
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

int answer_41() {
  std::fprintf(stderr, "child runs with %s\n", eventer::compat::configuration_path().c_str());
  return 41;
}

int first_callback(eventer_t, int, void*, timeval*) { return 1; }
int second_callback(eventer_t, int, void*, timeval*) { return 2; }
int third_callback(eventer_t, int, void*, timeval*) { return 3; }

}  // namespace

TEST_CASE("times are compared by seconds, then microseconds") {
  CHECK(compare_timeval({1, 5}, {1, 5}) == 0);
  CHECK(compare_timeval({1, 5}, {1, 6}) == -1);
  CHECK(compare_timeval({1, 6}, {1, 5}) == 1);
  CHECK(compare_timeval({1, 999999}, {2, 0}) == -1);
  CHECK(compare_timeval({2, 0}, {1, 999999}) == 1);
  CHECK(compare_timeval({-1, 0}, {0, 0}) == -1);
}

TEST_CASE("sums and differences of times are carried over, and the result may be where an operand is from") {
  timeval out;
  add_timeval({1, 600000}, {2, 400000}, &out);
  CHECK(equal(out, 4, 0));
  add_timeval({1, 600000}, {2, 399999}, &out);
  CHECK(equal(out, 3, 999999));
  sub_timeval({4, 0}, {1, 600000}, &out);
  CHECK(equal(out, 2, 400000));
  sub_timeval({1, 500000}, {1, 750000}, &out);
  CHECK(equal(out, -1, 750000));
  timeval a{5, 100000};
  timeval b{2, 200000};
  sub_timeval(a, b, &a);
  CHECK(equal(a, 2, 900000));
  add_timeval(a, b, &b);
  CHECK(equal(b, 5, 100000));
}

TEST_CASE("differences of times as a number") {
  CHECK(sub_timeval_d({3, 250000}, {1, 0}) == 2.25);
  CHECK(sub_timeval_d({1, 0}, {1, 250000}) == -0.25);
  CHECK(sub_timeval_ms({3, 250999}, {1, 0}) == 2250);
  CHECK(sub_timeval_ms({1, 0}, {3, 250000}) == -2250);
  CHECK(sub_timeval_ms({0, 0}, {0, 500}) == -1);
  CHECK(sub_timeval_ms({1'000'000'000'000, 0}, {0, 0}) == 1'000'000'000'000'000);
}

TEST_CASE("the clocks agree with the system's, and the monotonic one does not go back") {
  timeval now;
  const time_t before = ::time(nullptr);
  REQUIRE(mtev_gettimeofday(&now, nullptr) == 0);
  CHECK(now.tv_sec >= before);
  const uint64_t us = mtev_now_us();
  const uint64_t ms = mtev_now_ms();
  CHECK(us / 1000000 >= static_cast<uint64_t>(before));
  CHECK(ms / 1000 >= static_cast<uint64_t>(before));
  CHECK(ms >= us / 1000);
  const mtev_hrtime_t first = mtev_gethrtime();
  timespec monotonic;
  ::clock_gettime(CLOCK_MONOTONIC, &monotonic);
  const mtev_hrtime_t between =
      static_cast<mtev_hrtime_t>(monotonic.tv_sec) * 1'000'000'000 + static_cast<mtev_hrtime_t>(monotonic.tv_nsec);
  CHECK(first <= between);
  CHECK(between <= mtev_gethrtime());
}

TEST_CASE("a callback is found by each of its names, and called by the last") {
  CHECK(eventer_name_for_callback(&first_callback) == nullptr);
  CHECK(eventer_callback_for_name("first") == nullptr);
  CHECK(eventer_name_callback("first", &first_callback) == 0);
  const char* const name = eventer_name_for_callback(&first_callback);
  REQUIRE(name != nullptr);
  CHECK(name == std::string("first"));
  CHECK(eventer_name_callback("again", &first_callback) == 0);
  CHECK(eventer_name_for_callback(&first_callback) == std::string("again"));
  CHECK(eventer_callback_for_name("first") == &first_callback);
  CHECK(eventer_callback_for_name("again") == &first_callback);
  CHECK(eventer::compat::find_callback(std::string_view("again, and more").substr(0, 5)) == &first_callback);
  CHECK(name == std::string("first"));  // it was handed out
  CHECK(eventer_name_callback("first", &first_callback) == 0);
  CHECK(eventer_name_for_callback(&first_callback) == name);
}

TEST_CASE("a name of another function is refused, and so is none") {
  CHECK(eventer_name_callback("taken", &second_callback) == 0);
  errno = 0;
  CHECK(eventer_name_callback("taken", &third_callback) == -1);
  CHECK(errno == EEXIST);
  CHECK(eventer_name_callback_ext("taken", &third_callback, nullptr, nullptr) == -1);
  CHECK(eventer_callback_for_name("taken") == &second_callback);
  CHECK(eventer_name_for_callback(&third_callback) == nullptr);
  errno = 0;
  CHECK(eventer_name_callback(nullptr, &third_callback) == -1);
  CHECK(errno == EINVAL);
  CHECK(eventer_name_callback("nobody", nullptr) == -1);
  CHECK(eventer_callback_for_name(nullptr) == nullptr);
  CHECK(eventer_callback_for_name("nobody") == nullptr);
}

TEST_CASE("a described callback is described where there is an event, and named else") {
  int used = 0;
  const auto describe = [](char* buf, int len, eventer_t e, void* closure) {
    ++*static_cast<int*>(closure);
    std::snprintf(buf, static_cast<std::size_t>(len), "described %d %s", e != nullptr, std::string(400, 'x').c_str());
  };
  int somewhere = 0;
  const auto event = reinterpret_cast<eventer_t>(&somewhere);  // which only the description sees
  CHECK(eventer_name_callback_ext("plain", &third_callback, describe, &used) == 0);
  CHECK(eventer_name_for_callback(&third_callback) == std::string("plain"));
  CHECK(eventer_name_for_callback_e(&third_callback, nullptr) == std::string("plain"));
  CHECK(used == 0);
  const std::string text = eventer_name_for_callback_e(&third_callback, event);
  CHECK(text.substr(0, 12) == "described 1 ");
  CHECK(text.size() == 255);
  CHECK(used == 1);
  CHECK(eventer_name_callback("plain", &third_callback) == 0);
  CHECK(eventer_name_for_callback_e(&third_callback, event) == std::string("plain"));
}

TEST_CASE("several threads may name callbacks and look for them") {
  std::vector<std::thread> all;
  std::vector<int> wrong(4);
  for (std::size_t thread = 0; thread < wrong.size(); ++thread)
    all.emplace_back([&mine = wrong[thread], thread] {
      for (int i = 0; i < 100; ++i) {
        const std::string name = "of thread " + std::to_string(thread) + ", " + std::to_string(i);
        const eventer_func_t function = thread % 2 == 0 ? &first_callback : &second_callback;
        mine += eventer_name_callback(name.c_str(), function) != 0;
        mine += eventer_callback_for_name(name.c_str()) != function;
        mine += eventer_name_for_callback(function) == nullptr;
        mine += eventer_name_callback("shared by all", &first_callback) != 0;
      }
    });
  for (std::thread& each : all) each.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("a default of a property is there once, with its last value") {
  mtev_main_eventer_config("concurrency", "3");
  mtev_main_eventer_config("rlim_nofiles", "1000");
  mtev_main_eventer_config("concurrency", "4");
  const auto all = eventer::compat::eventer_defaults();
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "concurrency");
  CHECK(all[0].value == "4");
  CHECK(all[1].name == "rlim_nofiles");
  CHECK(all[1].value == "1000");
}

// What follows changes the process: each in a child.

TEST_CASE("mtev_main loads the file that it is given, runs child_main here and answers its result") {
  folder place;
  const std::string file = place.file("given.toml");
  const child_result child = run_in_child([&] {
    const int result = mtev_main("app", file.c_str(), 0, 1, MTEV_LOCK_OP_NONE, nullptr, nullptr, nullptr, &answer_41);
    std::fprintf(stderr, "%d, debug %d\n", result, static_cast<int>(mtev_log_enabled(mtev_debug)));
  });
  CHECK(child.output == "child runs with " + file + "\n41, debug 0\n");
}

TEST_CASE("mtev_main without a file takes the program's name, in the current directory") {
  folder place;
  place.file("app.toml");
  const child_result child = run_in_child([&] {
    if (::chdir(place.path().c_str()) != 0) ::_exit(1);
    const int result = mtev_main("app", nullptr, 1, 1, MTEV_LOCK_OP_NONE, nullptr, nullptr, nullptr, &answer_41);
    std::fprintf(stderr, "%d, debug %d\n", result, static_cast<int>(mtev_log_enabled(mtev_debug)));
  });
  CHECK(child.output == "child runs with app.toml\n41, debug 1\n");
}

TEST_CASE("mtev_main runs nothing where the file can't be read, and says which") {
  folder place;
  const child_result child = run_in_child([&] {
    if (::chdir(place.path().c_str()) != 0) ::_exit(1);
    const int result = mtev_main("app", nullptr, 0, 1, MTEV_LOCK_OP_NONE, nullptr, nullptr, nullptr, &answer_41);
    std::fprintf(stderr, "%d, \"%s\"\n", result, eventer::compat::configuration_path().c_str());
  });
  CHECK(
      contains(child.output, "[error] configuration: cannot read \"app.toml\": No such file or directory\n-1, \"\"\n"));
  CHECK_FALSE(contains(child.output, "child runs"));
}

TEST_CASE("mtev_main says in one line what it does not do") {
  folder place;
  const std::string file = place.file("app.toml");
  const child_result child = run_in_child([&] {
    (void)mtev_main("app", file.c_str(), 0, 0, MTEV_LOCK_OP_WAIT, "glider", "user", "group", [] { return 0; });
    (void)mtev_main("app", file.c_str(), 0, 1, MTEV_LOCK_OP_NONE, nullptr, "user", nullptr, [] { return 0; });
  });
  const std::size_t first = child.output.find("[notice] mtev_main: not done here: ");
  REQUIRE(first != std::string::npos);
  CHECK(contains(
      child.output,
      "not done here: foreground = 0 (it stays in the foreground), lock, glider, drop_to_user, drop_to_group\n"));
  CHECK(contains(child.output, "not done here: drop_to_user\n"));
}

TEST_CASE("mtev_conf_load takes another file, and NULL for mtev_main's again") {
  folder place;
  const std::string main_file = place.file("main.toml");
  static std::string other;
  other = place.file("other.toml");
  const child_result child = run_in_child([&] {
    const auto steps = [] {
      const auto say = [](int result) {
        std::fprintf(stderr, "%d %s\n", result, eventer::compat::configuration_path().c_str());
      };
      say(mtev_conf_load(other.c_str()));
      say(mtev_conf_load(nullptr));
      return 0;
    };
    (void)mtev_main("app", main_file.c_str(), 0, 1, MTEV_LOCK_OP_NONE, nullptr, nullptr, nullptr, steps);
  });
  CHECK(child.output == "0 " + other + "\n0 " + main_file + "\n");
}

TEST_CASE("mtev_conf_load refuses what can't be read, and the file before stays in force") {
  folder place;
  const std::string file = place.file("good.toml");
  const std::string fifo = place.path() + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const child_result child = run_in_child([&] {
    const auto load = [](const char* path) {
      errno = 0;
      const int result = mtev_conf_load(path);
      std::fprintf(stderr, "%d %d %s\n", result, errno, eventer::compat::configuration_path().c_str());
    };
    mtev_main_disable_log("error");
    load(nullptr);
    load(file.c_str());
    load(nullptr);
    load((file + ".none").c_str());
    load("/");
    load(fifo.c_str());
    load("");
  });
  ::unlink(fifo.c_str());
  const std::string in_force = " " + file + "\n";
  CHECK(child.output == "-1 " + std::to_string(ENOENT) + " \n" + "0 0" + in_force + "0 0" + in_force + "-1 " +
                            std::to_string(ENOENT) + in_force + "-1 " + std::to_string(EISDIR) + in_force + "-1 " +
                            std::to_string(EINVAL) + in_force + "-1 " + std::to_string(ENOENT) + in_force);
}
