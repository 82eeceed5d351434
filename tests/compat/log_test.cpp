// Log streams: who is on, what a line looks like, several threads, and the library's own lines.
#include <time.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "../catch.hpp"
#include "../child.hpp"
#include "eventer/base/log.hpp"
#include "eventer/base/syscalls.hpp"
#include "eventer/compat/detail/library_log.hpp"
#include "eventer/compat/detail/log_streams.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/eventer.hpp"
#include "stderr_file.hpp"

namespace {

std::string written;

void keep(const char* stream, const char* line, std::size_t length) {
  written.append(stream).append("|").append(line, length);
}

// What is written while it lives goes into `written`.
struct kept_lines {
  kept_lines() {
    written.clear();
    mtev_log_set_writer(&keep);
  }
  ~kept_lines() { mtev_log_set_writer(nullptr); }
};

const std::string before_main = [] {
  const kept_lines lines;
  mtevL(mtev_error, "before main\n");
  mtevL(mtev_debug, "not this\n");
  return written;
}();

unsigned writes = 0;
int refuse_writes_with = 0;
int on_call(eventer::syscalls::call which) {
  if (which != eventer::syscalls::call::write) return 0;
  ++writes;
  return refuse_writes_with;
}
struct watched_writes {
  explicit watched_writes(int refuse_with = 0) {
    writes = 0;
    refuse_writes_with = refuse_with;
    eventer::syscalls::fault_hook = &on_call;
  }
  ~watched_writes() { eventer::syscalls::fault_hook = nullptr; }
};

std::string local_time(time_t seconds) {
  tm parts{};
  ::localtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

bool is_on(const char* name) { return mtev_log_enabled(mtev_log_stream_find(name)) == mtev_true; }
void turn(const char* name, bool on) {
  mtev_log_stream_set_enabled(mtev_log_stream_find(name), on ? mtev_true : mtev_false);
}

}  // namespace

TEST_CASE("the standard streams work before main, and debug is off") {
  CHECK(before_main == "error|before main\n");
  CHECK(mtev_log_enabled(mtev_stderr) == mtev_true);
  CHECK(mtev_log_enabled(mtev_error) == mtev_true);
  CHECK(mtev_log_enabled(mtev_notice) == mtev_true);
  CHECK(mtev_log_enabled(mtev_debug) == mtev_false);
  CHECK(mtev_log_stream_find("stderr") == mtev_stderr);
  CHECK(mtev_log_stream_find("error") == mtev_error);
  CHECK(mtev_log_stream_find("notice") == mtev_notice);
  CHECK(mtev_log_stream_find("debug") == mtev_debug);
}

TEST_CASE("a line has its time, its stream and its message, and is answered with its bytes") {
  const stderr_file file;
  const timeval when{1769860800, 42};
  const int bytes = mtev_log(mtev_error, &when, "file.c", 7, "%s is %d\n", "x", 3);
  const std::string expected = "[" + local_time(when.tv_sec) + ".000042] [error] x is 3\n";
  CHECK(file.text() == expected);
  CHECK(bytes == static_cast<int>(expected.size()));
}

TEST_CASE("a line without a time has the present one") {
  const stderr_file file;
  const time_t before = ::time(nullptr);
  mtevL(mtev_notice, "now\n");
  const time_t after = ::time(nullptr);
  bool found = false;
  for (time_t each = before; each <= after; ++each)
    found = found || file.text().substr(0, 20) == "[" + local_time(each);
  CHECK(found);
  CHECK(contains(file.text(), "] [notice] now\n"));
}

TEST_CASE("mtevLT takes the time of the line") {
  const stderr_file file;
  const timeval when{0, 999999};
  mtevLT(mtev_error, &when, "then\n");
  CHECK(file.text() == "[" + local_time(0) + ".999999] [error] then\n");
}

TEST_CASE("a time that no calendar has is written as a number") {
  const stderr_file file;
  const timeval when{static_cast<time_t>(INT64_MAX), 1};
  mtevLT(mtev_error, &when, "late\n");
  CHECK(file.text() == "[9223372036854775807.000001] [error] late\n");
}

TEST_CASE("arguments are not evaluated where nothing would be written, and once where it is") {
  const kept_lines lines;
  int evaluated = 0;
  mtevL(mtev_debug, "%d\n", ++evaluated);
  mtevL(nullptr, "%d\n", ++evaluated);
  mtevLT(mtev_debug, nullptr, "%d\n", ++evaluated);
  CHECK(evaluated == 0);
  CHECK(mtev_log(nullptr, nullptr, __FILE__, __LINE__, "x\n") == 0);
  CHECK(mtev_log(mtev_debug, nullptr, __FILE__, __LINE__, "x\n") == 0);
  CHECK(written.empty());
  mtevL(mtev_error, "%d\n", ++evaluated);
  CHECK(written == "error|1\n");
}

TEST_CASE("errno is left alone, and %m means the one from before the line") {
  const kept_lines lines;
  const std::string format = "%m%s\n";  // not a literal: the compilers know that ISO C has no %m
  errno = ENOENT;
  CHECK(mtev_log(mtev_error, nullptr, __FILE__, __LINE__, format.c_str(), "") > 0);
  CHECK(errno == ENOENT);
  CHECK(written == "error|No such file or directory\n");
  mtev_log_set_writer(nullptr);
  const watched_writes refused(EIO);
  errno = ENOENT;
  CHECK(mtev_log(mtev_error, nullptr, __FILE__, __LINE__, "x\n") == 0);
  CHECK(errno == ENOENT);
  CHECK(writes == 1);
}

TEST_CASE("a line of any length is written whole, by one write") {
  for (const std::size_t length : {std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{980},
                                   std::size_t{990}, std::size_t{1024}, std::size_t{100000}}) {
    const std::string text(length, 'x');
    const stderr_file file;
    const watched_writes watched;
    const timeval when{0, 0};
    const std::string expected = "[" + local_time(0) + ".000000] [error] " + text + "\n";
    CHECK(mtev_log(mtev_error, &when, "", 0, "%s\n", text.c_str()) == static_cast<int>(expected.size()));
    CHECK(file.text() == expected);
    CHECK(writes == 1);
  }
}

TEST_CASE("lines of every length around the small buffer's are whole") {
  const stderr_file file;
  const timeval when{0, 0};
  std::string expected;
  for (std::size_t length = 960; length < 1040; ++length) {
    const std::string text(length, 'y');
    mtevLT(mtev_error, &when, "%s\n", text.c_str());
    expected += "[" + local_time(0) + ".000000] [error] " + text + "\n";
  }
  CHECK(file.text() == expected);
}

TEST_CASE("a stream with a long name has it whole, in the name and in the line") {
  const std::string name(3000, 'n');
  const mtev_log_stream_t stream = mtev_log_stream_findf("%s/%d", name.c_str(), 5);
  CHECK(stream == mtev_log_stream_find((name + "/5").c_str()));
  const stderr_file file;
  mtevL(stream, "text\n");
  CHECK(contains(file.text(), "[" + name + "/5] text\n"));
}

TEST_CASE("a stream is made when it is asked for, with those that it flows into") {
  CHECK(mtev_log_stream_exists("made/here/now") == mtev_false);
  CHECK(mtev_log_stream_exists("made/here") == mtev_false);
  const mtev_log_stream_t stream = mtev_log_stream_find("made/here/now");
  REQUIRE(stream != nullptr);
  CHECK(mtev_log_stream_find("made/here/now") == stream);
  CHECK(mtev_log_stream_exists("made/here/now") == mtev_true);
  CHECK(mtev_log_stream_exists("made/here") == mtev_true);
  CHECK(mtev_log_stream_exists("made") == mtev_true);
  CHECK(mtev_log_stream_exists("mad") == mtev_false);
}

TEST_CASE("without a name there is no stream, and odd names are names") {
  CHECK(mtev_log_stream_find(nullptr) == nullptr);
  CHECK(mtev_log_stream_find("") == nullptr);
  CHECK(mtev_log_stream_exists(nullptr) == mtev_false);
  mtev_log_stream_set_enabled(nullptr, mtev_true);
  for (const char* const name : {"/", "//", "/odd", "odd/", "odd//name", "odd///"}) {
    const mtev_log_stream_t stream = mtev_log_stream_find(name);
    CHECK(stream != nullptr);
    CHECK(mtev_log_stream_find(name) == stream);
    CHECK(mtev_log_enabled(stream) == mtev_true);
  }
}

TEST_CASE("streams follow the one that they flow into, as far as they were not set themselves") {
  CHECK(is_on("tree/a/b"));
  CHECK(is_on("tree/c"));
  turn("tree", false);
  CHECK_FALSE(is_on("tree"));
  CHECK_FALSE(is_on("tree/a"));
  CHECK_FALSE(is_on("tree/a/b"));
  CHECK_FALSE(is_on("tree/c"));
  CHECK_FALSE(is_on("tree/made/later"));
  turn("tree/a", true);
  CHECK(is_on("tree/a"));
  CHECK(is_on("tree/a/b"));
  CHECK(is_on("tree/a/made/later"));
  CHECK_FALSE(is_on("tree/c"));
  turn("tree/a/b", false);
  turn("tree", true);
  CHECK_FALSE(is_on("tree/a/b"));
  CHECK(is_on("tree/c"));
  CHECK(is_on("tree/made/later"));
}

TEST_CASE("debug/eventer/aco flows into debug/eventer, and that into debug") {
  CHECK_FALSE(is_on("debug/eventer/aco"));
  mtev_main_enable_log("debug/eventer");
  CHECK(is_on("debug/eventer/aco"));
  CHECK_FALSE(is_on("debug"));
  CHECK_FALSE(is_on("debug/other"));
  mtev_main_disable_log("debug/eventer");
  CHECK_FALSE(is_on("debug/eventer/aco"));
  turn("debug", true);
  CHECK(is_on("debug/other"));
  CHECK_FALSE(is_on("debug/eventer/aco"));
  turn("debug", false);
}

TEST_CASE("a writer gets the stream's name and the message, until it is taken away") {
  std::string got;
  {
    const kept_lines lines;
    CHECK(mtev_log(mtev_log_stream_find("mine/deep"), nullptr, "", 0, "one %d\n", 1) == 6);
    mtevL(mtev_error, "two\nlines\n");
    got = written;
  }
  CHECK(got == "mine/deep|one 1\nerror|two\nlines\n");
  const stderr_file file;
  mtevL(mtev_error, "back\n");
  CHECK(contains(file.text(), "] [error] back\n"));
  CHECK(written == got);
}

TEST_CASE("the lines of four threads do not mix") {
  constexpr int threads = 4;
  constexpr int lines_each = 500;
  const stderr_file file;
  {
    std::vector<std::thread> all;
    for (int thread = 0; thread < threads; ++thread)
      all.emplace_back([thread] {
        const std::string filling(static_cast<std::size_t>(thread) * 700, static_cast<char>('a' + thread));
        for (int line = 0; line < lines_each; ++line)
          mtevL(mtev_log_stream_findf("threads/%d", line % 7), "%d %d %s\n", thread, line, filling.c_str());
      });
    for (std::thread& each : all) each.join();
  }
  int next[threads] = {};
  bool whole = true;
  for (const std::string& line : file.lines()) {
    int thread = -1;
    int number = -1;
    int stream = -1;
    const std::size_t at = line.find("[threads/");
    whole = whole && at == 29 &&
            std::sscanf(line.c_str() + at, "[threads/%d] %d %d ", &stream, &thread, &number) == 3 && thread >= 0 &&
            thread < threads && number == next[thread]++ && stream == number % 7 &&
            line.substr(line.rfind(' ') + 1) ==
                std::string(static_cast<std::size_t>(thread) * 700, static_cast<char>('a' + thread));
    if (!whole) {
      FAIL_CHECK(line);
      break;
    }
  }
  for (const int each : next) CHECK(each == lines_each);
}

TEST_CASE("streams may be made and turned by several threads at a time") {
  constexpr int threads = 4;
  constexpr int names = 500;
  std::vector<std::vector<mtev_log_stream_t>> found(threads);
  {
    std::latch all_are_here(threads);
    std::vector<std::thread> all;
    for (int thread = 0; thread < threads; ++thread)
      all.emplace_back([&mine = found[static_cast<std::size_t>(thread)], &all_are_here, thread] {
        all_are_here.arrive_and_wait();
        for (int name = 0; name < names; ++name) mine.push_back(mtev_log_stream_findf("race/%d/leaf", name));
        for (int name = 0; name < names; ++name) {
          mtev_log_stream_set_enabled(mtev_log_stream_find("race"), (name + thread) % 2 != 0 ? mtev_true : mtev_false);
          (void)mtev_log_enabled(mine.back());
        }
      });
    for (std::thread& each : all) each.join();
  }
  for (const auto& each : found) CHECK((each == found.front()));  // not printed: a thousand addresses
  turn("race", false);
  for (const mtev_log_stream_t each : found.front()) CHECK(mtev_log_enabled(each) == mtev_false);
  turn("race", true);
  for (const mtev_log_stream_t each : found.front()) CHECK(mtev_log_enabled(each) == mtev_true);
}

TEST_CASE("mtevFatal writes where it was called and aborts, also on a stream that is off") {
  for (const mtev_log_stream_t stream : {mtev_error, mtev_debug, mtev_log_stream_t{nullptr}}) {
    const child_result child = run_in_child([&] {
      std::printf("unflushed");
      mtevFatal(stream, "the end of %s\n", "it");
    });
    CHECK(child.signal == SIGABRT);
    CHECK(contains(child.output, "unflushed"));
    CHECK(contains(child.output, "log_test.cpp:"));
    CHECK(contains(child.output, ": the end of it\n"));
    CHECK(contains(child.output, stream == mtev_debug ? "[debug] " : "[error] "));
  }
}

TEST_CASE("mtevTerminate ends the process with 2, and flushes") {
  const child_result child = run_in_child([] {
    // Before the destructors of the test framework, which are not for a child.
    ::on_exit([](int status, void*) { ::_exit(status); }, nullptr);
    std::printf("unflushed");
    mtevStartupTerminate(mtev_error, "no %s\n", "more");
  });
  CHECK(child.exit_status == 2);
  CHECK(contains(child.output, "unflushed"));
  CHECK(contains(child.output, ": no more\n"));
}

TEST_CASE("mtevAssert evaluates its condition once, and ends the process where it is false") {
  int evaluated = 0;
  mtevAssert(++evaluated == 1);
  mtevEvalAssert(++evaluated == 2);
  CHECK(evaluated == 2);
  const child_result child = run_in_child([&] { mtevAssert(evaluated % 2 == 1); });
  CHECK(child.signal == SIGABRT);
  CHECK(contains(child.output, "assertion failed: evaluated % 2 == 1\n"));
}

// What follows changes the process's log: each in a child, whose log is as in a process that begins.

namespace {

void begin_anew(eventer::log_level level) {
  eventer::compat::streams_changed.store(nullptr);
  eventer::compat::resume_log_changed.store(nullptr);
  eventer::compat::library_log.resumes = nullptr;
  eventer::compat::library_log.raised = false;
  turn("debug/eventer/aco", false);
  eventer::compat::find_stream("debug/eventer/aco")->wish = eventer::compat::stream_wish::inherited;
  turn("debug/eventer", false);
  eventer::set_log_sink(nullptr);
  eventer::set_log_level(level);
}

}  // namespace

TEST_CASE("the library's lines come to streams by their level") {
  const child_result child = run_in_child([] {
    begin_anew(eventer::log_level::info);
    eventer::compat::route_library_log();
    eventer::compat::route_library_log();
    eventer::log(eventer::log_level::error, "an error %d", 1);
    eventer::log(eventer::log_level::warning, "a warning");
    eventer::log(eventer::log_level::info, "a notice");
    turn("notice", false);
    eventer::log(eventer::log_level::info, "not this");
    eventer::log(eventer::log_level::debug, "nor this");
  });
  CHECK(child.exit_status == 0);
  CHECK(contains(child.output, "[error] an error 1\n"));
  CHECK(contains(child.output, "[error] a warning\n"));
  CHECK(contains(child.output, "[notice] a notice\n"));
  CHECK_FALSE(contains(child.output, "this"));
}

TEST_CASE(
    "debug/eventer/aco reports each resume with its stack's bytes, in a loop that runs already, until it is off") {
  const child_result child = run_in_child([] {
    begin_anew(eventer::log_level::warning);
    eventer::compat::route_library_log();
    static unsigned changes = 0;
    eventer::compat::resume_log_changed.store([]() noexcept {
      ++changes;
      eventer::event_loop::current().look_at_log_again();
    });
    eventer::event_loop loop;
    (void)loop.spawn(eventer::spawn_options{.name = "talker"}, [] {
      const auto say = [](const char* what) {
        std::fprintf(stderr, "%s\n", what);
        eventer::yield();
      };
      say("quiet before");
      turn("debug/eventer", true);
      say("loud");
      turn("debug/eventer/aco", true);  // as it is
      turn("debug/eventer/aco", false);
      say("quiet after");
      if (eventer::log_enabled(eventer::log_level::info) || !eventer::log_enabled(eventer::log_level::warning))
        std::fprintf(stderr, "the level is another one\n");
    });
    loop.run();
    std::fprintf(stderr, "%u changes\n", changes);
  });
  CHECK(child.exit_status == 0);
  const std::size_t loud = child.output.find("loud\n");
  const std::size_t resume = child.output.find("[debug/eventer/aco] resume \"talker\" (id ");
  const std::size_t quiet = child.output.find("quiet after\n");
  REQUIRE(resume != std::string::npos);
  CHECK(loud < resume);
  CHECK(resume < quiet);
  CHECK(contains(child.output.substr(resume, quiet - resume), " stack bytes\n"));
  CHECK(child.output.find("resume", resume + 30) == std::string::npos);
  CHECK(contains(child.output, "2 changes\n"));
  CHECK_FALSE(contains(child.output, "another"));
}

TEST_CASE("a stream that is on before the library's log is routed counts, and so does EVENTER_LOG=debug") {
  for (const bool by_environment : {false, true}) {
    const child_result child = run_in_child([=] {
      // -1: the environment was not looked at yet.
      begin_anew(by_environment ? static_cast<eventer::log_level>(-1) : eventer::log_level::warning);
      if (by_environment)
        ::setenv("EVENTER_LOG", "debug", 1);
      else
        turn("debug/eventer", true);
      eventer::compat::route_library_log();
      eventer::event_loop loop;
      (void)loop.spawn([] { eventer::yield(); });
      loop.run();
      turn("debug/eventer/aco", false);
      std::fprintf(stderr, eventer::log_enabled(eventer::log_level::debug) ? "still\n" : "no more\n");
    });
    CHECK(child.exit_status == 0);
    CHECK(contains(child.output, "[debug/eventer/aco] resume "));
    CHECK(contains(child.output, "no more\n"));
  }
}
